//! Every bound of Sterna, in one file, with the arithmetic beside it.

use serde::{Deserialize, Serialize};

/// One row batch is closed when its cells reach this many bytes (a single row may be larger).
pub const BATCH_BYTES: usize = 1 << 20;
/// Row batches between the reader and the writer of one slot. Worker memory for ordinary rows is
/// slots x (queue + one being filled + one being written) x 1 MiB.
pub const BATCH_QUEUE: usize = 2;
/// The largest cell Sterna moves. MySQL's and MariaDB's max_allowed_packet ends at 1 GiB.
pub const CELL_BYTES_MAX: usize = 1 << 30;

/// Rows of a partition are one target transaction; rolling it back costs about as long as loading
/// it (measured), so it is kept to some seconds of load.
pub const PARTITION_BYTES: u64 = 64 << 20;
/// A bucket is one index range scan.
pub const BUCKET_BYTES: u64 = 16 << 20;
/// Below this a table is one partition: splitting costs more than it brings.
pub const SPLIT_BYTES_MIN: u64 = 8 << 20;
/// Buckets of one table: bounds the plan in the log (about 20 bytes a bound).
pub const BUCKETS_PER_TABLE_MAX: u32 = 1 << 20;
/// Tasks that read one table back.
pub const VERIFY_PARTS_MAX: u32 = 1_024;
/// Partitions of one job.
pub const PARTITIONS_MAX: u32 = 4 << 20;

/// Reports waiting at the leader. A worker sends at most one every `REPORT_INTERVAL_MS` unasked,
/// so this is four reports from each of 1,000 workers.
pub const REPORT_INBOX_MAX: usize = 4_096;
/// Directive sets waiting for one worker: it is level-triggered, only the newest counts.
pub const DIRECTIVE_QUEUE: usize = 4;
/// Commands in one log entry: about 200 KiB.
pub const COMMANDS_PER_ENTRY_MAX: usize = 2_000;
/// Events kept per coordinator, oldest dropped first (about 80 bytes each).
pub const EVENTS_MAX: usize = 20_000;
/// Ended jobs kept for `sterna jobs`.
pub const ENDED_JOBS_MAX: usize = 100;
/// One gRPC message: a catalog of some ten thousand tables.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A snapshot travels in pieces of this size.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// Deadline of one statement that should be quick (fence, ledger, catalogue).
pub const STATEMENT_DEADLINE_MS: u64 = 30_000;
/// One query of a source's catalogue: tens of thousands of tables on a busy server.
pub const CATALOG_DEADLINE_MS: u64 = 180_000;
/// Lock wait in the target while the fence is taken; then recover, then retry.
pub const LOCK_WAIT_MS: u64 = 3_000;
/// How long `begin` goes on resolving older transactions before it gives the unit back.
pub const BEGIN_DEADLINE_MS: u64 = 60_000;
/// Deadline of a connection attempt.
pub const CONNECT_DEADLINE_MS: u64 = 10_000;
/// One batch read or loaded: a single row of 1 GiB on a slow disk. Longer means the server hangs
/// (a full disk makes MariaDB wait without a word, measured).
pub const TRANSFER_DEADLINE_MS: u64 = 180_000;
/// One statement of DDL: all indexes of a table are built in one.
pub const DEFINE_DEADLINE_MS: u64 = 24 * 3_600_000;
/// Looking through the source's log for changes beyond a position; longer means "there may be some".
pub const COMPARE_LOG_DEADLINE_MS: u64 = 60_000;
/// How long setting up to follow a source waits for the transactions that were open there.
pub const OPEN_TRANSACTIONS_WAIT_MS: u64 = 600_000;
/// Events of a stream between its reader and the follow task, and the bytes of their cells: what a
/// follow task gathers while the target writes. A small transaction has about five.
pub const FOLLOW_EVENTS_QUEUE: usize = 16_384;
pub const FOLLOW_AHEAD_BYTES: usize = 32 << 20;
/// A follow task that is behind waits this long for more before it commits what it has.
pub const FOLLOW_LINGER_MS: u64 = 20;
/// A change older than this isn't committed alone: others wait behind it.
pub const FOLLOW_BEHIND_MS: u64 = 300;
/// Changes are gathered up to this many rows, or this many bytes of cells, for one set.
pub const FOLLOW_SET_ROWS: u64 = 20_000;
pub const FOLLOW_SET_BYTES: usize = 16 << 20;
/// While nothing of the job changes, the position is noted this often.
pub const FOLLOW_IDLE_MARK_MS: u64 = 10_000;
/// A follow task that could commit nothing for this long gives its lease back.
pub const FOLLOW_PATIENCE_MS: u64 = 60_000;
/// A follow task shows how far it is this often, and asks for the log's state this often.
pub const FOLLOW_SHOW_MS: u64 = 500;
pub const FOLLOW_LOG_STATE_MS: u64 = 5_000;
/// Attempts of one unit that fail in a row before the job stops.
pub const ATTEMPTS_MAX: u16 = 8;
/// Of a follow task: a server that is away for five minutes is a night's maintenance, no reason to
/// stop (the wait between two attempts is at most some ten seconds).
pub const FOLLOW_ATTEMPTS_MAX: u16 = 35;
/// A follow task that ran this long before it failed got somewhere: no single wait of one that is
/// stuck is as long (see [`TRANSFER_DEADLINE_MS`]).
pub const FOLLOW_STEADY_MS: u64 = 200_000;

/// A binary log that has nothing new says so this often: how long an idle end stays unnoticed.
pub const LOG_HEARTBEAT_MS: u64 = 250;
/// A log stream that is silent for this long, heartbeats included, is cut and opened again. A
/// server's fsync may well take some seconds.
pub const LOG_SILENCE_MS: u64 = 20_000;
/// Row events of source transactions whose end wasn't read yet, in memory; more goes to a file.
pub const GROUP_BYTES: usize = 64 << 20;
/// One source transaction in that file.
pub const SPOOL_BYTES_MAX: u64 = 64 << 30;

/// A worker reports at least this often.
pub const REPORT_INTERVAL_MS: u64 = 250;
/// The leader's tick when nothing happens.
pub const TICK_MS: u64 = 100;

/// Deadline of one attempt to attend at a coordinator, connection included. Short: the others are
/// asked meanwhile, and a leader change must cost a worker less than a second.
pub const ATTEND_DEADLINE_MS: u64 = 1_000;
/// Longest wait between two rounds over all coordinators, before the jitter of a quarter.
pub const ATTEND_BACKOFF_CAP_MS: u64 = 500;
/// Coordinator addresses a worker remembers: the given ones and those it was pointed to.
pub const COORDINATORS_KNOWN_MAX: usize = 16;
/// A leader whose stream is open but silent for this long is left for another: 8 reports.
pub const LEADER_SILENCE_MS: u64 = 2_000;
/// Leases a worker remembers to have been taken away: late directives must not begin them again.
/// About 200 bytes each.
pub const LEASES_REMEMBERED_MAX: usize = 16_384;
/// How long a unit that is about to change a target waits for a leader's word that it may: a leader
/// change.
pub const FRESH_WAIT_MS: u64 = 5_000;
/// Sending times of reports a worker remembers, one per 20 ms at most: 5 s, a lease.
pub const REPORTS_REMEMBERED_MAX: usize = 256;
/// How long a unit waits for its job's context before it is given back as a transient failure.
pub const CONTEXT_DEADLINE_MS: u64 = 30_000;
/// Words "it is prepared" on their way from units to the runner, which always drains them.
pub const PREPARED_QUEUE: usize = 64;
/// Row batches of one unit in memory: one being read, the queue, one being written. A batch of n
/// MiB counts as n, and one of this many or more is in flight alone.
pub const BATCHES_IN_FLIGHT: usize = BATCH_QUEUE + 2;
/// How long an owner goes on trying to commit what was decided before it gives the unit back.
pub const COMMIT_DEADLINE_MS: u64 = 60_000;
/// A unit that was told to stop has this long to roll back; then its connections are cut.
pub const UNIT_STOP_MS: u64 = 10_000;
/// How long a prepared unit of a stopping worker waits for its decision, usually some ms away.
pub const STOP_DECISION_MS: u64 = 1_000;
/// How long a worker that ends waits for the leader to take its last acknowledgements, and then
/// for the end of the stream, which says that its goodbye was heard.
pub const GOODBYE_MS: u64 = 2_000;
/// How long a draining worker lets its units go on: a partition is some seconds of load.
pub const DRAIN_MS: u64 = 60_000;
/// Tables sampled at the same time while a source is inspected.
pub const SAMPLES_AT_ONCE: usize = 4;

/// Rows that differ, told in full: of one range, and of a whole job. All are counted.
pub const DIFFERENCES_PER_RANGE: usize = 200;
pub const DIFFERENCES_PER_JOB: usize = 2_000;
/// Rows of differing buckets whose hashes are held at a time, of both ends together: some 200 bytes
/// each until they are settled.
pub const PAIRED_ROWS_MAX: u64 = 128 << 10;
/// Bytes of rows that a repair holds, and rows of one of its transactions.
pub const REPAIR_BYTES: usize = 32 << 20;
pub const REPAIR_ROWS: u64 = 500_000;
/// How often rows that differ are looked at again before they count as in flight, and the pause
/// between two looks.
pub const LOOK_AGAIN_ROUNDS: u32 = 8;
pub const LOOK_AGAIN_MS: u64 = 250;
/// How long a look waits for a target that follows to get to the end of the source's log.
pub const POSITION_WAIT_MS: u64 = 60_000;
/// A value of a row that differs is shown up to here.
pub const VALUE_SHOWN_BYTES: usize = 200;

/// What an operator or a test may set; everything else in this file is fixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// A worker that was not heard for this long loses its leases.
    pub lease_ms: u64,
    /// A worker whose connection broke has this long to come back before it loses its leases.
    pub reconnect_ms: u64,
    /// Partitions one job may have in flight, beyond what slots and the target allow.
    pub partitions_in_flight_max: u32,
    /// Attempts of one unit that fail in a row before the job stops.
    pub attempts_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            lease_ms: 5_000,
            reconnect_ms: 2_000,
            partitions_in_flight_max: 4_096,
            attempts_max: ATTEMPTS_MAX,
        }
    }
}

impl Limits {
    /// A worker that heard no leader for this long stops its work by itself. Longer than a
    /// failover plus a lease, so a leader change costs no copied row; safety is the fence's job.
    pub fn self_stop_ms(&self) -> u64 {
        self.lease_ms * 3
    }

    /// From the moment a report was sent that the leader has taken in, its worker keeps its leases
    /// at least this long: it is lost for silence after a lease, or some time after its connection
    /// broke. A new leader waits a whole lease for a worker it has not heard.
    pub fn keep_ms(&self) -> u64 {
        self.lease_ms.min(self.reconnect_ms)
    }
}
