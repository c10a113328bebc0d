//! Rows of a row event as changes of a plan's table. Trusts nothing of the log that it can compare
//! with the catalogue: a table that is another one there is an error by name.

use common::change::{ChangeBatch, Op};
use common::code::Code;
use common::id::TableNo;
use common::plan::TablePlan;
use mysql_async::binlog::events::{RowsEventData, TableMapEvent};
use mysql_common::proto::MySerialize;

use super::value::{Cell, Wire};
use crate::connector::{Error, Result};

/// Decodes the rows of one table; see [`RowDecoder::decode`].
pub struct RowDecoder {
    no: TableNo,
    table: String,
    mariadb: bool,
    /// By the table's columns, in order; None = generated, not copied.
    cells: Vec<Option<Cell>>,
    /// The last table map, and what it says: it comes before every row event, mostly the same.
    map: Vec<u8>,
    next_map: Vec<u8>,
    layout: Vec<Wire>,
    /// Room for what is made in steps.
    spare: Vec<u8>,
}

/// Which columns an image holds, by position in the table map.
type Present = Vec<bool>;

impl RowDecoder {
    pub fn new(table: &TablePlan, no: TableNo, mariadb: bool) -> Result<RowDecoder> {
        let name = table.source.full_name();
        let columns = table.source.columns.iter();
        let cell = |column: &common::schema::Column| match column.generated {
            Some(_) => Ok(None),
            None => Cell::new(&name, column, table.form).map(Some),
        };
        Ok(RowDecoder {
            no,
            mariadb,
            cells: columns.map(cell).collect::<Result<_>>()?,
            table: name,
            map: Vec::new(),
            next_map: Vec::new(),
            layout: Vec::new(),
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
            for present in before.iter().chain(&after) {
                self.row(present, &mut data, batch)?;
            }
            batch.ops.push(op);
        }
        Ok(())
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
        if types.len() != self.cells.len() {
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
