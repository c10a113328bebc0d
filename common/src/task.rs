//! Tasks: the work of a job that isn't a partition, each under a lease of its own.

use serde::{Deserialize, Serialize};

use crate::change::{Mark, Secured};
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{PartitionNo, TableNo};
use crate::plan::PartitionSpec;
use crate::schema::{Catalog, SourceMark};
use crate::verify::{Examined, Repaired, TableRange};

/// What is to be done. A task must be repeatable: a second run, by another worker, after the first
/// got anywhere, ends the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Check both ends, read the source's catalog, sample keys. Changes nothing. `slots` is filled
    /// in when the directive is made: what the cluster has at that moment.
    Inspect { slots: u32 },
    /// Fence, ledger and the tables, with primary keys only or, where these are made after the rows
    /// are there, without.
    Create,
    /// At the source, before anything is read: keep the log from here on, and wait until every
    /// transaction that is open now has ended.
    Secure,
    /// Apply the source's changes at the target, from the target's own position, or from `from`
    /// if it has none yet.
    Follow { from: Secured, to: FollowTo },
    /// At the source: remove what `Secure` made.
    Release,
    /// Has the source moved since `mark`?
    Settle { mark: Option<SourceMark> },
    /// The primary key of one table whose rows are all there, where it wasn't made before.
    Key { table: TableNo },
    /// Secondary and unique indexes of one table, then its auto-increment value.
    Index { table: TableNo },
    /// Foreign keys of one table.
    ForeignKeys { table: TableNo },
    /// What the plan's objects need the data for: views, triggers, sequence values, …
    Objects,
    /// Read the table back at the target (or, with `at_source`, again at the source) and compare
    /// its digest with the one recorded while copying.
    Verify {
        table: TableNo,
        at_source: bool,
        expected: Digest,
        /// Of the table only these partitions, which lie side by side in the plan; None = all.
        part: Option<Part>,
        /// Where they lie, filled in when the directive is made.
        spec: Option<Box<PartitionSpec>>,
    },
    /// Read a table that was written to while it was followed at both ends, and compare: `at` is
    /// the position the target stands for.
    Compare { table: TableNo, at: Secured },
    /// Read one range of a table at both ends and compare it row by row. `range` counts the ranges
    /// of the job as the plan's partitions do; `spec` is filled in when the directive is made.
    Examine {
        range: u32,
        spec: Option<PartitionSpec>,
        /// Rows a second that this task may read, of both ends together; filled in like `spec`.
        pace: Option<u64>,
    },
    /// Make one range of the target equal to the source's, then compare it again. `spec` is the
    /// job's range of that number, filled in when the directive is made.
    Repair {
        range: u32,
        spec: Option<Box<TableRange>>,
    },
    /// Leave no prepared transaction and no session of this job behind, and let no zombie's come
    /// late: see [`ResolveUnit`]. `drop_bookkeeping` then removes our fence and ledger rows, and
    /// the tables if no other job uses them.
    Resolve {
        units: Vec<ResolveUnit>,
        drop_bookkeeping: bool,
    },
}

/// Partitions from `first` up to, and without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub first: PartitionNo,
    pub end: PartitionNo,
}

/// How far a follow task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowTo {
    /// To where the log ends when the task begins, over rows that may be newer than the change:
    /// idempotent, by key. Every partition is committed by then, so this is past the last read.
    EndOfCopy,
    /// On and on, strictly.
    Open,
    /// To where the log ends when the task begins, strictly.
    Now,
}

/// A partition that was assigned and isn't committed: its transactions are ended by `decided` (the
/// one epoch whose outcome is Commit; all others are rolled back), its fence raised to `fence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveUnit {
    pub partition: PartitionNo,
    pub fence: Epoch,
    pub decided: Option<Epoch>,
}

impl TaskKind {
    /// One lower-case word for logs, events and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            TaskKind::Inspect { .. } => "inspect",
            TaskKind::Create => "create",
            TaskKind::Secure => "secure",
            TaskKind::Follow { .. } => "follow",
            TaskKind::Release => "release",
            TaskKind::Settle { .. } => "settle",
            TaskKind::Key { .. } => "key",
            TaskKind::Index { .. } => "index",
            TaskKind::ForeignKeys { .. } => "foreign_keys",
            TaskKind::Objects => "objects",
            TaskKind::Verify {
                at_source: false, ..
            } => "verify",
            TaskKind::Verify {
                at_source: true, ..
            } => "reread",
            TaskKind::Compare { .. } => "compare",
            TaskKind::Examine { .. } => "examine",
            TaskKind::Repair { .. } => "repair",
            TaskKind::Resolve { .. } => "resolve",
        }
    }

    /// Works at the source alone: no target is kept busy by it.
    pub fn is_at_source(&self) -> bool {
        matches!(self, TaskKind::Secure | TaskKind::Release)
    }

    /// Goes on until somebody ends it.
    pub fn is_endless(&self) -> bool {
        let to = FollowTo::Open;
        matches!(self, TaskKind::Follow { to: found, .. } if *found == to)
    }

    /// The range that is examined or repaired.
    pub fn range(&self) -> Option<u32> {
        match self {
            TaskKind::Examine { range, .. } | TaskKind::Repair { range, .. } => Some(*range),
            _ => None,
        }
    }

    pub fn table(&self) -> Option<TableNo> {
        match self {
            TaskKind::Key { table }
            | TaskKind::Index { table }
            | TaskKind::ForeignKeys { table }
            | TaskKind::Verify { table, .. }
            | TaskKind::Compare { table, .. } => Some(*table),
            _ => None,
        }
    }
}

/// What a finished task found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResult {
    Done,
    Inspected(Box<Catalog>),
    Settled(Settled),
    Secured(Secured),
    /// A follow task got where it was to go.
    Followed(Box<Mark>),
    /// The digest found; the state compares it.
    Digested(Digest),
    /// What the two ends of one table came to.
    Compared(Compared),
    /// What one range at the two ends came to.
    Examined(Box<Examined>),
    Repaired(Box<Repaired>),
    /// Prepared transactions of ours that were ended.
    Resolved {
        committed: u32,
        rolled_back: u32,
    },
}

/// The answer of [`TaskKind::Settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The mark is the one from before the copy: nothing was written.
    Unmoved,
    /// The mark moved, or there is none: only reading the tables again can tell.
    Unknown,
}

/// The answer of [`TaskKind::Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub at_source: Digest,
    pub at_target: Digest,
    /// The source's log has changes of the table beyond the position, so that a difference proves
    /// nothing.
    pub written_since: bool,
}
