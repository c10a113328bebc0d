//! Fault points: every place where a test (or a user's drill) may stop, delay or lie. Armed by the
//! environment variable `STERNA_FAULT=name=action[,name=action]`; a point that isn't armed costs
//! one atomic load. The shell does the acting; this file only names and parses.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! faults {
    ($( $name:ident = $text:literal: $doc:literal; )*) => {
        /// A named point in the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $( #[doc = $doc] $name, )* }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Fault::$name => $text),* }
            }
        }
    };
}

faults! {
    // A worker and its leader.
    WorkerBeforeReport = "worker-before-report": "A report is ready, not sent.";
    WorkerAfterDirectives = "worker-after-directives": "Directives were heard, none is followed yet.";
    WorkerAfterContext = "worker-after-context": "The job and its plan were fetched for a unit.";
    // A partition, seen by its worker.
    WorkerBeforeBegin = "worker-before-begin": "A partition was given, nothing is done.";
    WorkerAfterBegin = "worker-after-begin": "The fence is raised, T is open.";
    WorkerMidRead = "worker-mid-read": "Some rows are read from the source.";
    WorkerMidLoad = "worker-mid-load": "Some rows are loaded.";
    WorkerBeforePrepare = "worker-before-prepare": "All rows are loaded.";
    WorkerAfterPrepare = "worker-after-prepare": "T is prepared, nobody knows.";
    WorkerAfterAck = "worker-after-ack": "PrepareAck is said, the decision isn't known.";
    WorkerBeforeCommit = "worker-before-commit": "The decision is known, T is prepared.";
    WorkerAfterCommit = "worker-after-commit": "T is committed, nobody knows.";
    WorkerBeforeRollback = "worker-before-rollback": "T is given up, not rolled back.";
    WorkerAfterRollback = "worker-after-rollback": "T is rolled back, nobody knows.";
    // A partition, seen by its target.
    TargetBeforeKill = "target-before-kill": "The session of an older epoch is known, not killed (SQLite has none).";
    TargetAfterKill = "target-after-kill": "The session of an older epoch is gone (SQLite: never).";
    TargetBeforeEnd = "target-before-end": "A prepared transaction of an older epoch is listed (SQLite has none).";
    TargetAfterEnd = "target-after-end": "It is committed or rolled back, nobody knows (SQLite: never).";
    TargetBeforeFence = "target-before-fence": "Nothing older is left, the fence is not raised.";
    TargetAfterFence = "target-after-fence": "The fence is raised, T is not open.";
    TargetBeforeBooks = "target-before-books": "The load is counted, fence and ledger are not written.";
    TargetAfterBooks = "target-after-books": "Fence and ledger are written in T, T is not prepared.";
    TargetInDoubt = "target-in-doubt": "The answer of COMMIT is not known, the ledger not read.";
    // The other units of work.
    WorkerBeforeTask = "worker-before-task": "A task was given, nothing is done.";
    WorkerAfterTask = "worker-after-task": "A task is done, nobody knows.";
    InspectMidway = "inspect-midway": "The source is inspected, the target perhaps not.";
    InspectMidSample = "inspect-mid-sample": "Some tables are sampled.";
    CreateBeforeBooks = "create-before-books": "Fence and ledger are about to be made.";
    CreateAfterBooks = "create-after-books": "Fence and ledger are there, no table is.";
    CreateMidway = "create-midway": "Some tables are made.";
    IndexMidway = "index-midway": "Some of a table's indexes are made (MySQL: all but its full-text ones at once).";
    FollowBeforeApply = "follow-before-apply": "Changes are gathered, none is at the target.";
    FollowAfterApply = "follow-after-apply": "Changes are in the target's open transaction, the mark is not.";
    FollowBeforeCommit = "follow-before-commit": "Changes are applied, their transaction is not committed.";
    FollowAfterCommit = "follow-after-commit": "Changes and mark are committed, the worker doesn't know.";
    ForeignKeysMidway = "foreign-keys-midway": "Some of a table's foreign keys are made (MySQL makes them all at once, SQLite with the table: never passed).";
    ObjectsMidway = "objects-midway": "Some views, routines or triggers are made.";
    VerifyMidway = "verify-midway": "Some rows are read back.";
    ResolveMidway = "resolve-midway": "Some transactions are ended, the bookkeeping is there.";
    ResolveBeforeForget = "resolve-before-forget": "All is ended, the bookkeeping is about to go.";
    ResolveAfterForget = "resolve-after-forget": "The bookkeeping is gone, nobody knows.";
    // The leader.
    LeaderBeforeBegin = "leader-before-begin": "Elected, not sure yet of what was committed.";
    LeaderBeforePropose = "leader-before-propose": "A batch is ready, not proposed.";
    LeaderAfterPropose = "leader-after-propose": "A batch is in the log, nobody was told.";
    LeaderBeforeDirectives = "leader-before-directives": "The workers are about to be told.";
    AdminAfterSubmit = "admin-after-submit": "A job is in the log, its submitter was not told.";
    // The Raft store.
    RaftBeforeVote = "raft-before-vote": "A vote is about to be written.";
    RaftAfterVote = "raft-after-vote": "A vote is durable, not told.";
    RaftBeforeAppend = "raft-before-append": "Entries are about to be written.";
    RaftAfterAppend = "raft-after-append": "Entries are durable, not acknowledged.";
    RaftBeforeApply = "raft-before-apply": "Committed entries are about to be applied.";
    RaftBeforeSnapshot = "raft-before-snapshot": "A snapshot is about to be written.";
    RaftAfterSnapshot = "raft-after-snapshot": "A snapshot is durable, not told.";
    RaftBeforeInstall = "raft-before-install": "A leader's snapshot is about to be installed.";
    RaftAfterInstall = "raft-after-install": "A leader's snapshot is installed, not told.";
    RaftBeforePurge = "raft-before-purge": "Entries that a snapshot covers are about to go.";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Fault, String> {
        let found = Fault::ALL.iter().find(|fault| fault.as_str() == text);
        found
            .copied()
            .ok_or_else(|| format!("there is no fault point {text:?}"))
    }
}

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process ends at once, as by kill -9.
    Exit,
    /// The caller waits that many milliseconds.
    Stall(u64),
    /// The caller gets an error although the work was done.
    LoseAnswer,
}

impl std::str::FromStr for Action {
    type Err = String;
    fn from_str(text: &str) -> Result<Action, String> {
        match text.split_once(':') {
            None if text == "exit" => Ok(Action::Exit),
            None if text == "lose-answer" => Ok(Action::LoseAnswer),
            Some(("stall", ms)) => ms
                .parse()
                .map(Action::Stall)
                .map_err(|_| format!("{ms:?} is no number of ms")),
            _ => Err(format!("{text:?} is not exit, stall:MS or lose-answer")),
        }
    }
}

/// An armed point: it acts the `after`-th time (1 = the first), once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    pub fault: Fault,
    pub action: Action,
    pub after: u32,
}

/// What is armed in this process, with a count per point. The shell asks and acts; nothing here
/// does. A process that has nothing armed pays one look at an empty list.
#[derive(Debug, Default)]
pub struct Armory {
    points: Vec<(Armed, AtomicU32)>,
}

impl Armory {
    /// Reads the text of `STERNA_FAULT`, see [`parse`].
    pub fn from_text(text: &str) -> Result<Armory, String> {
        let armed = parse(text)?.into_iter();
        Ok(Armory {
            points: armed.map(|armed| (armed, AtomicU32::new(0))).collect(),
        })
    }

    /// Counts one pass through `fault`; the action to take now, if its turn has come.
    pub fn hit(&self, fault: Fault) -> Option<Action> {
        let mut action = None;
        for (armed, hits) in self.points.iter().filter(|(armed, _)| armed.fault == fault) {
            if hits.fetch_add(1, Ordering::Relaxed) + 1 == armed.after {
                action = Some(armed.action);
            }
        }
        action
    }
}

/// Reads `name=action[@N]`, comma-separated, as in `worker-after-prepare=exit@3`.
pub fn parse(text: &str) -> Result<Vec<Armed>, String> {
    let mut armed = Vec::new();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (name, rest) = item
            .split_once('=')
            .ok_or_else(|| format!("{item:?} is not NAME=ACTION"))?;
        let (action, after) = match rest.split_once('@') {
            None => (rest, 1),
            Some((action, n)) => (
                action,
                n.parse().map_err(|_| format!("{n:?} is not a number"))?,
            ),
        };
        armed.push(Armed {
            fault: name.parse()?,
            action: action.parse()?,
            after,
        });
    }
    Ok(armed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_point_acts_once_at_its_turn() {
        let armory = Armory::from_text("worker-mid-load=exit@2").expect("valid");
        assert_eq!(armory.hit(Fault::WorkerMidLoad), None);
        assert_eq!(armory.hit(Fault::WorkerAfterCommit), None);
        assert_eq!(armory.hit(Fault::WorkerMidLoad), Some(Action::Exit));
        assert_eq!(armory.hit(Fault::WorkerMidLoad), None);
        assert!(Armory::from_text("nonsense").is_err());
        assert_eq!(Armory::default().hit(Fault::WorkerMidLoad), None);
    }

    #[test]
    fn points_are_armed_by_name() {
        let armed = parse("worker-after-prepare=exit@3,worker-mid-load=stall:50").expect("valid");
        assert_eq!(
            armed,
            [
                Armed {
                    fault: Fault::WorkerAfterPrepare,
                    action: Action::Exit,
                    after: 3
                },
                Armed {
                    fault: Fault::WorkerMidLoad,
                    action: Action::Stall(50),
                    after: 1
                },
            ]
        );
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
        }
        for bad in [
            "x=exit",
            "worker-mid-load",
            "worker-mid-load=boom",
            "worker-mid-load=exit@x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
