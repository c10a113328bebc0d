//! Rows of a row event as changes of a plan's table. Trusts nothing of the log that it can compare
//! with the catalogue: a table that is another one there is an error by name.
//!
//! MariaDB's system-versioned tables: their rows end with two moments between which the row was, or is,
//! true. The log has history as rows of its own and a DELETE as an UPDATE of the second moment; only
//! current rows, whose second moment is the last there can be, are the table's.

use common::change::{ChangeBatch, Op};
use common::code::Code;
use common::id::TableNo;
use common::plan::TablePlan;
use common::schema::Column;
use mysql_async::binlog::events::{RowsEventData, TableMapEvent};
use mysql_common::proto::MySerialize;

use super::value::{Cell, TIMESTAMP2, Wire};
use crate::connector::{Error, Result};

/// Decodes the rows of one table; see [`RowDecoder::decode`].
pub struct RowDecoder {
    no: TableNo,
    table: String,
    mariadb: bool,
    /// MariaDB's system versioning, with two columns that the catalogue doesn't show.
    versioned: bool,
    /// By the table's columns, in order; None = generated, not copied.
    cells: Vec<Option<Cell>>,
    /// The last table map, and what it says: it comes before every row event, mostly the same.
    map: Vec<u8>,
    next_map: Vec<u8>,
    layout: Vec<Wire>,
    /// Where a system-versioned table keeps until when a row was true.
    row_end: Option<usize>,
    /// Room for what is made in steps.
    spare: Vec<u8>,
}

/// As `SHOW CREATE TABLE` writes it among the table's options.
const VERSIONED: &str = "WITH SYSTEM VERSIONING";

/// Which columns an image holds, by position in the table map.
type Present = Vec<bool>;

impl RowDecoder {
    pub fn new(table: &TablePlan, no: TableNo, mariadb: bool) -> Result<RowDecoder> {
        let name = table.source.full_name();
        let columns = table.source.columns.iter();
        let cell = |column: &Column| match column.generated {
            Some(_) => Ok(None),
            None => Cell::new(&name, column, table.form).map(Some),
        };
        Ok(RowDecoder {
            no,
            mariadb,
            versioned: mariadb && table.source.native_options.contains(VERSIONED),
            cells: columns.map(cell).collect::<Result<_>>()?,
            table: name,
            map: Vec::new(),
            next_map: Vec::new(),
            layout: Vec::new(),
            row_end: table.source.columns.iter().position(is_row_end),
            spare: Vec::new(),
        })
    }

    /// Appends the event's changes to `batch`, which is of this table. After an error the batch
    /// may hold part of a row.
    pub fn decode(
        &mut self,
        map: &TableMapEvent<'_>,
        rows: &RowsEventData<'_>,
        batch: &mut ChangeBatch,
    ) -> Result<()> {
        debug_assert_eq!(batch.table, self.no);
        if matches!(rows, RowsEventData::PartialUpdateRowsEvent(_)) {
            return Err(self.partial("JSON values in parts (binlog_row_value_options)"));
        }
        self.learn(map)?;
        if rows.num_columns() != self.layout.len() as u64 {
            let what = format!("rows of {} columns", rows.num_columns());
            return Err(self.drifted(&what));
        }
        let before: Option<Present> = rows
            .columns_before_image()
            .map(|columns| columns.iter().by_vals().collect());
        let after: Option<Present> = rows
            .columns_after_image()
            .map(|columns| columns.iter().by_vals().collect());
        for present in before.iter().chain(&after) {
            self.check_whole(present)?;
        }
        let op = match (&before, &after) {
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
            _ => Op::Insert,
        };
        let mut data = rows.rows_data();
        while !data.is_empty() {
            if let Some(place) = self.row_end {
                self.versioned(place, before.as_ref(), after.as_ref(), &mut data, batch)?;
                continue;
            }
            for present in before.iter().chain(&after) {
                self.row(present, &mut data, batch)?;
            }
            batch.ops.push(op);
        }
        Ok(())
    }

    /// Takes one change of a system-versioned table: what it means for the current rows.
    fn versioned(
        &mut self,
        row_end: usize,
        before: Option<&Present>,
        after: Option<&Present>,
        data: &mut &[u8],
        batch: &mut ChangeBatch,
    ) -> Result<()> {
        let mut current = |present: Option<&Present>| -> Result<Option<&[u8]>> {
            let start = *data;
            let is_current = match present {
                Some(present) => self.is_current(present, row_end, data)?,
                None => false,
            };
            Ok(is_current.then_some(start))
        };
        let (old, new) = (current(before)?, current(after)?);
        let op = match (old, new) {
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
            (None, Some(_)) => Op::Insert,
            (None, None) => return Ok(()),
        };
        for (present, image) in [(before, old), (after, new)] {
            if let (Some(present), Some(mut image)) = (present, image) {
                self.row(present, &mut image, batch)?;
            }
        }
        batch.ops.push(op);
        Ok(())
    }

    /// Passes over one image.
    fn is_current(&self, present: &Present, row_end: usize, data: &mut &[u8]) -> Result<bool> {
        let count = present.iter().filter(|present| **present).count();
        let nulls = data.split_at_checked(count.div_ceil(8));
        let (nulls, rest) = nulls.ok_or_else(|| self.damaged())?;
        *data = rest;
        let (mut at, mut found) = (0, false);
        for (place, wire) in self.layout.iter().enumerate() {
            if !present[place] {
                continue;
            }
            let is_null = nulls[at / 8] >> (at % 8) & 1 == 1;
            at += 1;
            if is_null {
                continue;
            }
            let raw = wire.take(data).ok_or_else(|| self.damaged())?;
            if place == row_end {
                // A moment up to 2038 or (MariaDB 11.5) 2106, or a transaction.
                found = matches!(raw, [0x7f | 0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f])
                    || raw == [0xff; 8];
            }
        }
        Ok(found)
    }

    /// Every copied column must be there: an image that leaves out what didn't change can't be told
    /// from one that holds NULL.
    fn check_whole(&self, present: &Present) -> Result<()> {
        let whole = self
            .cells
            .iter()
            .zip(present)
            .all(|(cell, present)| cell.is_none() || *present);
        match whole {
            true => Ok(()),
            false => Err(self.partial("only part of a row's columns (binlog_row_image)")),
        }
    }

    #[inline]
    fn row(&mut self, present: &Present, data: &mut &[u8], batch: &mut ChangeBatch) -> Result<()> {
        let count = present.iter().filter(|present| **present).count();
        let Some((nulls, rest)) = data.split_at_checked(count.div_ceil(8)) else {
            return Err(self.damaged());
        };
        *data = rest;
        let mut at = 0;
        for (place, wire) in self.layout.iter().enumerate() {
            if !present[place] {
                continue;
            }
            let is_null = nulls[at / 8] >> (at % 8) & 1 == 1;
            at += 1;
            let cell = self.cells.get(place).and_then(Option::as_ref);
            if is_null {
                if cell.is_some() {
                    batch.rows.push_null();
                }
                continue;
            }
            let Some(raw) = wire.take(data) else {
                return Err(self.damaged());
            };
            if let Some(cell) = cell {
                cell.append(wire, raw, &mut self.spare, &mut batch.rows)?;
            }
        }
        Ok(())
    }

    /// Takes a table map for the rows that follow, if it fits the catalogue.
    fn learn(&mut self, map: &TableMapEvent<'_>) -> Result<()> {
        self.next_map.clear();
        map.serialize(&mut self.next_map);
        if self.next_map == self.map && !self.map.is_empty() {
            return Ok(());
        }
        self.map.clear();
        let Some((types, mut meta)) = types_of(&self.next_map) else {
            return Err(self.damaged());
        };
        let hidden = types.len() == self.cells.len() + 2 && types.ends_with(&[TIMESTAMP2; 2]);
        let shown = |place: usize| place < types.len();
        if self.versioned && hidden {
            self.row_end = Some(types.len() - 1);
        } else if types.len() != self.cells.len()
            || self.versioned != self.row_end.is_some_and(shown)
        {
            let what = format!("{} columns", types.len());
            return Err(self.drifted(&what));
        }
        let mut layout = Vec::with_capacity(types.len());
        for (place, raw) in types.iter().enumerate() {
            let Some(wire) = Wire::read(*raw, &mut meta) else {
                let what = format!("column {} of type {raw}, which is not known", place + 1);
                return Err(self.drifted(&what));
            };
            let cell = self.cells.get(place).and_then(Option::as_ref);
            let fit = cell.map_or(Ok(wire), |cell| cell.fit(wire));
            layout.push(fit.map_err(|what| self.drifted(&what))?);
        }
        self.layout = layout;
        std::mem::swap(&mut self.map, &mut self.next_map);
        Ok(())
    }

    fn drifted(&self, what: &str) -> Error {
        let what = format!(
            "table {} was another one when this part of the source's log was written: {what}; it \
             has {} columns now",
            self.table,
            self.cells.len()
        );
        Error::permanent(Code::SchemaDrift, what)
    }

    fn partial(&self, what: &str) -> Error {
        let what = format!("the source's log holds, of table {}, {what}", self.table);
        let mut error = Error::permanent(Code::LogUnusable, what);
        error.failure.fixes = vec!["SET GLOBAL binlog_row_image = FULL".to_owned()];
        if !self.mariadb {
            let fix = "SET GLOBAL binlog_row_value_options = ''";
            error.failure.fixes.push(fix.to_owned());
        }
        error
    }

    fn damaged(&self) -> Error {
        let what = format!(
            "the source's log holds rows of table {} that can't be read",
            self.table
        );
        Error::permanent(Code::SourceFailed, what)
    }
}

fn is_row_end(column: &Column) -> bool {
    let generated = column.generated.as_ref();
    generated.is_some_and(|by| by.expression.eq_ignore_ascii_case("ROW END"))
}

/// Types and metadata of the columns of a table map. Read here because the driver finds a column's
/// metadata by going through all columns before it, and knows none of MariaDB's own types.
fn types_of(map: &[u8]) -> Option<(&[u8], &[u8])> {
    // Table id, flags; database and table: a length, the name, a zero.
    let mut rest = map.get(8..)?;
    for _ in 0..2 {
        let length = usize::from(*rest.first()?);
        rest = rest.get(length + 2..)?;
    }
    let (columns, rest) = length_of(rest)?;
    let (types, rest) = rest.split_at_checked(columns)?;
    let (bytes, rest) = length_of(rest)?;
    Some((types, rest.get(..bytes)?))
}

/// A length of the protocol: a byte up to 250, or 252 and two bytes, 253 and three.
fn length_of(data: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    let bytes = match first {
        0..=250 => return Some((usize::from(*first), rest)),
        252 => 2,
        253 => 3,
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(bytes)?;
    let length = length
        .iter()
        .rev()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some((length, rest))
}
