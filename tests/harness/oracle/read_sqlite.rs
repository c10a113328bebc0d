//! The judge's reader of SQLite: every cell with its storage class.

use sqlx::{Connection, Row as _, TypeInfo, ValueRef};

use super::meaning::{Cell, Meaning};
use super::values::{Column, Row, Table};
use super::{hex, sqlite};
use crate::harness::lab::Database;

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub async fn tables(database: &Database) -> Vec<Table> {
    let mut conn = sqlite(&database.name).await;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&mut conn)
    .await
    .expect("tables");
    let mut tables = Vec::new();
    for name in names {
        let columns = sqlx::query("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1")
            .bind(&name)
            .fetch_all(&mut conn)
            .await
            .expect("columns");
        let columns = columns.iter().map(|row| {
            let declared: String = row.get("type");
            Column {
                name: row.get("name"),
                meaning: meaning(&declared),
                declared,
            }
        });
        tables.push(Table {
            from: quoted(&name),
            columns: columns.collect(),
            name,
        });
    }
    let _ = conn.close().await;
    tables
}

/// By the declared type's words; what says nothing is text.
fn meaning(declared: &str) -> Meaning {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["BOOL"]) {
        Meaning::Bool
    } else if has(&["INT", "DEC", "NUM", "YEAR"]) {
        Meaning::Number
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Meaning::Text
    } else if has(&["DATE", "TIMESTAMP"]) {
        Meaning::Moment
    } else if has(&["TIME"]) {
        Meaning::Time
    } else if has(&["BLOB", "BINARY"]) {
        Meaning::Bytes
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Meaning::Real
    } else if has(&["JSON"]) {
        Meaning::Json
    } else if has(&["BIT"]) {
        Meaning::Bits
    } else {
        Meaning::Text
    }
}

pub async fn rows(database: &Database, table: &Table) -> Vec<Row> {
    let list: Vec<String> = table.columns.iter().map(|c| quoted(&c.name)).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), table.from);
    let mut conn = sqlite(&database.name).await;
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut conn)
        .await
        .unwrap_or_else(|error| panic!("the judge reads {}: {error}", table.name));
    let _ = conn.close().await;
    rows.iter()
        .map(|row| cells(row, table.columns.len()))
        .collect()
}

fn cells(row: &sqlx::sqlite::SqliteRow, columns: usize) -> Row {
    let cell = |i: usize| {
        let value = row.try_get_raw(i).expect("a cell");
        let class = value.type_info().name().to_owned();
        match (value.is_null(), class.as_str()) {
            (true, _) => None,
            (_, "INTEGER") => Some(Cell::new(
                "number",
                row.get_unchecked::<i64, _>(i).to_string(),
            )),
            (_, "REAL") => Some(Cell::new(
                "real",
                row.get_unchecked::<f64, _>(i).to_string(),
            )),
            (_, "BLOB") => Some(Cell::new("bytes", hex(&row.get_unchecked::<Vec<u8>, _>(i)))),
            // As bytes: SQLite holds text that isn't UTF-8.
            _ => Some(
                match String::from_utf8(row.get_unchecked::<Vec<u8>, _>(i)) {
                    Ok(text) => Cell::new("text", text),
                    Err(raw) => Cell::new("text", format!("raw {}", hex(raw.as_bytes()))),
                },
            ),
        }
    };
    (0..columns).map(cell).collect()
}
