//! What a run of changes of one table comes to, per key: see [`NetChanges`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::change::{ChangeBatch, Op};
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

impl NetChanges {
    pub fn is_empty(&self) -> bool {
        !self.truncate
            && self.deletes.is_empty()
            && self.inserts.is_empty()
            && self.patches.is_empty()
    }
}

/// See [`NetChanges::patches`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The row's key before.
    pub key: Vec<Vec<u8>>,
    /// (copied column of the rows, new cell).
    pub cells: Vec<(u32, Option<Vec<u8>>)>,
}

/// A row on its own.
pub type Row = Vec<Option<Box<[u8]>>>;

/// A change that can't follow what was taken in before it: the log contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of the row with the key {key}")]
pub struct Contradiction {
    pub what: &'static str,
    pub key: String,
}

/// What became of a key in the set.
#[derive(Debug)]
enum Now {
    Gone,
    Row(Row),
    /// It is there, with these new cells (by column); the others are as the target has them.
    Patched(BTreeMap<u32, Option<Box<[u8]>>>),
}

#[derive(Debug)]
struct Entry {
    key: Vec<Vec<u8>>,
    /// It was there before the set.
    was_there: bool,
    now: Now,
}

/// Gathers the changes of one table.
#[derive(Debug)]
pub struct Net {
    table: TableNo,
    columns: usize,
    /// Places of the change key in a row; empty = the table has none.
    key: Vec<usize>,
    strict: bool,
    truncate: bool,
    places: BTreeMap<Box<[u8]>, usize>,
    entries: Vec<Entry>,
    /// Without a key: how many of a row come (or go).
    copies: BTreeMap<Row, i64>,
    bytes: usize,
    /// Rows whose key changes and of which not every cell is known; each stands alone.
    moved: Option<Patch>,
}

impl Net {
    pub fn new(table: TableNo, columns: usize, key: Vec<usize>, strict: bool) -> Net {
        Net {
            table,
            columns,
            key,
            strict,
            truncate: false,
            places: BTreeMap::new(),
            entries: Vec::new(),
            copies: BTreeMap::new(),
            bytes: 0,
            moved: None,
        }
    }

    /// Bytes it holds, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It takes in nothing more before what was gathered is handed on.
    pub fn must_wait(&self) -> bool {
        self.moved.is_some()
    }

    pub fn is_empty(&self) -> bool {
        !self.truncate && self.entries.is_empty() && self.copies.is_empty() && self.moved.is_none()
    }

    /// Takes in one change. False: it can't be merged; hand on what was gathered, then give it
    /// again. Where [`Net::must_wait`] isn't so, that is only for changes with cells in `unchanged`.
    ///
    /// # Errors
    /// The changes contradict each other, in a strict set.
    pub fn add(
        &mut self,
        op: Op,
        old: Option<Row>,
        new: Option<Row>,
        unchanged: &[u32],
    ) -> Result<bool, Contradiction> {
        if self.moved.is_some() {
            return Ok(false);
        }
        let size = |row: &Option<Row>| -> usize {
            let cells = row.iter().flatten();
            cells
                .map(|cell| 24 + cell.as_ref().map_or(0, |cell| cell.len()))
                .sum()
        };
        let bytes = size(&old) + size(&new);
        let taken = match (op, old, new) {
            (Op::Truncate, _, _) => {
                self.entries.clear();
                self.places.clear();
                self.copies.clear();
                self.truncate = true;
                true
            }
            (Op::Insert, _, Some(new)) if self.key.is_empty() => self.copy(new, 1),
            (Op::Delete, Some(old), _) if self.key.is_empty() => self.copy(old, -1),
            (Op::Update, Some(old), Some(new)) if self.key.is_empty() => {
                self.copy(old, -1) && self.copy(new, 1)
            }
            (Op::Insert, _, Some(new)) => self.insert(new)?,
            (Op::Delete, Some(old), _) => self.delete(&old)?,
            (Op::Update, Some(old), Some(new)) => self.update(&old, new, unchanged)?,
            _ => true,
        };
        self.bytes += bytes;
        Ok(taken)
    }

    fn copy(&mut self, row: Row, by: i64) -> bool {
        *self.copies.entry(row).or_default() += by;
        true
    }

    fn key_of(&self, row: &Row) -> Vec<Vec<u8>> {
        let cell = |place: &usize| row.get(*place).cloned().flatten().unwrap_or_default();
        self.key
            .iter()
            .map(|place| cell(place).into_vec())
            .collect()
    }

    fn entry(&mut self, key: Vec<Vec<u8>>) -> (usize, bool) {
        let mut packed = Vec::with_capacity(key.iter().map(|cell| cell.len() + 4).sum());
        for cell in &key {
            packed.extend_from_slice(&(cell.len() as u32).to_be_bytes());
            packed.extend_from_slice(cell);
        }
        let next = self.entries.len();
        let place = *self.places.entry(packed.into()).or_insert(next);
        if place == next {
            self.entries.push(Entry {
                key,
                was_there: false,
                now: Now::Gone,
            });
        }
        (place, place == next)
    }

    fn contradiction(&self, place: usize, what: &'static str) -> Contradiction {
        let key = self.entries[place].key.iter();
        let key: Vec<_> = key.map(|cell| String::from_utf8_lossy(cell)).collect();
        Contradiction {
            what,
            key: key.join(", "),
        }
    }

    fn insert(&mut self, new: Row) -> Result<bool, Contradiction> {
        let (place, first) = self.entry(self.key_of(&new));
        let there = !first && !matches!(self.entries[place].now, Now::Gone);
        if self.strict && there {
            return Err(self.contradiction(place, "a second insert"));
        }
        self.entries[place].now = Now::Row(new);
        Ok(true)
    }

    fn delete(&mut self, old: &Row) -> Result<bool, Contradiction> {
        let (place, first) = self.entry(self.key_of(old));
        if first {
            self.entries[place].was_there = !self.truncate;
        } else if self.strict && matches!(self.entries[place].now, Now::Gone) {
            return Err(self.contradiction(place, "a second delete"));
        }
        self.entries[place].now = Now::Gone;
        Ok(true)
    }

    fn update(
        &mut self,
        old: &Row,
        mut new: Row,
        unchanged: &[u32],
    ) -> Result<bool, Contradiction> {
        let (from, to) = (self.key_of(old), self.key_of(&new));
        let moves = from != to;
        if moves && !unchanged.is_empty() {
            return self.move_partly(old, from, new, unchanged);
        }
        if moves {
            self.delete(old)?;
            return self.insert(new);
        }
        let (place, first) = self.entry(to);
        if first {
            self.entries[place].was_there = !self.truncate;
        } else if self.strict && matches!(self.entries[place].now, Now::Gone) {
            return Err(self.contradiction(place, "an update after the delete"));
        }
        let now = std::mem::replace(&mut self.entries[place].now, Now::Gone);
        self.entries[place].now = match now {
            _ if unchanged.is_empty() => Now::Row(new),
            Now::Row(mut before) => {
                for column in unchanged {
                    let column = *column as usize;
                    new[column] = before[column].take();
                }
                Now::Row(new)
            }
            Now::Gone => Now::Patched(sent(new, unchanged)),
            Now::Patched(mut cells) => {
                cells.extend(sent(new, unchanged));
                Now::Patched(cells)
            }
        };
        Ok(true)
    }

    /// The key changes and not every cell is known: merged if the row is in the set, else alone.
    fn move_partly(
        &mut self,
        old: &Row,
        from: Vec<Vec<u8>>,
        mut new: Row,
        unchanged: &[u32],
    ) -> Result<bool, Contradiction> {
        let (place, first) = self.entry(from.clone());
        if let Now::Row(before) = &mut self.entries[place].now {
            for column in unchanged {
                let column = *column as usize;
                new[column] = before[column].take();
            }
            self.delete(old)?;
            return self.insert(new);
        }
        if first {
            self.places.retain(|_, at| *at != place);
            self.entries.pop();
        }
        if !self.is_empty() {
            return Ok(false);
        }
        let cells = sent(new, unchanged);
        self.moved = Some(Patch {
            key: from,
            cells: cells
                .into_iter()
                .map(|(column, cell)| (column, cell.map(Vec::from)))
                .collect(),
        });
        Ok(true)
    }

    /// A row that got another key. Where the target may be ahead it may have both: the old one goes,
    /// the new one is patched, or read again if it isn't there.
    fn hand_on(&self, mut patch: Patch, net: &mut NetChanges) {
        if !self.strict {
            for (cell, place) in patch.key.iter_mut().zip(&self.key) {
                net.deletes.push(cell);
                let is_it = |(column, _): &&(u32, Option<Vec<u8>>)| *column as usize == *place;
                if let Some((_, Some(sent))) = patch.cells.iter().find(is_it) {
                    cell.clone_from(sent);
                }
            }
        }
        net.patches.push(patch);
    }

    /// What it all comes to; it is empty after.
    pub fn take(&mut self) -> NetChanges {
        let mut net = NetChanges {
            table: self.table,
            truncate: std::mem::take(&mut self.truncate),
            deletes: RowBatch::new(match self.key.is_empty() {
                true => self.columns,
                false => self.key.len(),
            }),
            inserts: RowBatch::new(self.columns),
            patches: Vec::new(),
            strict: self.strict,
        };
        if let Some(patch) = self.moved.take() {
            self.hand_on(patch, &mut net);
        }
        self.places.clear();
        self.bytes = 0;
        for entry in std::mem::take(&mut self.entries) {
            let patched = matches!(entry.now, Now::Patched(_));
            if !patched && (entry.was_there || !self.strict) && !net.truncate {
                for cell in &entry.key {
                    net.deletes.push(cell);
                }
            }
            match entry.now {
                Now::Gone => {}
                Now::Row(row) => push(&mut net.inserts, &row),
                Now::Patched(cells) => net.patches.push(Patch {
                    key: entry.key,
                    cells: cells
                        .into_iter()
                        .map(|(column, cell)| (column, cell.map(Vec::from)))
                        .collect(),
                }),
            }
        }
        for (row, count) in std::mem::take(&mut self.copies) {
            let into = match count < 0 {
                true => &mut net.deletes,
                false => &mut net.inserts,
            };
            for _ in 0..count.unsigned_abs() {
                push(into, &row);
            }
        }
        net
    }
}

fn sent(new: Row, unchanged: &[u32]) -> BTreeMap<u32, Option<Box<[u8]>>> {
    let cells = (0u32..).zip(new);
    cells
        .filter(|(column, _)| !unchanged.contains(column))
        .collect()
}

fn push(batch: &mut RowBatch, row: &Row) {
    if row.is_empty() {
        batch.push_bare_row();
    }
    for cell in row {
        match cell {
            Some(cell) => batch.push(cell),
            None => batch.push_null(),
        }
    }
}

/// The changes of a batch, one by one: (op, old row, new row, columns of the new row that the log
/// doesn't hold).
pub fn each(batch: &ChangeBatch) -> impl Iterator<Item = (Op, Option<Row>, Option<Row>, Vec<u32>)> {
    let columns = batch.rows.columns();
    let mut cells = batch.rows.cells();
    let mut unchanged = batch.unchanged.iter().peekable();
    let mut next_row = 0u32;
    batch.ops.iter().map(move |op| {
        let mut row = || -> (Row, u32) {
            let row = (0..columns).map(|_| cells.next().flatten().map(Box::from));
            let row = (row.collect(), next_row);
            next_row += 1;
            row
        };
        let (old, new) = match op {
            Op::Insert => (None, Some(row())),
            Op::Delete => (Some(row()), None),
            Op::Update => (Some(row()), Some(row())),
            Op::Truncate => (None, None),
        };
        let mut kept = Vec::new();
        if let Some((_, no)) = new {
            while let Some((_, column)) = unchanged.next_if(|(row, _)| *row <= no) {
                kept.push(*column);
            }
        }
        (*op, old.map(|row| row.0), new.map(|row| row.0), kept)
    })
}
