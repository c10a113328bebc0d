//! Options that describe one migration, of `clone` and `plan` alike. What they make of a job is in
//! `crate::job`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use common::fidelity::Acceptance;
use common::rules::TypeCast;

/// A migration: two URLs and options, or a job file and what to add to it.
#[derive(Clone, Debug, Args)]
pub struct JobArgs {
    /// URL of the source database, which is only read
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub source: Option<String>,
    /// URL of the target database
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub target: Option<String>,
    /// Read URLs, rules and all else from a job file, as `sterna apply` does; options given beside
    /// it add to what it says, or stand in for it
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only tables that match (may be repeated)
    #[arg(short = 't', long = "table", value_name = "GLOB")]
    pub tables: Vec<String>,
    /// No tables that match (may be repeated)
    #[arg(short = 'x', long = "exclude", value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Accept a loss for the columns that match, as in zero-date:orders.placed or 'nul-in-text:*'
    /// (may be repeated); `sterna explain` lists the codes
    #[arg(long, value_name = "CODE:TABLE.COLUMN")]
    pub accept: Vec<Acceptance>,
    /// Make columns of a source's type another type of the target, as in 'tinyint(1)=boolean'
    /// (may be repeated)
    #[arg(long = "cast", value_name = "FROM=TO")]
    pub casts: Vec<TypeCast>,
    /// What a schema (MySQL: a database) of the source is called in the target (may be repeated)
    #[arg(long = "map-schema", value_name = "FROM=TO", value_parser = parse_schema)]
    pub schemas: Vec<(String, String)>,
    /// Copy PostgreSQL's large objects too
    #[arg(long)]
    pub large_objects: bool,
    /// What to do with tables that are at the target already [default: require-empty]
    #[arg(long, value_enum)]
    pub target_mode: Option<Mode>,
    /// How the result is proven [default: full]
    #[arg(long, value_enum)]
    pub verify: Option<Verify>,
    /// Accept that the source is written to meanwhile: the copy then shows no single moment
    #[arg(long)]
    pub allow_changing_source: bool,
    /// Go on when all is copied: apply the source's changes as they happen, until the job is
    /// completed
    #[arg(long)]
    pub follow: bool,
    /// Copy only, though the source's log could be replayed: the source must stand still then
    #[arg(long, conflicts_with = "follow")]
    pub no_replay: bool,
    /// What to do when a table of the source is altered while it is followed [default: stop]
    #[arg(long, value_enum)]
    pub drift: Option<Drift>,
    /// Size of a partition, the unit of commit and of retry [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[arg(value_parser = common::job_file::parse_bytes)]
    pub partition_size: Option<u64>,
    /// Workers in this process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Partitions (or ranges) one worker works on at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: u32,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
URLs:
  sqlite:PATH
  mysql://USER:PASSWORD@HOST:PORT/DATABASE                        (mariadb:// is the same)
  postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=S&sslmode=M  (postgresql:// is the same)
Without ?schema= it is PostgreSQL's schema public. A password may also come from
STERNA_SOURCE_PASSWORD and STERNA_TARGET_PASSWORD, where no process list shows it.

Where the source's log can be read, what is written to it meanwhile is replayed at the end, so that
the copy shows the source at one moment, by name of a position. With --follow it goes on from there:
Ctrl-C stops it cleanly, the same command goes on, and with --complete beside it the job ends: what
the log holds by then is applied, and the result is proven.

The same command again resumes. Ctrl-C stops cleanly; a second one leaves at once, which loses
nothing but time. `sterna plan` with the same arguments shows first what will happen.

Examples:
  sterna clone sqlite:app.db sqlite:copy.db
  sterna clone mysql://me@db1/shop postgres://me@db2/shop --accept zero-date:orders.placed
  sterna clone postgres://me@db1/shop postgres://me@db2/shop -x '*_tmp' --target-mode recreate
  sterna clone mariadb://me@db1/shop sqlite:shop.db -t orders -t 'customer*' -o json
  sterna clone mysql://me@db1/shop postgres://me@db2/shop --follow
  sterna clone -f job.toml")]
pub struct CloneArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Where the progress is kept [default: a directory of its own for each source and target
    /// below $XDG_STATE_HOME/sterna]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// With --follow: end the job, once what the source's log holds now is applied and proven
    #[arg(long)]
    pub complete: bool,
    /// How progress is shown on stderr
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// `sterna follow`: no copy, only changes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The target must hold the rows the source had at that position: copied by other means, or by
`sterna clone`, which names the position at its end. Nothing is created or copied; the tables must
be there. Where the source's server keeps its log only for those who asked (PostgreSQL's slots), it
must have been kept since.

Positions:
  FILE:OFFSET, as in bin.000003:4711, or a GTID set        MySQL, MariaDB
  an LSN, as in 0/16B3748                                  PostgreSQL
  the number of a change                                   SQLite

Example:
  sterna follow mysql://me@db1/shop mysql://me@db2/shop --from bin.000003:4711")]
pub struct FollowArgs {
    #[command(flatten)]
    pub clone: CloneArgs,
    /// Where to begin: everything up to it is in the target
    #[arg(long, value_name = "POSITION")]
    pub from: String,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Takes the arguments of `sterna clone` or the job file of `sterna apply`. Needs no cluster, keeps
nothing, changes nothing. Exit status 0: the job can run as planned; 8: it would be refused, and
everything in its way is listed.

Each column is
  exact    every value fits
  widened  every value fits, the target's type allows more or says less
  guarded  a value that doesn't fit is found before it is written, and stops the job unless
           its loss is accepted
  lossy    the type itself changes values (a cast): refused unless accepted

Examples:
  sterna plan mysql://me@db1/shop postgres://me@db2/shop
  sterna plan sqlite:app.db postgres://me@db1/app --ddl > app.sql
  sterna plan -f job.toml -o json")]
pub struct PlanArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Print nothing but the statements that would be run at the target
    #[arg(long)]
    pub ddl: bool,
    /// List every column, also those that are exact
    #[arg(long)]
    pub all_columns: bool,
}

/// [`common::job::TargetMode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Refuse if one of them is there
    RequireEmpty,
    /// Add rows to them
    Append,
    /// Empty them first
    Truncate,
    /// Drop and create them
    Recreate,
}

/// [`common::change::DriftMode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drift {
    /// Stop the job, by name, and keep the position
    Stop,
    /// Apply what adds something (a column, a table, a wider type), stop at anything else
    Apply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// Read every row of the target back and compare
    Full,
    /// Don't; the report says so
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// bar in a terminal, else plain
    Auto,
    /// A bar for each running table
    Bar,
    /// A line every few seconds
    Plain,
    /// A JSON object every second
    Json,
    None,
}

fn parse_schema(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => {
            Ok((from.to_owned(), to.to_owned()))
        }
        _ => Err("write FROM=TO, as in sales=sales_copy".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_need_both_sides() {
        assert!(parse_schema("a=b").is_ok());
        for text in ["", "a", "a=", "=b"] {
            assert!(parse_schema(text).is_err(), "{text:?}");
        }
    }
}
