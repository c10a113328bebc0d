//! What can go wrong, as a user meets it: every code with its title, exit status, what it means
//! for the data and what to do. One table; the CLI, the log, the API and docs/errors read it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a failed step is treated. Classified once, in the connector's `error.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May succeed if tried again: [`crate::retry`] picks the wait.
    Transient,
    /// Will fail again: the job stops.
    Permanent,
    /// Somebody else owns the unit by now: drop the work, report nothing, touch nothing.
    Fenced,
}

macro_rules! codes {
    ($( $name:ident = $code:literal, $exit:literal, $title:literal, $effect:literal, $fix:literal; )*) => {
        /// A stable error code. Codes are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $( #[doc = $title] #[serde(rename = $code)] $name, )* }

        impl Code {
            /// Every code, for docs and tests.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// `ST1001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code),* }
            }
            /// The process's exit status when this error ends it.
            pub fn exit(self) -> u8 {
                match self { $(Code::$name => $exit),* }
            }
            /// One line, lower case.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }
            /// What it means for the data.
            pub fn effect(self) -> &'static str {
                match self { $(Code::$name => $effect),* }
            }
            /// What to do.
            pub fn fix(self) -> &'static str {
                match self { $(Code::$name => $fix),* }
            }
        }
    };
}

codes! {
    Usage = "ST1001", 2, "the command or a URL in it is not valid", "nothing was changed", "see `sterna help`";
    JobFile = "ST1002", 2, "the job file is not valid", "nothing was changed", "mend the lines named above and run the command again";
    NoTableMatches = "ST1003", 8, "a table pattern matches nothing", "nothing was changed", "check the pattern against the source's table names";
    JobExists = "ST1004", 7, "a job of this name is already there", "nothing was changed", "give the job another name, or `sterna cancel` the one that is there";
    NoSuchJob = "ST1005", 6, "there is no such job", "nothing was changed", "`sterna jobs` lists the jobs";
    StateDirBusy = "ST1006", 7, "another sterna process works with this state directory", "nothing was changed; the other process goes on", "wait for it, or stop it with Ctrl-C and run the same command to resume";
    WrongState = "ST1007", 7, "the job is not in a state where that is possible", "nothing was changed", "`sterna status` shows the job's phase";
    StateDirOther = "ST1008", 7, "the state directory belongs to another migration", "nothing was changed", "give each source and target their own --state-dir";
    Unreachable = "ST2001", 5, "a database can't be reached", "nothing was lost; what was committed stays", "check host, port and network, then run the same command to resume";
    AccessDenied = "ST2002", 4, "the database refused the user or password", "nothing was lost; what was committed stays", "check user and password, then run the same command to resume";
    NoSuchDatabase = "ST2003", 8, "the database does not exist", "nothing was changed", "create it, or correct the name in the URL";
    UnsupportedType = "ST2004", 8, "a column has a type that can't be moved exactly", "nothing was changed", "exclude the table with -x, or wait for a version that supports the type";
    SourceChanged = "ST2005", 1, "the source was written to while it was copied", "the target holds rows from different moments; the source is untouched", "stop the writers and run again with --target-mode recreate, or accept it with --allow-changing-source";
    Privileges = "ST2006", 4, "the user lacks a privilege that is needed", "nothing was lost; what was committed stays", "grant it with the statement above and run the same command";
    UnsupportedTable = "ST2007", 8, "a table can't be moved as it is", "nothing was changed", "exclude the table with -x";
    SourceFailed = "ST2008", 1, "reading the source failed", "nothing was lost; what was committed stays", "mend the cause and run the same command to resume";
    RuleInvalid = "ST2010", 8, "a rule of the job doesn't fit the source", "nothing was changed", "mend the rules named above; docs/rules.md says what each can do";
    LossNotAccepted = "ST2011", 8, "a column's values would change and that is not accepted", "nothing was changed", "accept it by name with --accept, choose another type, or drop the column in the job file";
    LogUnusable = "ST2012", 8, "the source's log can't be followed", "nothing was changed", "change what is named above at the source, or copy without following: --no-replay";
    LogLost = "ST2013", 1, "the source no longer has the changes that are to be read next", "everything up to the recorded position stays at the target; what came after can't be replayed", "keep more of the log at the source, and copy again with --target-mode recreate";
    SourceOther = "ST2014", 1, "the source is another server than the one that was copied", "everything up to the recorded position stays; nothing of the other server was applied", "make the URL lead to the server that was copied and run `sterna resume`; after a failover copy again with --target-mode recreate";
    SchemaDrift = "ST2015", 1, "a table of the source was changed while its changes were followed", "everything up to the change stays; the position is kept", "apply the change at the target by hand, or choose --drift apply for added columns and tables, then `sterna resume`";
    OpenTransaction = "ST2016", 1, "a transaction at the source did not end while following was being set up", "nothing was copied yet", "end the transaction named above and run the same command";
    TargetNotEmpty = "ST3001", 8, "the target already holds tables of these names", "nothing was changed", "name an empty database, or choose --target-mode append, truncate or recreate";
    TargetReadOnly = "ST3002", 8, "the target can't be written to", "nothing was changed", "name a writable target";
    TargetRejected = "ST3003", 1, "the target rejected a statement", "the partition was rolled back; what was committed stays", "mend the cause and run the same command to resume";
    NotTransactional = "ST3004", 8, "a target table's storage engine has no transactions", "nothing was changed", "use InnoDB on the target";
    TargetFull = "ST3005", 1, "the target has no space left", "the partition was rolled back; what was committed stays", "make space and run the same command to resume";
    TargetDiffers = "ST3006", 8, "a table of the target has other columns than planned", "nothing was changed", "choose --target-mode recreate, or mend the table";
    TargetMissing = "ST3007", 8, "a table that is to be followed is not at the target", "nothing was changed", "copy it first with `sterna clone`, or leave it out with -x";
    ValueChanged = "ST4001", 1, "the target would have changed a value", "the partition was rolled back; what was committed stays", "see the warning above; exclude the table or mend the value at the source";
    NotRepresentable = "ST4002", 1, "a value can't be written in the target's type", "the partition was rolled back; what was committed stays", "mend the value at the source, or exclude the table";
    RuleFailed = "ST4003", 1, "a rule of the job can't be applied to a row", "the partition was rolled back; what was committed stays", "mend the expression so that it has an answer for that row, or mend the row at the source";
    ReplayMismatch = "ST4004", 1, "a change of the source doesn't fit the target's rows", "the change was rolled back; everything up to the recorded position stays", "find out who else wrote to the target, mend the row named above, then `sterna resume`";
    Differences = "ST6001", 10, "the target differs from what was read at the source", "rows differ; the source is untouched", "find out who wrote to the target, then run again with --target-mode recreate";
    NotVerified = "ST6002", 11, "the result could not be verified", "the copy is complete but unproven", "run the same command again";
    Inconclusive = "ST6003", 11, "rows kept changing while they were compared", "nothing was changed; neither equal nor different is proven for the rows named above", "verify a job that follows with `sterna verify -j JOB`, or stop the writers, and run it again";
    SchemaDiffers = "ST6004", 10, "the target's schema differs from what the source's calls for", "nothing was changed", "see the differences above; mend the target, or run `sterna clone` with --target-mode recreate";
    RepairPlan = "ST6005", 2, "the repair plan is not valid", "nothing was changed", "make a new one: `sterna verify SOURCE TARGET --plan FILE`";
    RepairFailed = "ST6006", 10, "rows still differ after they were repaired", "what was repaired stays; the source is untouched", "find out who else writes to the target, then verify and repair again";
    CheckFailed = "ST1009", 8, "a check failed", "nothing was changed", "run the statements above, then the same command";
    CheckFound = "ST1010", 8, "a setting or right is not as a migration needs it", "nothing was changed", "run the statement beside it";
    InDoubt = "ST7001", 14, "a transaction's outcome is unknown", "it is prepared in the target and holds its locks", "see `sterna operator txn list`; run the same command to resolve it";
    NoLeader = "ST8001", 20, "no coordinator leads: the quorum is lost or not there yet", "workers stop by themselves; nothing is lost", "start the missing coordinators";
    StateDirFull = "ST8002", 75, "the state directory has no space left", "the last step was not recorded and will be done again; nothing is lost", "make space and run the same command to resume";
    StateDirDamaged = "ST8003", 1, "the state directory can't be read", "nothing of it is served; what is committed on the target stays", "start again; if it says the same, restore the directory, or remove it: other coordinators hand over everything, one alone starts over with --target-mode recreate";
    NoCoordinator = "ST8004", 5, "no coordinator answers", "nothing was changed", "check the addresses in -C or STERNA_ADDR";
    Interrupted = "ST8005", 130, "stopped by a signal", "everything committed stays; work in flight was rolled back", "run the same command to resume";
    TimedOut = "ST8006", 124, "the time given to wait has passed", "the job goes on", "wait again";
    NotBuilt = "ST9001", 1, "this part is not built yet", "nothing was changed", "see CHANGELOG.md for what this version can do";
    Internal = "ST9999", 1, "something inside Sterna is wrong", "unknown; what the ledger lists is committed", "report it with the events of the job";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as the user sees it, wherever it is shown. Holds no secret: the connector redacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: Code,
    /// What happened, with the names of the objects and the server's own words.
    pub what: String,
    /// Statements or commands that mend it, if better ones than the code's own are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
}

impl Failure {
    pub fn new(code: Code, what: impl Into<String>) -> Failure {
        Failure {
            code,
            what: what.into(),
            fixes: Vec::new(),
        }
    }

    /// Adds a statement or command that mends it.
    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fixes.push(fix.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.code, self.code.title(), self.what)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_complete() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(code.exit() != 0 && !code.title().is_empty());
            assert!(
                !code.effect().is_empty() && !code.fix().is_empty(),
                "{code}"
            );
        }
    }
}
