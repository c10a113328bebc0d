//! What a run of changes of one table comes to, per key: see [`NetChanges`].

use crate::id::TableNo;
use crate::value::RowBatch;

/// The net effect of whole transactions (or of a piece of one) on one table. A target applies it in
/// this order: `truncate`, `deletes`, `inserts`, `patches`. A row that was updated is in `deletes`
/// and in `inserts`: with every old row gone before the first new one comes, no unique key can be
/// in the way for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetChanges {
    pub table: TableNo,
    pub truncate: bool,
    /// Keys of the rows that go, each once: the target's key columns in key order. For a table
    /// without a key whole rows, as many as must go.
    pub deletes: RowBatch,
    /// Rows that come, as [`crate::plan::TablePlan::rows`].
    pub inserts: RowBatch,
    /// Updates of rows of which the log doesn't hold every cell; none of their keys is in
    /// `deletes` or `inserts`.
    pub patches: Vec<Patch>,
    /// Every key of `deletes` must be there, and none of `inserts`; every patch must find its row.
    /// False while changes are replayed over rows that may be newer.
    pub strict: bool,
}

/// See [`NetChanges::patches`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The row's key before.
    pub key: Vec<Vec<u8>>,
    /// (copied column of the rows, new cell).
    pub cells: Vec<(u32, Option<Vec<u8>>)>,
}
