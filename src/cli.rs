//! The command line: names, defaults and help texts. What a command does is in `commands/`.

mod job;
mod prove;
mod texts;

use std::path::PathBuf;
use std::time::Duration;

pub use self::job::{CloneArgs, Drift, FollowArgs, JobArgs, Mode, PlanArgs, ProgressMode, Verify};
pub use self::prove::{CheckArgs, RepairArgs, VerifyArgs};
use self::texts::EXAMPLES;
pub use self::texts::EXIT_CODES;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Moves whole databases on a cluster that may lose any machine at any moment, and proves that
/// every row is there exactly once.
#[derive(Debug, Parser)]
#[command(name = "sterna", version, after_help = EXAMPLES, propagate_version = true)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// How answers are printed on stdout; json stays stable within one api_version
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Addresses of coordinators, any will do
    #[arg(
        short = 'C',
        long,
        global = true,
        env = "STERNA_ADDR",
        value_delimiter = ','
    )]
    #[arg(
        value_name = "HOST:PORT,..",
        default_value = "127.0.0.1:7400",
        hide_env_values = true
    )]
    pub cluster: Vec<String>,
    /// Print no progress and no hints, only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log more to stderr (-v, -vv)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No colours (also: the environment variable NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy a database and prove the copy, without a cluster
    Clone(CloneArgs),
    /// Apply a source's changes to a target that holds its rows already, without a cluster
    Follow(FollowArgs),
    /// Show what a migration would do, value by value: nothing is changed
    Plan(PlanArgs),
    /// Look for what would stop or spoil a migration, with the statements that mend it
    #[command(alias = "assess")]
    Check(CheckArgs),
    /// Compare two databases row by row, between any two engines
    Verify(VerifyArgs),
    /// Make the rows equal that `sterna verify` found to differ
    Repair(RepairArgs),
    /// Show it on sample data: a cluster on this machine, two kills, a proof
    Demo(DemoArgs),
    /// Run a coordinator
    Coordinator(CoordinatorArgs),
    /// Run a worker
    Worker(WorkerArgs),
    /// Submit a job file to the cluster
    Apply(ApplyArgs),
    /// List the jobs
    Jobs,
    /// Show one job
    Status(StatusArgs),
    /// Wait until a job is in a phase
    Wait(WaitArgs),
    /// What happened, one line an event: a partition's two-phase commit can be read here
    Events(EventsArgs),
    /// Hand out no new work of a job; what is in flight ends
    Pause(JobArg),
    /// Go on with a paused or failed job
    Resume(JobArg),
    /// End a job that follows its source: apply what the log holds, prove the result, let go
    Complete(JobArg),
    /// End a job: roll back what is undecided, keep what is committed
    Cancel(JobArg),
    /// For those who run the cluster
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Workers of the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// What an error code or a loss code means and what to do
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory
    Man {
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the version
    Version,
    /// Print the table of exit codes
    #[command(name = "exit-codes", hide = true, after_help = EXIT_CODES)]
    #[command(help_template = "{after-help}")]
    ExitCodes,
    /// Write generated pages
    #[command(hide = true)]
    Docs(DocsArgs),
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Rows of the sample database
    #[arg(long, default_value_t = 300_000)]
    pub rows: u32,
    /// Keep the databases and logs of the demo
    #[arg(long)]
    pub keep: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example, the same on each of three machines with its own name and addresses:
  sterna coordinator --name c1 --data-dir /var/lib/sterna --listen 10.0.0.11:7400 \\
      --http 10.0.0.11:7460 --join 10.0.0.11:7400,10.0.0.12:7400,10.0.0.13:7400 --bootstrap-expect 3

At the start one line is printed on stdout: listening grpc=HOST:PORT http=HOST:PORT")]
pub struct CoordinatorArgs {
    /// Name of this member, different on each
    #[arg(long, env = "STERNA_NAME")]
    pub name: String,
    /// Where log and state are kept
    #[arg(long, value_name = "DIR", env = "STERNA_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address for coordinators, workers and clients; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    #[arg(env = "STERNA_LISTEN")]
    pub listen: String,
    /// Address under which others reach this one [default: the one it listens on]
    #[arg(long, value_name = "HOST:PORT", env = "STERNA_ADVERTISE")]
    pub advertise: Option<String>,
    /// Address of /metrics, /healthz and /readyz [default: none]
    #[arg(long, value_name = "HOST:PORT", env = "STERNA_HTTP")]
    pub http: Option<String>,
    /// Addresses of the coordinators, itself among them or not
    #[arg(
        long,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        env = "STERNA_JOIN"
    )]
    pub join: Vec<String>,
    /// Form a cluster once so many coordinators see each other; 0 = wait to be added by
    /// `operator raft add-peer`
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        env = "STERNA_BOOTSTRAP_EXPECT"
    )]
    pub bootstrap_expect: usize,
    /// Log entries between snapshots
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5_000,
        hide_short_help = true
    )]
    pub snapshot_every: u64,
    /// A worker not heard for so long loses its leases
    #[arg(long, value_name = "MS", hide = true)]
    pub lease_ms: Option<u64>,
    /// A worker whose connection broke has so long to come back
    #[arg(long, value_name = "MS", hide = true)]
    pub reconnect_ms: Option<u64>,
    /// Attempts of one unit that fail in a row before the job stops
    #[arg(long, value_name = "N", hide = true)]
    pub attempts_max: Option<u16>,
    /// End when stdin ends
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  sterna worker --join 10.0.0.11:7400,10.0.0.12:7400,10.0.0.13:7400 --slots 8

SIGTERM drains: what is in flight ends (within --drain-timeout), nothing new is taken.")]
pub struct WorkerArgs {
    /// Name of this worker, different on each [default: host name and process id]
    #[arg(long, env = "STERNA_NAME")]
    pub name: Option<String>,
    /// Addresses of coordinators
    #[arg(
        long,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        env = "STERNA_JOIN"
    )]
    #[arg(default_value = "127.0.0.1:7400")]
    pub join: Vec<String>,
    /// Partitions copied at a time
    #[arg(long, default_value_t = 4, env = "STERNA_SLOTS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: u32,
    /// Address of /metrics and /healthz [default: none]
    #[arg(long, value_name = "HOST:PORT", env = "STERNA_HTTP")]
    pub http: Option<String>,
    /// How long SIGTERM waits for what is in flight; leaving it is safe, it is copied again
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// End when stdin ends
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A job file, TOML (YAML and JSON are read too):
  version = 1
  name = \"shop\"
  [source]
  url = \"mysql://db1/shop\"
  user = \"sterna\"
  password = { file = \"/run/secrets/shop\" }   # or { env = \"NAME\" }; the workers resolve it
  [target]
  url = \"sqlite:/srv/shop.db\"
  mode = \"require-empty\"                      # append, truncate, recreate
  [tables]
  include = [\"*\"]
  exclude = [\"*_tmp\"]
  [follow]
  mode = \"live\"                               # auto, off, point-in-time
  drift = \"stop\"                              # apply")]
pub struct ApplyArgs {
    /// The job file: .toml, .yaml, .yml or .json
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Then wait for a phase, as `sterna wait` does
    #[arg(long, value_name = "PHASE", value_parser = parse_phase)]
    pub wait_for: Option<common::state::Phase>,
    /// At most so long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct JobArg {
    /// Name of the job
    #[arg(short, long, env = "STERNA_JOB")]
    pub job: String,
}

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub job: JobArg,
    /// Print it again every two seconds until the job has ended
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Ends with 0 when the job is in that phase or past it, with 124 when the time is over, and at once
with the job's own exit code when it can't get there any more.

Example:
  sterna wait -j shop --for Completed --timeout 2h")]
pub struct WaitArgs {
    #[command(flatten)]
    pub job: JobArg,
    /// Checking, Planning, Creating, Copying, Indexing, Following, Verifying, Completed, Failed or Cancelled
    #[arg(long = "for", value_name = "PHASE", default_value = "Completed")]
    #[arg(value_parser = parse_phase)]
    pub phase: common::state::Phase,
    /// At most so long, as in 90s, 10m, 2h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Only of this job
    #[arg(short, long)]
    pub job: Option<String>,
    /// Go on printing new ones
    #[arg(short, long)]
    pub follow: bool,
    /// Only after this sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: u64,
}

#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Members of the coordinator cluster
    #[command(subcommand)]
    Raft(RaftCommand),
    /// Transactions that are prepared and not ended
    #[command(subcommand)]
    Txn(TxnCommand),
}

#[derive(Debug, Subcommand)]
pub enum RaftCommand {
    /// List the members and who leads
    ListPeers,
    /// Add a running coordinator to the cluster
    AddPeer {
        /// Its --name
        name: String,
        /// Its address, HOST:PORT
        address: String,
        /// Don't let it vote
        #[arg(long)]
        learner: bool,
    },
    /// Take a member out of the cluster
    RemovePeer { name: String },
    /// Hand leadership over
    TransferLeader {
        /// To this member [default: whichever follows best]
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum TxnCommand {
    /// List them
    List,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the workers
    List,
    /// Give a worker no new work
    Drain { worker: String },
    /// Give it work again
    Undrain { worker: String },
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// As printed in the error or by `sterna plan`: ST3001, zero-date [default: list all]
    pub code: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct DocsArgs {
    /// `errors`, `cli` or `types`
    pub kind: String,
    pub dir: PathBuf,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write the unit, as in 90s or 10m"))
}

fn parse_phase(text: &str) -> Result<common::state::Phase, String> {
    text.parse().map_err(|()| {
        let names: Vec<String> = { common::state::Phase::ALL.iter() }
            .map(ToString::to_string)
            .collect();
        format!("is not a phase: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_code_s_exit_status_is_in_the_table() {
        let listed: Vec<u8> = EXIT_CODES
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        for code in common::code::Code::ALL {
            assert!(listed.contains(&code.exit()), "{code} {}", code.exit());
        }
    }
}
