//! How rows get into a table: LOAD DATA LOCAL from memory, or INSERT of many rows where the server
//! has local_infile off. Either way the server must have taken every row and changed none: what it
//! changes silently is looked for before ([`Guard`]), what it warns of stops the load after.
//!
//! One warning is expected: an ENUM value that is no member (number 0, which mending a table in
//! lax mode leaves behind) is stored as it is and warned of. They are counted, and any warning more
//! or less than that is an error.

use std::sync::Arc;

use common::code::{Code, ErrorClass, Failure};
use common::limits;
use common::schema::{CellForm, Column, TableSchema};
use common::value::RowBatch;

use super::error::{DATA_TRUNCATED, DUPLICATE_KEY, Failed};
use super::guard::{self, Guard};
use super::infile;
use super::quote::{hex, ident, plain, table_name};
use super::session::{Done, SQL_MODE, SQL_MODE_LAX, Session};
use super::types::{self, Kind, Store};
use crate::connector::{Error, Result};

/// Bytes of one INSERT, if no single row is longer.
const INSERT_BYTES: usize = 1 << 20;
/// Characters of a value that an error shows.
const SHOWN_CHARS: usize = 60;
/// The server counts no more warnings than this.
const WARNINGS_MAX: u64 = u16::MAX as u64;

/// A column that is loaded.
struct Field {
    name: String,
    kind: Kind,
    store: Store,
    guard: Guard,
    /// An ENUM loaded by its numbers.
    numbered_enum: bool,
    in_key: bool,
}

/// The statements for one table.
pub struct Load {
    table: String,
    infile: String,
    insert: String,
    fields: Vec<Field>,
}

fn field(column: &Column, table: &TableSchema, form: CellForm) -> Field {
    let native = column.native_type.trim().to_ascii_lowercase();
    Field {
        name: column.name.clone(),
        kind: types::kind(&column.native_type),
        store: types::store(column, form),
        guard: match form {
            CellForm::Canonical => guard::of(column),
            CellForm::Native => Guard::None,
        },
        numbered_enum: form == CellForm::Native && native.starts_with("enum"),
        in_key: table.primary_key.contains(&column.name),
    }
}

/// Strict mode refuses an ENUM's number 0; without it, it is stored with a warning.
pub async fn set_lax(session: &mut Session, lax: bool) -> Result<()> {
    let mode = if lax { SQL_MODE_LAX } else { SQL_MODE };
    let set = format!("SET SESSION sql_mode = '{mode}'");
    session.run(&set).await?;
    Ok(())
}

impl Load {
    pub fn new(database: &str, table: &TableSchema, form: CellForm) -> Load {
        let columns: Vec<&Column> = table.copied_columns().collect();
        let target = table_name(database, table);
        let fields: Vec<Field> = columns.iter().map(|c| field(c, table, form)).collect();
        // A SET clause makes MariaDB forget that the auto-increment column was given, and a 0 in it
        // becomes the next number (10.11, measured): then it must stand in the SET clause too.
        let any_set = fields.iter().any(|field| field.store != Store::Direct);
        let (mut into, mut sets) = (Vec::new(), Vec::new());
        for (at, (column, field)) in columns.iter().zip(&fields).enumerate() {
            match field.store {
                Store::Direct if any_set && column.auto_increment => {
                    into.push(format!("@v{at}"));
                    sets.push(format!("{} = @v{at}", ident(&column.name)));
                }
                Store::Direct => into.push(ident(&column.name)),
                Store::Through(before, after) => {
                    into.push(format!("@v{at}"));
                    sets.push(format!("{} = {before}@v{at}{after}", ident(&column.name)));
                }
            }
        }
        let set = match sets.is_empty() {
            true => String::new(),
            false => format!(" SET {}", sets.join(", ")),
        };
        let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
        Load {
            table: table.full_name(),
            infile: format!(
                "LOAD DATA LOCAL INFILE 'sterna' INTO TABLE {target} {} ({}){set}",
                infile::FORMAT,
                into.join(", ")
            ),
            insert: format!("INSERT INTO {target} ({}) VALUES ", names.join(", ")),
            fields,
        }
    }

    /// Loads the batch, all of it or an error.
    pub async fn run(&self, session: &mut Session, batch: RowBatch) -> Result<()> {
        if batch.columns() != self.fields.len() {
            let what = format!(
                "table {}: rows of {} cells for {} columns",
                self.table,
                batch.columns(),
                self.fields.len()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        self.look(&batch)?;
        let strangers = self.strangers(&batch, 0, batch.rows());
        if session.facts.local_infile {
            let batch = Arc::new(batch);
            session.give_infile(infile::stream(Arc::clone(&batch)))?;
            let done = session
                .run_within(&self.infile, limits::TRANSFER_DEADLINE_MS)
                .await;
            let sent = (0, batch.rows());
            return self.check(session, done, strangers, &batch, sent).await;
        }
        if strangers == 0 {
            return self.run_insert(session, &batch).await;
        }
        set_lax(session, true).await?;
        let ran = self.run_insert(session, &batch).await;
        set_lax(session, false).await?;
        ran
    }

    /// As [`Load::run`], for few rows: one statement, where one can say it.
    pub async fn run_few(&self, session: &mut Session, batch: RowBatch) -> Result<()> {
        if self.strangers(&batch, 0, batch.rows()) > 0 || batch.columns() != self.fields.len() {
            return self.run(session, batch).await;
        }
        self.look(&batch)?;
        self.run_insert(session, &batch).await
    }

    /// `column = value` of an UPDATE, for the copied column `at`.
    pub fn assignment(&self, at: usize, cell: Option<&[u8]>) -> Result<String> {
        let Some(field) = self.fields.get(at) else {
            let what = format!("table {} has no copied column {at}", self.table);
            return Err(Error::permanent(Code::Internal, what));
        };
        if let Some(why) = cell.and_then(|cell| field.guard.objection(cell)) {
            let what = format!("{}.{} = {}: {why}", self.table, field.name, shown(cell));
            return Err(Error::permanent(Code::ValueChanged, what));
        }
        let mut sql = format!("{} = ", ident(&field.name));
        literal(cell, field, &mut sql);
        Ok(sql)
    }

    /// Finds the first cell that the server would change without a word.
    fn look(&self, batch: &RowBatch) -> Result<()> {
        if self.fields.iter().all(|field| field.guard == Guard::None) {
            return Ok(());
        }
        for (at, cell) in batch.cells().enumerate() {
            let (row, column) = (at / self.fields.len(), at % self.fields.len());
            let objection = cell.and_then(|cell| self.fields[column].guard.objection(cell));
            if let Some(why) = objection {
                let place = self.place(batch, row, Some(column));
                return Err(Error::permanent(
                    Code::ValueChanged,
                    format!("{place}: {why}"),
                ));
            }
        }
        Ok(())
    }

    /// ENUM values among the cells (by copied column) that are no members.
    pub fn strangers_of(&self, cells: &[(u32, Option<Vec<u8>>)]) -> u64 {
        let is_one = |(at, cell): &&(u32, Option<Vec<u8>>)| {
            let field = self.fields.get(*at as usize);
            field.is_some_and(|field| field.numbered_enum) && cell.as_deref() == Some(b"0")
        };
        cells.iter().filter(is_one).count() as u64
    }

    /// ENUM values of `rows` rows from `first` on that are no members.
    fn strangers(&self, batch: &RowBatch, first: usize, rows: usize) -> u64 {
        if !self.fields.iter().any(|field| field.numbered_enum) {
            return 0;
        }
        let width = self.fields.len();
        let cells = batch.cells().skip(first * width).take(rows * width);
        let is_one = |(at, cell): &(usize, Option<&[u8]>)| {
            self.fields[at % width].numbered_enum && *cell == Some(b"0")
        };
        cells.enumerate().filter(is_one).count() as u64
    }

    async fn run_insert(&self, session: &mut Session, batch: &RowBatch) -> Result<()> {
        let room = session.facts.max_allowed_packet.saturating_sub(1_024);
        let mut cells = batch.cells();
        let (mut sql, mut first, mut rows) = (self.insert.clone(), 0, 0);
        for left in (0..batch.rows()).rev() {
            sql.push_str(if rows == 0 { "(" } else { ", (" });
            for (at, field) in self.fields.iter().enumerate() {
                if at > 0 {
                    sql.push_str(", ");
                }
                literal(cells.next().flatten(), field, &mut sql);
            }
            sql.push(')');
            rows += 1;
            if sql.len() > room {
                return Err(self.too_long(sql.len(), session.facts.max_allowed_packet));
            }
            if sql.len() >= INSERT_BYTES.min(room / 4) || left == 0 {
                let done = session.run_within(&sql, limits::TRANSFER_DEADLINE_MS).await;
                let strangers = self.strangers(batch, first, rows);
                self.check(session, done, strangers, batch, (first, rows))
                    .await?;
                sql.truncate(self.insert.len());
                first += rows;
                rows = 0;
            }
        }
        Ok(())
    }

    fn too_long(&self, length: usize, packet: usize) -> Error {
        let what = format!(
            "table {}: a row takes {length} bytes as a statement, max_allowed_packet is {packet}",
            self.table
        );
        let mut error = Error::permanent(Code::TargetRejected, what);
        error
            .failure
            .fixes
            .push("SET GLOBAL local_infile = ON".to_owned());
        error
    }

    /// All rows, no warning but the expected ones; anything else names what the server would have
    /// changed. `sent` is the first row of the statement and how many there were.
    async fn check(
        &self,
        session: &mut Session,
        done: std::result::Result<Done, Failed>,
        strangers: u64,
        batch: &RowBatch,
        sent: (usize, usize),
    ) -> Result<()> {
        let (first, rows) = sent;
        let done = match done {
            Ok(done) => done,
            Err(failed) => return Err(self.refused(failed, batch, first)),
        };
        let expected = strangers.min(WARNINGS_MAX);
        if done.affected == rows as u64 && u64::from(done.warnings) == expected && strangers == 0 {
            return Ok(());
        }
        let warnings = session.rows("SHOW WARNINGS").await?;
        let mut said: Vec<(u16, String)> = warnings
            .into_iter()
            .filter_map(|row| match row.as_slice() {
                [_, Some(number), Some(message)] => Some((number.parse().ok()?, message.clone())),
                _ => None,
            })
            .collect();
        let of_a_stranger = |(number, message): &(u16, String)| {
            let (column, row) = located(message);
            let cell = self.position(column).zip(row).and_then(|(column, row)| {
                let at = (first + row.checked_sub(1)?) * self.fields.len() + column;
                Some((column, batch.cells().nth(at)??))
            });
            *number == DATA_TRUNCATED
                && cell
                    .is_some_and(|(column, cell)| self.fields[column].numbered_enum && cell == b"0")
        };
        said.retain(|warning| !of_a_stranger(warning));
        let all = done.affected == rows as u64 && u64::from(done.warnings) == expected;
        if all && said.is_empty() && strangers < WARNINGS_MAX {
            return Ok(());
        }
        Err(self.changed(&said, done, batch, sent))
    }

    /// The error of values that the server changed or rows that it skipped.
    fn changed(
        &self,
        said: &[(u16, String)],
        done: Done,
        batch: &RowBatch,
        (first, rows): (usize, usize),
    ) -> Error {
        let duplicate = said.iter().any(|(number, _)| *number == DUPLICATE_KEY);
        let code = match duplicate {
            true => Code::TargetRejected,
            false => Code::ValueChanged,
        };
        let words: Vec<String> = said
            .iter()
            .take(3)
            .map(|(number, message)| format!("{} ({number})", self.named(message, batch, first)))
            .collect();
        let what = format!(
            "table {}: {} of {rows} rows loaded with {} warnings: {}",
            self.table,
            done.affected,
            done.warnings,
            words.join("; ")
        );
        Error::permanent(code, what)
    }

    /// A refused statement, with the row's value where the server says which it is.
    fn refused(&self, failed: Failed, batch: &RowBatch, first: usize) -> Error {
        let mut error = failed.error;
        if error.class == ErrorClass::Permanent {
            let words = self.named(&error.failure.what, batch, first);
            let mut failure =
                Failure::new(error.failure.code, format!("table {}: {words}", self.table));
            failure.fixes = error.failure.fixes;
            error.failure = failure;
        }
        error
    }

    /// The server's words, preceded by the value they are about.
    fn named(&self, message: &str, batch: &RowBatch, first: usize) -> String {
        let (column, row) = located(message);
        let Some(row) = row.and_then(|row| row.checked_sub(1)) else {
            return message.to_owned();
        };
        let place = self.place(batch, first + row, self.position(column));
        format!("{place}: {message}")
    }

    fn position(&self, column: Option<&str>) -> Option<usize> {
        let column = column?;
        self.fields.iter().position(|field| field.name == column)
    }

    /// `t.c = 'value' (id = '1')`.
    fn place(&self, batch: &RowBatch, row: usize, column: Option<usize>) -> String {
        let width = self.fields.len();
        let cells: Vec<Option<&[u8]>> = batch.cells().skip(row * width).take(width).collect();
        let value = |at: usize| format!("{} = {}", self.fields[at].name, shown(cells[at]));
        let keys: Vec<String> = (0..cells.len())
            .filter(|at| self.fields[*at].in_key && Some(*at) != column)
            .map(value)
            .collect();
        let key = match keys.is_empty() {
            true => String::new(),
            false => format!(" (row {})", keys.join(", ")),
        };
        match column.filter(|at| *at < cells.len()) {
            Some(at) => format!("table {}: {}{key}", self.table, value(at)),
            None => format!("table {}{key}", self.table),
        }
    }
}

/// A value as an error shows it.
pub fn shown(cell: Option<&[u8]>) -> String {
    let Some(cell) = cell else {
        return "NULL".to_owned();
    };
    match std::str::from_utf8(cell) {
        Ok(text) if text.chars().count() <= SHOWN_CHARS => format!("{text:?}"),
        Ok(text) => format!("{:?}…", text.chars().take(SHOWN_CHARS).collect::<String>()),
        Err(_) => {
            let mut digits = String::new();
            hex(&cell[..cell.len().min(SHOWN_CHARS / 2)], &mut digits);
            format!("X'{digits}'")
        }
    }
}

/// The column and the row (from 1 on) that a server's message names: `… for column 'c' at row 3`,
/// ``… for column `db`.`t`.`c` at row 3``.
fn located(message: &str) -> (Option<&str>, Option<usize>) {
    let Some((before, after)) = message.rsplit_once(" at row ") else {
        return (None, None);
    };
    let digits = after.split(|c: char| !c.is_ascii_digit()).next();
    let row = digits.and_then(|digits| digits.parse().ok());
    let quote = before.chars().last().filter(|c| matches!(c, '\'' | '`'));
    let column = quote.and_then(|quote| {
        let inner = before.strip_suffix(quote)?;
        inner.rsplit_once(quote).map(|(_, name)| name)
    });
    (column, row)
}

/// Appends a cell as SQL.
fn literal(cell: Option<&[u8]>, field: &Field, sql: &mut String) {
    let Some(cell) = cell else {
        sql.push_str("NULL");
        return;
    };
    let (before, after) = match field.store {
        Store::Direct => ("", ""),
        Store::Through(before, after) => (before, after),
    };
    sql.push_str(before);
    match field.kind {
        Kind::Integer | Kind::Number | Kind::Float | Kind::Bit | Kind::Moment => {
            sql.push_str(&plain(cell));
        }
        Kind::Text | Kind::Member | Kind::Json | Kind::Binary | Kind::Address => {
            sql.push_str("_binary X'");
            hex(cell, sql);
            sql.push('\'');
        }
    }
    sql.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_it_happened() {
        let told = "Incorrect integer value: 'it's' for column `d`.`t`.`c` at row 12";
        assert_eq!(located(told), (Some("c"), Some(12)));
        let told = "Data truncated for column 'e' at row 1";
        assert_eq!(located(told), (Some("e"), Some(1)));
        assert_eq!(located("Duplicate entry"), (None, None));
    }
}
