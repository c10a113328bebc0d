//! The rows of a transaction, gathered by table into batches of about a MiB. Within a transaction
//! only the order of one table's changes counts.

use std::collections::BTreeMap;

use common::change::{ChangeBatch, Op};
use common::id::TableNo;
use common::limits;
use common::value::RowBatch;

use super::message::{self, Old, Place};
use super::table::{Table, Tuple};
use crate::connector::Result;

/// Bytes of all open batches together: a transaction may touch any number of tables.
const OPEN_BYTES_MAX: usize = 4 * limits::BATCH_BYTES;
/// Changes between two looks at that.
const LOOK_AFTER: u32 = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Gather {
    open: BTreeMap<TableNo, Open>,
    /// Full ones, in order.
    full: Vec<ChangeBatch>,
    since_look: u32,
    old_places: Vec<Place>,
    new_places: Vec<Place>,
}

#[derive(Debug)]
struct Open {
    ops: Vec<Op>,
    rows: RowBatch,
    /// None = no old row yet.
    old_is_key: Option<bool>,
    unchanged: Vec<(u32, u32)>,
}

impl Gather {
    pub fn insert(&mut self, table: &Table, new: &[u8]) -> Result<()> {
        message::tuple(new, &mut self.new_places)?;
        let open = open(&mut self.open, &mut self.full, table, None);
        let places = &self.new_places;
        let row = open.rows.rows() as u32;
        let new = Tuple { data: new, places };
        table.push_row(&mut open.rows, new, None, row, &mut open.unchanged)?;
        open.ops.push(Op::Insert);
        self.settle(table.no);
        Ok(())
    }

    pub fn update(&mut self, table: &Table, old: Option<Old>, tuples: &[u8]) -> Result<()> {
        let (old_data, new_data) = match old {
            None => {
                message::tuple(tuples, &mut self.new_places)?;
                (tuples, tuples)
            }
            Some(_) => {
                let length = message::tuple(tuples, &mut self.old_places)?;
                let new = &tuples[length..];
                message::new_tuple(new, &mut self.new_places)?;
                (tuples, &new[1..])
            }
        };
        let is_key = old != Some(Old::Whole);
        if is_key {
            table.check_key()?;
        }
        let open = open(&mut self.open, &mut self.full, table, Some(is_key));
        let new = Tuple {
            data: new_data,
            places: &self.new_places,
        };
        let before = old.map(|_| Tuple {
            data: old_data,
            places: &self.old_places,
        });
        let Open {
            rows, unchanged, ..
        } = open;
        let first = rows.rows() as u32;
        match before {
            Some(before) if !is_key => table.push_row(rows, before, None, first, unchanged)?,
            // A key that isn't in the log didn't change.
            before => table.push_key(rows, before.unwrap_or(new))?,
        }
        let before = before.map(|before| (before, is_key));
        table.push_row(rows, new, before, first + 1, unchanged)?;
        open.ops.push(Op::Update);
        self.settle(table.no);
        Ok(())
    }

    pub fn delete(&mut self, table: &Table, old: Old, tuple: &[u8]) -> Result<()> {
        message::tuple(tuple, &mut self.old_places)?;
        let is_key = old == Old::Key;
        if is_key {
            table.check_key()?;
        }
        let open = open(&mut self.open, &mut self.full, table, Some(is_key));
        let places = &self.old_places;
        let row = open.rows.rows() as u32;
        let before = Tuple {
            data: tuple,
            places,
        };
        match is_key {
            true => table.push_key(&mut open.rows, before)?,
            false => table.push_row(&mut open.rows, before, None, row, &mut open.unchanged)?,
        }
        open.ops.push(Op::Delete);
        self.settle(table.no);
        Ok(())
    }

    pub fn truncate(&mut self, table: TableNo, columns: usize) {
        let open = self.open.entry(table).or_insert_with(|| Open::new(columns));
        open.ops.push(Op::Truncate);
    }

    /// Batches that are full.
    pub fn full(&mut self) -> std::vec::Drain<'_, ChangeBatch> {
        self.full.drain(..)
    }

    /// All that is left, at the end of the transaction.
    pub fn finish(&mut self) -> Vec<ChangeBatch> {
        let mut batches: Vec<ChangeBatch> = self.full.drain(..).collect();
        let open = std::mem::take(&mut self.open);
        batches.extend(open.into_iter().map(|(table, open)| open.close(table)));
        batches
    }

    fn settle(&mut self, table: TableNo) {
        let is_full = |open: &Open| open.rows.is_full();
        if self.open.get(&table).is_some_and(is_full)
            && let Some(open) = self.open.remove(&table)
        {
            self.full.push(open.close(table));
        }
        self.since_look += 1;
        if self.since_look >= LOOK_AFTER {
            self.since_look = 0;
            let bytes: usize = self.open.values().map(|open| open.rows.bytes()).sum();
            if bytes > OPEN_BYTES_MAX {
                self.full = self.finish();
            }
        }
    }
}

/// The table's open batch, of the kind that `old` rows fit in.
fn open<'a>(
    open: &'a mut BTreeMap<TableNo, Open>,
    full: &mut Vec<ChangeBatch>,
    table: &Table,
    old_is_key: Option<bool>,
) -> &'a mut Open {
    let found = open
        .entry(table.no)
        .or_insert_with(|| Open::new(table.columns()));
    if let Some(wanted) = old_is_key {
        if found.old_is_key.is_some_and(|kind| kind != wanted) {
            let other = std::mem::replace(found, Open::new(table.columns()));
            full.push(other.close(table.no));
        }
        found.old_is_key = Some(wanted);
    }
    found
}

impl Open {
    fn new(columns: usize) -> Open {
        Open {
            ops: Vec::new(),
            rows: RowBatch::new(columns),
            old_is_key: None,
            unchanged: Vec::new(),
        }
    }

    fn close(self, table: TableNo) -> ChangeBatch {
        ChangeBatch {
            table,
            ops: self.ops,
            rows: self.rows,
            old_is_key: self.old_is_key.unwrap_or(false),
            unchanged: self.unchanged,
        }
    }
}
