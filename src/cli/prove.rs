//! Options of what comes before and after a migration: `check`, `verify`, `repair`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::job::{JobArgs, ProgressMode};
use super::parse_duration;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Ends with 0 when no check failed, with 8 when one did. Nothing is changed at either end.

Examples:
  sterna check mysql://me@db1/shop postgres://me@db2/shop
  sterna check -f job.toml --exclude 'clock*' --html check.html
  sterna check mysql://me@db1/shop postgres://me@db2/shop -o json | jq '.checks[] | .fixes[]'")]
pub struct CheckArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Only checks whose name matches (may be repeated)
    #[arg(long = "include-check", alias = "include", value_name = "GLOB")]
    pub include: Vec<String>,
    /// No checks whose name matches (may be repeated)
    #[arg(long = "exclude-check", value_name = "GLOB")]
    pub skip: Vec<String>,
    /// Write a report that needs nothing else to be read
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(mut_arg("source", |arg| arg.required_unless_present("of")))]
#[command(mut_arg("target", |arg| arg.required_unless_present("of")))]
// They say how to copy, which `verify` refuses.
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "follow" | "no_replay" | "drift" | "target_mode" | "verify" | "allow_changing_source" => {
        arg.hide(true)
    }
    _ => arg,
}))]
#[command(after_help = "\
Ends with 0 when every row and the schema are equal, with 10 when something differs, with 11 when
rows kept changing while they were compared. Nothing is changed at either end.

Examples:
  sterna verify mysql://me@db1/shop postgres://me@db2/shop
  sterna verify mysql://me@db1/shop postgres://me@db2/shop -t 'order*' --plan repair.json
  sterna verify -j shop                   # a job of the cluster, also one that follows")]
pub struct VerifyArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Verify what this job of the cluster copied, with the cluster's workers
    #[arg(short = 'j', long = "job", value_name = "JOB", conflicts_with_all = ["source", "target", "file"])]
    pub of: Option<String>,
    /// Compare only these columns, and the keys (may be repeated)
    #[arg(long = "columns", value_name = "TABLE.COLUMN", value_parser = parse_column)]
    pub columns: Vec<String>,
    /// Compare only so much of each table, in whole key ranges, as in 5%
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub sample: Option<u32>,
    /// Let servers of one engine fold the rows themselves; rows travel only where they differ
    #[arg(long)]
    pub fast: bool,
    /// At most so many rows a second over both ends, as in 200k
    #[arg(long, value_name = "ROWS", value_parser = parse_rate)]
    pub rate: Option<u64>,
    /// Write a plan for `sterna repair`
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Write a report that needs nothing else to be read
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where the progress is kept: the same command again goes on there
    #[arg(long, value_name = "DIR", env = "STERNA_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
    /// With -j: wait at most so long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Reads the source, changes the target alone: in the ranges of the plan, rows are inserted, updated
and deleted until both ends are equal, and then compared again.

Examples:
  sterna verify mysql://me@db1/shop postgres://me@db2/shop --plan repair.json
  sterna repair --plan repair.json --dry-run
  sterna repair --plan repair.json --only missing")]
pub struct RepairArgs {
    /// The plan that `sterna verify --plan` wrote
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Mend only rows of this class (may be repeated)
    #[arg(long, value_name = "CLASS", value_parser = ["missing", "extra", "different"])]
    pub only: Vec<String>,
    /// Workers and their slots in this process
    #[arg(long, default_value_t = 1)]
    pub workers: u32,
    #[arg(long, default_value_t = 4)]
    pub slots: u32,
    /// Where the progress is kept: the same command again goes on there
    #[arg(long, value_name = "DIR", env = "STERNA_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// A pattern over `table.column`.
fn parse_column(text: &str) -> Result<String, String> {
    match text.contains('.') {
        true => Ok(text.to_owned()),
        false => Err("write TABLE.COLUMN, as in orders.placed or '*.price'".to_owned()),
    }
}

/// `5%`, `0.5%`, `5` in thousandths.
fn parse_percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => {
            Ok(((percent * 10.0).round() as u32).max(1))
        }
        _ => Err("give a share between 0.1% and 100%".to_owned()),
    }
}

/// `500`, `200k`, `1.5M`.
fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate * unit >= 1.0 => Ok((rate * unit) as u64),
        _ => Err("give rows a second, as in 500, 200k or 1.5M".to_owned()),
    }
}
