//! Net changes for tests of targets, and a table in memory that they are applied to as well.

use std::collections::BTreeMap;

use common::change::net::{NetChanges, Patch};
use common::id::TableNo;
use common::value::RowBatch;

pub type Cell = Option<Vec<u8>>;
pub type Row = Vec<Cell>;

/// No change at all, of a table of `columns` copied columns whose key has `key`.
pub fn none(table: u32, columns: usize, key: usize) -> NetChanges {
    NetChanges {
        table: TableNo(table),
        truncate: false,
        deletes: RowBatch::new(key),
        inserts: RowBatch::new(columns),
        patches: Vec::new(),
        strict: true,
    }
}

pub fn push(batch: &mut RowBatch, row: &[Cell]) {
    for cell in row {
        match cell {
            Some(cell) => batch.push(cell),
            None => batch.push_null(),
        }
    }
}

/// A batch's rows.
pub fn rows(batch: &RowBatch) -> Vec<Row> {
    let cells: Vec<Cell> = batch.cells().map(|cell| cell.map(<[u8]>::to_vec)).collect();
    cells
        .chunks(batch.columns().max(1))
        .map(<[Cell]>::to_vec)
        .collect()
}

pub fn text(value: impl ToString) -> Cell {
    Some(value.to_string().into_bytes())
}

/// Small, fast, good enough, and the same every time.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The table `(id, u UNIQUE, a, b)` as it should be: key `id`, unique `u`.
#[derive(Default)]
pub struct Model {
    pub rows: BTreeMap<u64, Row>,
}

impl Model {
    /// Some changes: rows that go, come, swap their unique values, are patched.
    pub fn step(&mut self, dice: &mut Dice, size: u64) -> NetChanges {
        let mut net = none(0, 4, 1);
        let mut touched = std::collections::BTreeSet::new();
        let ids: Vec<u64> = self.rows.keys().copied().collect();
        let mut fresh = Vec::new();
        for pair in ids.chunks(2) {
            let (left, right) = match (pair, dice.roll(4)) {
                (&[left, right], 0) => (left, right),
                (&[id, ..], 1) => {
                    push(&mut net.deletes, &[text(id)]);
                    self.rows.remove(&id);
                    touched.insert(id);
                    continue;
                }
                (&[id, ..], 2) => {
                    let cell = (3, text(format!("patched \\ ' {}", dice.roll(1_000))));
                    net.patches.push(Patch {
                        key: vec![id.to_string().into_bytes()],
                        cells: vec![cell.clone()],
                    });
                    self.rows.entry(id).and_modify(|row| row[3] = cell.1);
                    touched.insert(id);
                    continue;
                }
                _ => continue,
            };
            // Both were updated: each has the other's unique value now.
            let (a, b) = (self.rows[&left][1].clone(), self.rows[&right][1].clone());
            for (id, unique) in [(left, b), (right, a)] {
                push(&mut net.deletes, &[text(id)]);
                let row = vec![text(id), unique, text(dice.roll(9)), None];
                self.rows.insert(id, row.clone());
                fresh.push(row);
                touched.insert(id);
            }
        }
        for _ in 0..size {
            let id = dice.roll(1 << 40);
            if touched.contains(&id) || self.rows.contains_key(&id) {
                continue;
            }
            let row = vec![text(id), text(id), text(1), text("new\tline\n\\")];
            self.rows.insert(id, row.clone());
            fresh.push(row);
        }
        for row in &fresh {
            push(&mut net.inserts, row);
        }
        net
    }

    pub fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort();
        rows
    }
}
