//! Following a source: what its connector gives, what a target's takes. The order of steps is the
//! follow task's, see `task::follow`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::change::{ChangeBatch, Mark, Position, net::NetChanges};
use common::code::Code;
use common::epoch::Epoch;
use common::id::{JobUid, Millis, PartitionNo, TableNo, TaskNo};
use common::plan::TablePlan;
use common::value::RowBatch;

use super::{Current, Error, Result};

/// What to keep the log for.
#[derive(Clone, Debug)]
pub struct SecureWork {
    pub job: JobUid,
    pub tables: Vec<TablePlan>,
    /// Asked right before every statement that makes or removes something at the source.
    pub current: Current,
}

/// What to follow, and from where.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    pub job: JobUid,
    /// All tables of the plan, by [`TableNo`].
    pub tables: Vec<TablePlan>,
    /// Transactions whose position is beyond this one are delivered, all others are not.
    pub after: Position,
    /// [`common::change::Secured::identity`]: another server, or a gap in its log, is an error by name.
    pub identity: String,
}

/// What a stream delivers, in the order of the log: `Begin`, its `Rows`, its `Commit`; between
/// transactions `Idle` and `Drift`. Only committed transactions are begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin(Origin),
    /// At most about [`common::limits::BATCH_BYTES`] of cells, one table.
    Rows(ChangeBatch),
    Commit {
        /// Beyond this transaction.
        position: Position,
        /// When it was committed at the source.
        at: Millis,
    },
    /// A statement changed a table of the job. Nothing after it is delivered: the stream is opened
    /// again, with the tables as they are then, or the job stops.
    Drift(Drift),
    /// The log was read up to here and holds nothing of ours. Sent when the log's end is
    /// reached and about every second while nothing happens.
    Idle {
        position: Position,
    },
}

/// Who made a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The source's number of it where it has one (PostgreSQL's xid), see [`ChangeStream::is_in`].
    pub xid: u64,
    /// Where it is in the log.
    pub order: common::change::LogOrder,
}

/// DDL in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Beyond the statement: what is resumed from once it is dealt with.
    pub position: Position,
    /// None: a new table, or more than one.
    pub table: Option<TableNo>,
    /// The table's name as people write it, and the statement as the log has it ("columns are now
    /// a, b, c" where it has none).
    pub name: String,
    pub statement: String,
}

/// A source's changes as they happen. Dropping it ends its session at the server.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next event; waits for one. An error ends the stream. Not cancel safe: the caller runs it
    /// in a task of its own.
    async fn next(&mut self) -> Result<Event>;

    /// Everything up to `position` is in the target for good: the source needn't keep it.
    async fn confirm(&mut self, position: &Position) -> Result<()>;
}

/// What a follow task writes through at the target.
#[derive(Clone, Debug)]
pub struct ApplyWork {
    pub job: JobUid,
    pub task: TaskNo,
    pub epoch: Epoch,
    /// 0 .. lanes: each has a session, a fence row and a mark of its own.
    pub lane: u32,
    /// All tables of the plan, by [`TableNo`].
    pub tables: Vec<TablePlan>,
    pub current: Current,
}

impl ApplyWork {
    /// The fence's number: of a later task, or of a later epoch of one task, it is higher. Beyond
    /// 65,535 of either it stays, and what comes later is refused rather than let by.
    pub fn fence(&self) -> Epoch {
        Epoch(self.task.0.min(0xffff) << 16 | self.epoch.0.min(0xffff))
    }

    /// The fence's unit; the same for all follow tasks of a job. Begins with `t`, as tasks do.
    pub fn unit(&self) -> String {
        format!("tf{}", self.lane)
    }
}

/// What the target knows of a job's following.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// [`common::change::Mark`] as JSON, by lane.
    pub lanes: BTreeMap<u32, String>,
    /// The snapshots in which partitions of tables without a key were read, from the ledger.
    pub snapshots: BTreeMap<PartitionNo, String>,
}

/// A mark as it stands in the target.
pub fn mark_of(text: &str) -> Result<Mark> {
    serde_json::from_str(text).map_err(|error| {
        let what = format!("the target's mark can't be read: {error}");
        Error::permanent(Code::Internal, what)
    })
}

/// Writes changes at a target. The caller's order is `begin, (apply* (commit | rollback))*`; after
/// any error only dropping it follows, and what was committed is read by the next one's `begin`.
#[async_trait]
pub trait TargetApplier: Send {
    /// Registers the session under the fence's unit, ends the older owners of it, reads the marks.
    async fn begin(&mut self) -> Result<Marks>;

    /// Applies the changes in the open transaction, or opens one. All or an error. Returns the
    /// keys of patches that found no row, where `strict` is off.
    async fn apply(&mut self, changes: NetChanges) -> Result<Vec<Vec<Vec<u8>>>>;

    /// The fence, which must still be ours, and the marks by lane as the last statements; commits.
    async fn commit(&mut self, marks: &[(u32, String)]) -> Result<()>;

    async fn rollback(&mut self) -> Result<()>;

    /// Adds a column (or makes a table) as the source has it now; outside any transaction,
    /// repeatable. `table` is the plan's table with the target schema it shall have.
    async fn alter(&mut self, before: Option<&TablePlan>, table: &TablePlan) -> Result<()>;
}

/// Rows asked for by key, see [`super::Connector::fetch`].
#[derive(Clone, Debug)]
pub struct FetchRequest {
    pub table: TablePlan,
    pub no: TableNo,
    /// Cells of the table's change key, as they are in its rows.
    pub keys: RowBatch,
}
