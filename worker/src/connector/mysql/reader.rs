//! Reads rows: plain SELECTs over key ranges, one after another on one connection, streamed in the
//! text protocol. No transaction is held: a long snapshot would keep the source from purging. But one
//! for a table without a key, see `pinned`.

use async_trait::async_trait;
use common::code::Code;
use common::limits;
use common::schema::{CellForm, KeyBound, KeyRange};
use common::value::RowBatch;
use mysql_async::Value;

use super::pinned;
use super::quote::{hex, ident, table_name};
use super::session::{Host, Purpose, Session};
use super::types;
use crate::connector::{Error, ReadRequest, Result, Role, SourceReader};

/// Bytes of a value that an error shows.
const SHOWN_BYTES: usize = 40;

/// See [`SourceReader`].
pub struct Reader {
    session: Session,
    /// Statements that are not started yet, last first.
    waiting: Vec<String>,
    running: bool,
    columns: Vec<Cell>,
    table: String,
    /// Where in the log the snapshot is that everything is read in.
    snapshot: Option<String>,
}

/// What is expected of a column's cells.
struct Cell {
    name: String,
    /// The column's character set, if the server converts its texts to UTF-8.
    converted_from: Option<String>,
}

impl Reader {
    fn new(session: Session, database: &str, request: &ReadRequest) -> Result<Reader> {
        let converted = |column| match request.form {
            CellForm::Canonical => types::foreign_charset(column).map(str::to_owned),
            CellForm::Native => None,
        };
        let columns: Vec<Cell> = request
            .table
            .copied_columns()
            .map(|column| Cell {
                name: column.name.clone(),
                converted_from: converted(column),
            })
            .collect();
        if columns.is_empty() {
            let what = format!("table {} has no column to read", request.table.name);
            return Err(Error::permanent(Code::UnsupportedTable, what));
        }
        let mut waiting = statements(database, request);
        waiting.reverse();
        Ok(Reader {
            session,
            waiting,
            running: false,
            columns,
            table: request.table.name.clone(),
            snapshot: None,
        })
    }

    /// Connects, and takes the snapshot of a pinned read.
    pub async fn open(host: &Host, request: &ReadRequest) -> Result<Reader> {
        let session = host.open(Role::Source, Purpose::Read).await?;
        let mut reader = Reader::new(session, &host.database, request)?;
        if request.pinned {
            let snapshot = pinned::pin(host, &mut reader.session, &request.table).await?;
            reader.snapshot = Some(snapshot);
        }
        Ok(reader)
    }

    fn append(&self, batch: &mut RowBatch, row: Vec<Value>) -> Result<()> {
        for (at, cell) in row.into_iter().enumerate() {
            match cell {
                Value::NULL => batch.push_null(),
                Value::Bytes(bytes) => {
                    self.check(at, &bytes)?;
                    batch.push(&bytes);
                }
                // The text protocol has nothing else.
                other => batch.push(other.as_sql(true).as_bytes()),
            }
        }
        Ok(())
    }

    /// A cell must fit into a batch, and be the text it was at the source.
    fn check(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let Some(column) = self.columns.get(at) else {
            return Ok(());
        };
        let place = || format!("{}.{}", self.table, column.name);
        if bytes.len() > limits::CELL_BYTES_MAX {
            let what = format!("{} holds {} bytes", place(), bytes.len());
            return Err(Error::permanent(Code::UnsupportedType, what));
        }
        if let Some(charset) = &column.converted_from
            && std::str::from_utf8(bytes).is_err()
        {
            let mut shown = String::new();
            let raw = bytes.strip_suffix(b"\xFF").unwrap_or(bytes);
            hex(&raw[..raw.len().min(SHOWN_BYTES)], &mut shown);
            let what = format!(
                "{} holds a text that its character set {charset} has no conversion to Unicode \
                 for: X'{shown}'",
                place()
            );
            return Err(Error::permanent(Code::NotRepresentable, what));
        }
        Ok(())
    }
}

#[async_trait]
impl SourceReader for Reader {
    async fn next(&mut self) -> Result<Option<RowBatch>> {
        let mut batch = RowBatch::new(self.columns.len());
        while !batch.is_full() {
            if !self.running {
                let Some(sql) = self.waiting.pop() else {
                    break;
                };
                self.session.start(&sql).await?;
                self.running = true;
            }
            match self.session.next_row().await? {
                Some(row) => self.append(&mut batch, row)?,
                None => self.running = false,
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    fn snapshot(&self) -> Option<String> {
        self.snapshot.clone()
    }
}

/// One SELECT for each range, one in all if there are none.
fn statements(database: &str, request: &ReadRequest) -> Vec<String> {
    let list: Vec<String> = request
        .table
        .copied_columns()
        .map(|column| types::select(column, request.form))
        .collect();
    let select = format!(
        "SELECT /* sterna */ {} FROM {}",
        list.join(", "),
        table_name(database, &request.table)
    );
    if request.ranges.is_empty() {
        return vec![select];
    }
    let conditions = request
        .ranges
        .iter()
        .map(|range| condition(&request.key, range));
    conditions
        .map(|condition| match condition {
            None => select.clone(),
            Some(condition) => format!("{select} WHERE {condition}"),
        })
        .collect()
}

/// `from <= key < until`; None = everything.
pub fn condition(key: &[String], range: &KeyRange) -> Option<String> {
    let from = range
        .from
        .as_ref()
        .map(|bound| beyond(key, bound, ">", ">="));
    let until = range
        .until
        .as_ref()
        .map(|bound| beyond(key, bound, "<", "<"));
    match (from, until) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(from), Some(until)) => Some(format!("({from}) AND ({until})")),
    }
}

/// `key <op> bound` over a prefix of the key's columns. Written as `a >= x AND (a > x OR (a = x
/// AND …))`: the servers read a row comparison `(a, b) >= (x, y)` without the index, this form
/// with it.
fn beyond(key: &[String], bound: &KeyBound, strict: &str, last: &str) -> String {
    let columns: Vec<String> = key.iter().map(|name| ident(name)).collect();
    let parts: Vec<(&String, &String)> = columns.iter().zip(&bound.0).collect();
    let Some(((column, value), before)) = parts.split_last() else {
        return "TRUE".to_owned();
    };
    let mut condition = format!("{column} {last} {value}");
    for (column, value) in before.iter().rev() {
        condition = format!(
            "{column} {strict}= {value} AND ({column} {strict} {value} OR ({column} = {value} AND {condition}))"
        );
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(values: &[&str]) -> KeyBound {
        KeyBound(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn ranges_are_half_open_and_may_name_a_prefix_of_the_key() {
        let key = ["a".to_owned(), "b".to_owned()];
        let range = KeyRange {
            from: Some(bound(&["1", "2"])),
            until: Some(bound(&["3"])),
        };
        assert_eq!(
            condition(&key, &range).expect("bounded"),
            "(`a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` >= 2))) AND (`a` < 3)"
        );
        assert_eq!(condition(&key, &KeyRange::default()), None);
    }
}
