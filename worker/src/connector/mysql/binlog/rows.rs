//! The frames of a committed transaction to batches of changes.

use std::collections::HashMap;
use std::sync::Arc;

use common::change::{ChangeBatch, Op};
use common::code::Code;
use common::id::TableNo;
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;
use mysql_common::binlog::BinlogCtx;
use mysql_common::binlog::consts::EventType;
use mysql_common::binlog::events::{
    DeleteRowsEvent, DeleteRowsEventV1, FormatDescriptionEvent, RowsEventData, TableMapEvent,
    UpdateRowsEvent, UpdateRowsEventV1, WriteRowsEvent, WriteRowsEventV1,
};
use mysql_common::io::ParseBuf;

use super::compress::uncompress;
use super::ddl::Names;
use super::row::RowDecoder;
use crate::connector::{Error, Result};

/// Frame of our own: TRUNCATE of the table whose number it holds.
pub const TRUNCATE: u8 = 255;

/// What kind of event a type is, as far as rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Map,
    Rows,
    Partial,
    Other,
}

pub fn kind(number: u8) -> Kind {
    match number {
        19 => Kind::Map,
        23..=25 | 30..=32 | 166..=171 => Kind::Rows,
        39 => Kind::Partial,
        _ => Kind::Other,
    }
}

/// The number an event of either kind is about.
pub fn table_id(data: &[u8]) -> u64 {
    let mut id = [0; 8];
    id[..6].copy_from_slice(data.get(..6).unwrap_or(&[0; 6]));
    u64::from_le_bytes(id)
}

/// Database and table of a table map.
pub fn names_of(data: &[u8]) -> Option<(&str, &str)> {
    let rest = data.get(8..)?;
    let (database, rest) = prefixed(rest)?;
    let (table, _) = prefixed(rest)?;
    Some((database, table))
}

fn prefixed(data: &[u8]) -> Option<(&str, &[u8])> {
    let length = usize::from(*data.first()?);
    let name = std::str::from_utf8(data.get(1..=length)?).ok()?;
    Some((name, data.get(length + 2..)?))
}

/// Which of the numbers in use mean tables of ours. A number means the same until its map changes.
#[derive(Default)]
pub struct Known {
    maps: HashMap<u64, (Vec<u8>, Option<TableNo>)>,
}

impl Known {
    /// Whether a table map is about a table of ours.
    pub fn note(&mut self, names: &Names, data: &[u8]) -> Result<bool> {
        let id = table_id(data);
        if let Some((known, table)) = self.maps.get(&id)
            && known == data
        {
            return Ok(table.is_some());
        }
        let Some((database, table)) = names_of(data) else {
            let what = "a table map in the log can't be read";
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        let table = names.find(database, table);
        self.maps.insert(id, (data.to_vec(), table));
        Ok(table.is_some())
    }

    /// Whether a row event is about a table of ours.
    pub fn is_ours(&self, data: &[u8]) -> bool {
        let known = self.maps.get(&table_id(data));
        known.is_some_and(|(_, table)| table.is_some())
    }

    pub fn forget(&mut self) {
        self.maps.clear();
    }
}

struct Mapped {
    raw: Vec<u8>,
    table: TableNo,
    map: TableMapEvent<'static>,
}

/// Decodes frames. Lives as long as its stream: what it knows of tables is used again.
pub struct Rows {
    tables: Arc<Vec<TablePlan>>,
    names: Arc<Names>,
    mariadb: bool,
    decoders: HashMap<TableNo, RowDecoder>,
    maps: HashMap<u64, Mapped>,
    batch: Option<ChangeBatch>,
}

impl Rows {
    pub fn new(tables: Arc<Vec<TablePlan>>, names: Arc<Names>, mariadb: bool) -> Rows {
        Rows {
            tables,
            names,
            mariadb,
            decoders: HashMap::new(),
            maps: HashMap::new(),
            batch: None,
        }
    }

    /// Takes a frame; gives a batch that is full, or complete because another table's comes.
    pub fn take(
        &mut self,
        fde: &FormatDescriptionEvent<'static>,
        number: u8,
        data: &[u8],
    ) -> Result<Option<ChangeBatch>> {
        if number == TRUNCATE {
            let table = TableNo(table_id(data) as u32);
            let finished = self.turn_to(table);
            if let Some(batch) = &mut self.batch {
                batch.ops.push(Op::Truncate);
            }
            return Ok(finished);
        }
        if kind(number) == Kind::Map {
            self.map(fde, data)?;
            return Ok(None);
        }
        let plain;
        let (number, data) = match number {
            166..=171 => {
                plain = uncompress(number, data)?;
                (plain.0, plain.1.as_slice())
            }
            _ => (number, data),
        };
        let id = table_id(data);
        let Some(table) = self.maps.get(&id).map(|mapped| mapped.table) else {
            let what = "rows in the log come without the map of their table";
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        let finished = self.turn_to(table);
        let rows = parse(fde, number, data)?;
        let (Some(mapped), Some(batch)) = (self.maps.get(&id), &mut self.batch) else {
            return Ok(finished);
        };
        if !self.decoders.contains_key(&table) {
            let plan = &self.tables[table.0 as usize];
            let decoder = RowDecoder::new(plan, table, self.mariadb)?;
            self.decoders.insert(table, decoder);
        }
        if let Some(decoder) = self.decoders.get_mut(&table) {
            decoder.decode(&mapped.map, &rows, batch)?;
        }
        Ok(finished)
    }

    /// What is left, if anything.
    pub fn finish(&mut self) -> Option<ChangeBatch> {
        let batch = self.batch.take();
        batch.filter(|batch| !batch.ops.is_empty())
    }

    fn turn_to(&mut self, table: TableNo) -> Option<ChangeBatch> {
        let goes_on =
            |batch: &ChangeBatch| batch.table == table && batch.rows.bytes() < limits::BATCH_BYTES;
        if self.batch.as_ref().is_some_and(goes_on) {
            return None;
        }
        let finished = self.finish();
        self.batch = Some(self.empty(table));
        finished
    }

    pub fn empty(&self, table: TableNo) -> ChangeBatch {
        let columns = self.tables[table.0 as usize].source.copied_columns();
        ChangeBatch {
            table,
            ops: Vec::new(),
            rows: RowBatch::new(columns.count()),
            old_is_key: false,
            unchanged: Vec::new(),
        }
    }

    /// The table's name, for messages.
    pub fn name(&self, table: TableNo) -> String {
        let table = self.tables.get(table.0 as usize);
        table.map_or_else(String::new, |table| table.source.name.clone())
    }

    fn map(&mut self, fde: &FormatDescriptionEvent<'static>, data: &[u8]) -> Result<()> {
        let id = table_id(data);
        if self.maps.get(&id).is_some_and(|mapped| mapped.raw == data) {
            return Ok(());
        }
        let named = names_of(data);
        let Some(table) = named.and_then(|(database, table)| self.names.find(database, table))
        else {
            return Ok(());
        };
        let number = EventType::TABLE_MAP_EVENT as u8;
        let ctx = BinlogCtx::new(19 + data.len(), fde, number);
        let map: TableMapEvent<'_> = ParseBuf(data).parse(ctx).map_err(|error| bad(&error))?;
        let mapped = Mapped {
            raw: data.to_vec(),
            table,
            map: map.into_owned(),
        };
        self.maps.insert(id, mapped);
        Ok(())
    }
}

fn bad(error: &std::io::Error) -> Error {
    let what = format!("an event of the log can't be read: {error}");
    Error::permanent(Code::SourceFailed, what)
}

fn parse<'a>(
    fde: &'a FormatDescriptionEvent<'static>,
    number: u8,
    data: &'a [u8],
) -> Result<RowsEventData<'a>> {
    let ctx = BinlogCtx::new(19 + data.len(), fde, number);
    let mut data = ParseBuf(data);
    let parsed = match number {
        23 => data
            .parse::<WriteRowsEventV1<'_>>(ctx)
            .map(RowsEventData::WriteRowsEventV1),
        24 => data
            .parse::<UpdateRowsEventV1<'_>>(ctx)
            .map(RowsEventData::UpdateRowsEventV1),
        25 => data
            .parse::<DeleteRowsEventV1<'_>>(ctx)
            .map(RowsEventData::DeleteRowsEventV1),
        30 => data
            .parse::<WriteRowsEvent<'_>>(ctx)
            .map(RowsEventData::WriteRowsEvent),
        31 => data
            .parse::<UpdateRowsEvent<'_>>(ctx)
            .map(RowsEventData::UpdateRowsEvent),
        32 => data
            .parse::<DeleteRowsEvent<'_>>(ctx)
            .map(RowsEventData::DeleteRowsEvent),
        _ => {
            let what = format!("row events of type {number}");
            return Err(Error::permanent(Code::NotBuilt, what));
        }
    };
    parsed.map_err(|error| bad(&error))
}
