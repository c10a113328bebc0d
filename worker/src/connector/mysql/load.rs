//! How rows get into a table: LOAD DATA LOCAL from memory, or INSERT of many rows where the server
//! has local_infile off. Either way the server must have taken every row and changed none.

use common::code::{Code, Failure};
use common::limits;
use common::schema::{CellForm, Column, TableSchema};
use common::value::RowBatch;

use super::infile;
use super::quote::{hex, ident, plain};
use super::session::{Done, Session};
use super::types::{self, Kind, Store};
use crate::connector::{Error, Result};

/// Bytes of one INSERT, if no single row is longer.
const INSERT_BYTES: usize = 1 << 20;

/// The statements for one table.
pub struct Load {
    table: String,
    infile: String,
    insert: String,
    columns: Vec<(Kind, Store)>,
}

impl Load {
    pub fn new(database: &str, table: &TableSchema, form: CellForm) -> Load {
        let columns: Vec<&Column> = table.copied_columns().collect();
        let target = format!("{}.{}", ident(database), ident(&table.name));
        let stores: Vec<Store> = columns
            .iter()
            .map(|column| types::store(column, form))
            .collect();
        // A SET clause makes MariaDB forget that the auto-increment column was given, and a 0 in it
        // becomes the next number (10.11, measured): then it must stand in the SET clause too.
        let any_set = stores.iter().any(|store| *store != Store::Direct);
        let (mut fields, mut sets) = (Vec::new(), Vec::new());
        for (at, (column, store)) in columns.iter().zip(&stores).enumerate() {
            match store {
                Store::Direct if any_set && column.auto_increment => {
                    fields.push(format!("@v{at}"));
                    sets.push(format!("{} = @v{at}", ident(&column.name)));
                }
                Store::Direct => fields.push(ident(&column.name)),
                Store::Through(before, after) => {
                    fields.push(format!("@v{at}"));
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
            table: table.name.clone(),
            infile: format!(
                "LOAD DATA LOCAL INFILE 'sterna' INTO TABLE {target} {} ({}){set}",
                infile::FORMAT,
                fields.join(", ")
            ),
            insert: format!("INSERT INTO {target} ({}) VALUES ", names.join(", ")),
            columns: columns
                .iter()
                .zip(stores)
                .map(|(column, store)| (types::kind(&column.native_type), store))
                .collect(),
        }
    }

    /// Loads the batch, all of it or an error.
    pub async fn run(&self, session: &mut Session, batch: RowBatch) -> Result<()> {
        if batch.columns() != self.columns.len() {
            let what = format!(
                "table {}: rows of {} cells for {} columns",
                self.table,
                batch.columns(),
                self.columns.len()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        if !session.facts.local_infile {
            return self.run_insert(session, &batch).await;
        }
        let rows = batch.rows() as u64;
        session.give_infile(infile::stream(batch))?;
        let done = session
            .run_within(&self.infile, limits::TRANSFER_DEADLINE_MS)
            .await?;
        self.check(session, done, rows).await
    }

    async fn run_insert(&self, session: &mut Session, batch: &RowBatch) -> Result<()> {
        let room = session.facts.max_allowed_packet.saturating_sub(1_024);
        let mut cells = batch.cells();
        let (mut sql, mut rows) = (self.insert.clone(), 0);
        for left in (0..batch.rows()).rev() {
            sql.push_str(if rows == 0 { "(" } else { ", (" });
            for (at, (kind, store)) in self.columns.iter().enumerate() {
                if at > 0 {
                    sql.push_str(", ");
                }
                literal(cells.next().flatten(), *kind, store, &mut sql);
            }
            sql.push(')');
            rows += 1;
            if sql.len() > room {
                let what = format!(
                    "table {}: a row takes {} bytes as a statement, max_allowed_packet is {}",
                    self.table,
                    sql.len(),
                    session.facts.max_allowed_packet
                );
                let fix = "SET GLOBAL local_infile = ON";
                let mut error = Error::permanent(Code::TargetRejected, what);
                error.failure.fixes.push(fix.to_owned());
                return Err(error);
            }
            if sql.len() >= INSERT_BYTES.min(room / 4) || left == 0 {
                let done = session
                    .run_within(&sql, limits::TRANSFER_DEADLINE_MS)
                    .await?;
                self.check(session, done, rows).await?;
                sql.truncate(self.insert.len());
                rows = 0;
            }
        }
        Ok(())
    }

    /// All rows, no warning; anything else names what the server would have changed.
    async fn check(&self, session: &mut Session, done: Done, rows: u64) -> Result<()> {
        if done.affected == rows && done.warnings == 0 {
            return Ok(());
        }
        let warnings = session.rows("SHOW WARNINGS LIMIT 3").await?;
        let said: Vec<String> = warnings
            .into_iter()
            .filter_map(|row| match row.as_slice() {
                [_, Some(number), Some(message)] => Some(format!("{message} ({number})")),
                _ => None,
            })
            .collect();
        let duplicate = said.iter().any(|message| message.ends_with("(1062)"));
        let code = match duplicate {
            true => Code::TargetRejected,
            false => Code::ValueChanged,
        };
        let what = format!(
            "table {}: {} of {rows} rows loaded with {} warnings: {}",
            self.table,
            done.affected,
            done.warnings,
            said.join("; ")
        );
        Err(Error {
            class: common::code::ErrorClass::Permanent,
            failure: Failure::new(code, what),
        })
    }
}

/// Appends a cell as SQL.
fn literal(cell: Option<&[u8]>, kind: Kind, store: &Store, sql: &mut String) {
    let Some(cell) = cell else {
        sql.push_str("NULL");
        return;
    };
    let (before, after) = match store {
        Store::Direct => ("", ""),
        Store::Through(before, after) => (*before, *after),
    };
    sql.push_str(before);
    match kind {
        Kind::Number | Kind::Float | Kind::Bit | Kind::Moment => sql.push_str(&plain(cell)),
        Kind::Text | Kind::Json | Kind::Binary => {
            sql.push_str("_binary X'");
            hex(cell, sql);
            sql.push('\'');
        }
    }
    sql.push_str(after);
}
