//! Longer texts of the command line.

/// Exit statuses, as `sterna help exit-codes` shows them.
pub const EXIT_CODES: &str = "\
Exit codes (never reused; an unknown one other than 0 means failure):
    0  done, everything as asked
    1  failed; the error names the code
    2  usage: the command or a job file is not valid
    4  not authenticated or not permitted
    5  source, target or cluster can't be reached
    6  no such job, worker or member
    7  wrong state or conflict (already running, exists, cancelled)
    8  a check failed before anything was changed, or a plan would be refused
   10  the target differs from the source: rows, or the schema
   11  the result could not be verified, or rows kept changing while they were compared
   14  a transaction's outcome is unknown: an operator is needed
   20  no coordinator leads: the quorum is lost
   22  the demo's proof failed
   75  temporary: the same command may succeed later
  124  the time given to wait has passed; the job goes on
  130  stopped by Ctrl-C after a clean stop
  143  stopped by SIGTERM after a clean stop";

pub const EXAMPLES: &str = "\
Examples:
  sterna demo                                            see it survive kill -9
  sterna plan sqlite:app.db postgres://me@db1/app        what a copy would do, value by value
  sterna clone sqlite:app.db postgres://me@db1/app       copy, then prove the copy
  sterna clone mysql://me@db1/a mysql://me@db2/a --follow   then go on with its changes
  sterna check mysql://me@db1/a postgres://me@db2/a      what would stop it, and how to mend that
  sterna verify mysql://me@db1/a postgres://me@db2/a     compare every row of both ends
  sterna apply -f job.toml --wait-for Completed          the same on a cluster
  sterna status -j shop -o json

`sterna help exit-codes` lists the exit codes, `sterna explain CODE` an error or a loss.";
