//! How changes of one table become statements at an SQLite target. A key finds its row as the
//! table's own key does (affinity and collation of its columns); a row of a table without a key is
//! found by all of its values, NULL being equal to NULL and nothing else being equal to another.

use common::change::net::Patch;
use common::code::Code;
use common::plan::TablePlan;
use common::value::RowBatch;
use sqlx::sqlite::SqliteArguments;

use crate::connector::sqlite::cells::{Value, excerpt_value};
use crate::connector::sqlite::insert::{Insert, PARAMETERS_MAX};
use crate::connector::sqlite::sample::rowid_name;
use crate::connector::sqlite::session::{Session, args, quote};
use crate::connector::{Error, Result};

/// A table of the target, to be written to.
pub struct Shape {
    pub insert: Insert,
    /// Places of the key among the copied columns, in key order.
    key: Vec<usize>,
    names: Vec<String>,
    rowid: Option<String>,
}

/// A key as it travels.
type Key = Vec<Vec<u8>>;

impl Shape {
    pub fn new(plan: &TablePlan) -> Shape {
        let insert = Insert::new(plan);
        let names = insert.names().map(str::to_owned).collect();
        let rows: Vec<&str> = { plan.rows().copied_columns() }
            .map(|column| column.name.as_str())
            .collect();
        let key = plan.change_key();
        let places: Vec<usize> = key
            .iter()
            .filter_map(|name| rows.iter().position(|row| row == name))
            .collect();
        Shape {
            // A key that isn't copied names no row.
            key: if places.len() == key.len() {
                places
            } else {
                Vec::new()
            },
            insert,
            names,
            rowid: rowid_name(&plan.target),
        }
    }

    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    pub fn truncation(&self) -> String {
        format!("DELETE FROM {}", quote(self.insert.table()))
    }

    /// The key cells of whole rows.
    pub fn keys_of(&self, rows: &RowBatch) -> Result<RowBatch> {
        let mut keys = RowBatch::new(self.key.len());
        let cells: Vec<Option<&[u8]>> = rows.cells().collect();
        for row in cells.chunks(self.names.len().max(1)) {
            for place in &self.key {
                match row[*place] {
                    Some(cell) => keys.push(cell),
                    None => keys.push_null(),
                }
            }
        }
        Ok(keys)
    }

    /// Deletes by key, or whole rows as often as they are listed.
    pub async fn delete(&self, session: &mut Session, rows: &RowBatch, strict: bool) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.has_key() {
            return self.delete_rows(session, rows, strict).await;
        }
        let values = self.key_values(rows)?;
        let width = self.key.len();
        let most = 1 << (PARAMETERS_MAX / width).max(1).ilog2();
        let mut left = &values[..];
        let mut deleted = 0;
        if strict {
            session.quick("SAVEPOINT sterna_delete", args([])).await?;
        }
        while !left.is_empty() {
            let count: usize = most.min(1 << (left.len() / width).ilog2());
            let (chunk, rest) = left.split_at(count * width);
            left = rest;
            let filter = self.filter(chunk);
            let sql = format!("DELETE FROM {} WHERE {filter}", quote(self.insert.table()));
            deleted += session.run(&sql, bound(chunk.to_vec())).await?;
        }
        if !strict {
            return Ok(());
        }
        if deleted != rows.rows() as u64 {
            session.quick("ROLLBACK TO sterna_delete", args([])).await?;
            let missing = self.find(session, rows, false).await?.unwrap_or_default();
            return Err(self.mismatch(&missing, "is to be updated or deleted and is not there"));
        }
        session
            .quick("RELEASE sterna_delete", args([]))
            .await
            .map(drop)
    }

    async fn delete_rows(
        &self,
        session: &mut Session,
        rows: &RowBatch,
        strict: bool,
    ) -> Result<()> {
        let table = quote(self.insert.table());
        let Some(rowid) = self.rowid.as_deref().map(quote) else {
            let what = format!("{table} has neither a key nor a rowid: no row of it can be found");
            return Err(Error::permanent(Code::ReplayMismatch, what));
        };
        let values = self.insert.values(rows)?;
        for row in values.chunks(self.names.len().max(1)) {
            let mut arguments = SqliteArguments::default();
            let mut terms = Vec::new();
            for (name, value) in self.names.iter().zip(row) {
                let name = quote(name);
                let mark = mark(value);
                terms.push(format!("t.{name} COLLATE BINARY IS {mark}"));
                value.clone().bind(&mut arguments);
                if self.insert.is_native() {
                    terms.push(format!("typeof(t.{name}) = '{}'", value.class()));
                }
            }
            let sql = format!(
                "DELETE FROM {table} WHERE {rowid} IN (SELECT t.{rowid} FROM {table} AS t \
                 WHERE {} LIMIT 1)",
                terms.join(" AND ")
            );
            let deleted = session.run(&sql, arguments).await?;
            if strict && deleted != 1 {
                let shown: Vec<String> = row.iter().map(excerpt_value).collect();
                let what = format!(
                    "{}: no row is ({}), and one such is to be deleted",
                    self.insert.table(),
                    shown.join(", ")
                );
                return Err(Error::permanent(Code::ReplayMismatch, what));
            }
        }
        Ok(())
    }

    /// The first key of `keys` that is there, or isn't.
    pub async fn find(
        &self,
        session: &mut Session,
        keys: &RowBatch,
        there: bool,
    ) -> Result<Option<Key>> {
        let cells: Vec<Option<&[u8]>> = keys.cells().collect();
        for key in cells.chunks(self.key.len().max(1)) {
            let key: Key = key
                .iter()
                .map(|cell| cell.unwrap_or_default().to_vec())
                .collect();
            if self.is_there(session, &key).await? == there {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    pub async fn is_there(&self, session: &mut Session, key: &Key) -> Result<bool> {
        let values = self.values_of(key)?;
        let filter = self.filter(&values);
        let sql = format!(
            "SELECT 1 FROM {} WHERE {filter}",
            quote(self.insert.table())
        );
        Ok(session.row(&sql, bound(values)).await?.is_some())
    }

    /// The statement of an update of some cells.
    pub fn patch(&self, patch: &Patch) -> Result<(String, SqliteArguments)> {
        let mut arguments = SqliteArguments::default();
        let mut terms = Vec::new();
        for (place, cell) in &patch.cells {
            let value = self.insert.value(*place as usize, cell.as_deref())?;
            let name = quote(&self.names[*place as usize]);
            terms.push(format!("{name} = {}", mark(&value)));
            value.bind(&mut arguments);
        }
        let key = self.values_of(&patch.key)?;
        let sql = format!(
            "UPDATE OR ABORT {} SET {} WHERE {}",
            quote(self.insert.table()),
            terms.join(", "),
            self.filter(&key)
        );
        for value in key {
            value.bind(&mut arguments);
        }
        Ok((sql, arguments))
    }

    pub fn mismatch(&self, key: &Key, why: &str) -> Error {
        let values = self.values_of(key).unwrap_or_default();
        let shown: Vec<String> = { self.key.iter().zip(&values) }
            .map(|(place, value)| format!("{} = {}", self.names[*place], excerpt_value(value)))
            .collect();
        let what = format!(
            "{}: the row {} {why}",
            self.insert.table(),
            shown.join(", ")
        );
        Error::permanent(Code::ReplayMismatch, what)
    }

    fn values_of(&self, key: &Key) -> Result<Vec<Value>> {
        let cells = self.key.iter().zip(key);
        cells
            .map(|(place, cell)| self.insert.value(*place, Some(cell)))
            .collect()
    }

    fn key_values(&self, keys: &RowBatch) -> Result<Vec<Value>> {
        let cells = keys.cells().zip(self.key.iter().cycle());
        cells
            .map(|(cell, place)| self.insert.value(*place, cell))
            .collect()
    }

    /// Rows that have one of these keys.
    fn filter(&self, keys: &[Value]) -> String {
        let names: Vec<String> = { self.key.iter() }
            .map(|place| quote(&self.names[*place]))
            .collect();
        let table = quote(self.insert.table());
        match names.as_slice() {
            [name] => {
                let marks: Vec<&str> = keys.iter().map(mark).collect();
                format!("{table}.{name} IN ({})", marks.join(","))
            }
            names => {
                let columns: Vec<String> =
                    names.iter().map(|name| format!("{table}.{name}")).collect();
                let rows: Vec<String> = keys
                    .chunks(names.len().max(1))
                    .map(|key| {
                        let marks: Vec<&str> = key.iter().map(mark).collect();
                        format!("({})", marks.join(","))
                    })
                    .collect();
                format!("({}) IN (VALUES {})", columns.join(", "), rows.join(","))
            }
        }
    }
}

/// The place of a value in a statement: text that isn't UTF-8 is handed over as bytes.
fn mark(value: &Value) -> &'static str {
    match value {
        Value::RawText(_) => "CAST(? AS TEXT)",
        _ => "?",
    }
}

fn bound(values: Vec<Value>) -> SqliteArguments {
    let mut arguments = SqliteArguments::default();
    for value in values {
        value.bind(&mut arguments);
    }
    arguments
}
