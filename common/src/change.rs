//! Changes of a source as they happen: where they are in its log, what they are, and what a set of
//! them comes to. See DESIGN §6. Nothing here waits or knows an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Failure;
use crate::id::{Millis, TableNo};
use crate::plan::TablePlan;
use crate::value::RowBatch;

pub mod net;

/// The order of two points in **one** source's log: (file, offset) of a binary log, (0, LSN) of a
/// write-ahead log, (0, number) in a change table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogOrder(pub u64, pub u64);

/// A point in a source's change log, between two of its transactions: everything up to `order` is
/// applied. `text` is the connector's own word for it and all that it needs to go on from there
/// (file and offset, GTID set, oldest open XA branch, …).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub order: LogOrder,
    pub text: String,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a source's log can be followed, as inspection found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFacts {
    Usable,
    /// Following needs more of the source than the user may want for a plain copy (triggers):
    /// done when asked for, not by itself.
    OnRequest,
    /// What is in the way, with the statements that change it.
    Unusable(Failure),
}

/// How a job deals with changes made while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowMode {
    /// As the user left it: [`FollowMode::PointInTime`] where the log is usable, else
    /// [`FollowMode::Off`].
    #[default]
    Auto,
    /// Copy only; the source must stand still, or the job fails.
    Off,
    /// Copy, replay what changed meanwhile up to the position at the end of copying, stop there.
    PointInTime,
    /// Go on until the user completes or cancels the job.
    Live,
}

/// What to do with DDL seen in the source's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftMode {
    /// Stop by name, position kept.
    #[default]
    Stop,
    /// Apply additive changes (a new column, a new table, a wider type); stop at any other.
    Apply,
}

/// P0: from here on the source keeps what it logs for us, and every transaction that was open when
/// it was taken has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secured {
    pub position: Position,
    /// Which server's log it is: system id and timeline, server uuid, …; compared at every connect.
    pub identity: String,
}

/// What one row change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// One row in the batch: the new one.
    Insert,
    /// Two rows in the batch: the old one, then the new one.
    Update,
    /// One row in the batch: the old one.
    Delete,
    /// No row in the batch. Everything of the table before it is gone.
    Truncate,
}

impl Op {
    /// Rows it has in [`ChangeBatch::rows`].
    pub fn rows(self) -> usize {
        match self {
            Op::Insert | Op::Delete => 1,
            Op::Update => 2,
            Op::Truncate => 0,
        }
    }
}

/// Changes of one table in the order of the log. Rows have the plan's copied source columns in the
/// plan's cell form, exactly as the source's reader yields them, so that everything that is done to
/// copied rows can be done to these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeBatch {
    pub table: TableNo,
    pub ops: Vec<Op>,
    pub rows: RowBatch,
    /// Old rows hold only their key columns, all other cells are NULL and mean nothing.
    pub old_is_key: bool,
    /// (row of `rows`, copied column) of new cells that the log doesn't hold because they didn't
    /// change (PostgreSQL's TOAST); the cell itself is NULL. Ascending.
    pub unchanged: Vec<(u32, u32)>,
}

/// What is noted in the target in the same transaction as the rows it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub position: Position,
    /// When the last applied transaction was committed at the source, milliseconds of Unix time.
    pub committed_at: Millis,
    /// Tables with a change since their copy.
    pub touched: BTreeSet<TableNo>,
    pub counts: ChangeCounts,
    /// Tables that were altered at the source since the plan was made: as they are from `position`
    /// on, at both ends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub altered: BTreeMap<TableNo, TablePlan>,
}

/// Row changes by kind, as the source made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeCounts {
    pub transactions: u64,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl ChangeCounts {
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// How much of the source's log lies before us, and how much of it is left before it is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Bytes between our position and the log's end.
    pub behind_bytes: u64,
    /// Bytes that may still be written before the server removes what we need; None = no bound.
    pub headroom_bytes: Option<u64>,
    /// Time until the server removes what we need, as it stands; None = no bound.
    pub headroom_ms: Option<u64>,
}

/// How far a follow task is: shown to people, never part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowProgress {
    pub position: String,
    /// Age of the oldest change that isn't applied; 0 = everything the source logged is.
    pub lag_ms: u64,
    pub log: LogState,
    /// Read from the log and applied at the target since the task began.
    pub read: ChangeCounts,
    pub applied: ChangeCounts,
    /// The target shows whole source transactions, and did at every moment since.
    pub caught_up: bool,
    /// Why it doesn't move, or what will soon be in the way.
    pub warning: Option<String>,
}
