//! The judge: is the target what the source is? Reads both through plain driver calls, never
//! through the product's code, and compares rows as sorted text (small tables) or by aggregates
//! the server computes per key range (large ones).

pub mod meaning;
pub mod read_mysql;
pub mod read_postgres;
pub mod read_sqlite;
pub mod values;

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use sqlx::{Column, Connection, Row, TypeInfo, ValueRef};

use super::oracle_schema::{Column as Col, Kind, Schema};

/// One side: where its rows are.
#[derive(Clone, Debug)]
pub enum Side {
    Sqlite(String),
    Mysql(String),
}

impl Side {
    /// By the URL given to `sterna`.
    pub fn of(url: &str) -> Side {
        match url.strip_prefix("sqlite:") {
            Some(path) => Side::Sqlite(path.to_owned()),
            None => Side::Mysql(url.replace("mariadb://", "mysql://")),
        }
    }

    pub fn engine(&self) -> &'static str {
        match self {
            Side::Sqlite(_) => "sqlite",
            Side::Mysql(_) => "mysql",
        }
    }
}

/// A row: each cell's normal text, None = NULL.
pub type DumpRow = Vec<Option<String>>;

/// Asserts that every table of the source (or of `only`) is at the target with the same rows,
/// columns, keys, indexes and foreign keys, and that the target holds no other table.
pub async fn assert_equal(source: &str, target: &str) {
    assert_equal_without(source, target, &[]).await;
}

/// The same, but `left_out` tables of the source must be missing at the target.
pub async fn assert_equal_without(source: &str, target: &str, left_out: &[&str]) {
    let same_engine = Side::of(source).engine() == Side::of(target).engine();
    compare(source, target, left_out, same_engine).await;
}

/// The same, for a copy that went through another engine and may spell its types differently.
pub async fn assert_same_content(source: &str, target: &str) {
    compare(source, target, &[], false).await;
}

async fn compare(source: &str, target: &str, left_out: &[&str], same_engine: bool) {
    let (from, to) = (Side::of(source), Side::of(target));
    let mut schema = Schema::read(&from).await;
    schema
        .tables
        .retain(|name, _| !left_out.contains(&name.as_str()));
    let copy = Schema::read(&to).await;
    let differences = schema.differences(&copy, same_engine);
    assert!(differences.is_empty(), "schema: {differences:#?}");
    for (name, table) in &schema.tables {
        let columns = &table.columns;
        let left = rows(&from, name, columns).await;
        let right = rows(&to, name, &renamed(columns, &copy.tables[name].columns)).await;
        assert_rows(name, columns, &left, &right);
    }
}

/// The target's spelling of the column names with the source's kinds: the source says what a cell
/// means.
fn renamed(source: &[Col], target: &[Col]) -> Vec<Col> {
    let pairs = source.iter().zip(target);
    pairs
        .map(|(from, to)| Col {
            name: to.name.clone(),
            ..from.clone()
        })
        .collect()
}

fn assert_rows(table: &str, columns: &[Col], left: &[DumpRow], right: &[DumpRow]) {
    let counted = |rows: &[DumpRow]| {
        let mut counts: BTreeMap<DumpRow, i64> = BTreeMap::new();
        for row in rows {
            *counts.entry(row.clone()).or_default() += 1;
        }
        counts
    };
    let (left_counts, right_counts) = (counted(left), counted(right));
    if left_counts == right_counts {
        return;
    }
    let names: Vec<_> = columns.iter().map(|c| c.name.as_str()).collect();
    let only = |a: &BTreeMap<DumpRow, i64>, b: &BTreeMap<DumpRow, i64>| -> Vec<DumpRow> {
        let missing = a.iter().filter(|(row, n)| b.get(*row) != Some(n));
        missing.take(3).map(|(row, _)| row.clone()).collect()
    };
    panic!(
        "{table} {names:?}: {} rows at the source, {} at the target\nonly source: {:?}\nonly target: {:?}",
        left.len(),
        right.len(),
        only(&left_counts, &right_counts),
        only(&right_counts, &left_counts)
    );
}

/// Every row of a table in normal text.
pub async fn rows(side: &Side, table: &str, columns: &[Col]) -> Vec<DumpRow> {
    let raw = match side {
        Side::Mysql(url) => mysql_rows(url, table, columns).await,
        Side::Sqlite(path) => sqlite_rows(path, table, columns).await,
    };
    raw.into_iter()
        .map(|row| {
            let cells = row.into_iter().zip(columns);
            cells
                .map(|(cell, column)| cell.map(|text| column.kind.normal(&text)))
                .collect()
        })
        .collect()
}

async fn mysql_rows(url: &str, table: &str, columns: &[Col]) -> Vec<DumpRow> {
    let list: Vec<String> = columns.iter().map(mysql_expression).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), ticked(table));
    let mut conn = mysql_async::Conn::from_url(url)
        .await
        .expect("the judge connects");
    conn.query_drop("SET time_zone = '+00:00'")
        .await
        .expect("utc");
    let rows: Vec<mysql_async::Row> = conn.query(&query).await.expect("the judge reads");
    let _ = conn.disconnect().await;
    rows.into_iter()
        .map(|row| {
            let values = row.unwrap().into_iter();
            values
                .map(mysql_async::from_value::<Option<String>>)
                .collect()
        })
        .collect()
}

/// Text and bytes as hex, so that no charset is in the way; a FLOAT as the double it is.
fn mysql_expression(column: &Col) -> String {
    let name = ticked(&column.name);
    match column.kind {
        Kind::Text => format!("HEX(CONVERT({name} USING utf8mb4))"),
        Kind::Bytes => format!("HEX({name})"),
        Kind::Real => format!("CAST(CAST({name} AS DOUBLE) AS CHAR)"),
        Kind::Bits => format!("CAST({name} + 0 AS CHAR)"),
        Kind::Number | Kind::Time => format!("CAST({name} AS CHAR)"),
    }
}

fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

async fn sqlite_rows(path: &str, table: &str, columns: &[Col]) -> Vec<DumpRow> {
    let list: Vec<String> = columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
    let query = format!("SELECT {} FROM \"{table}\"", list.join(", "));
    let mut conn = sqlite(path).await;
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut conn)
        .await
        .expect("the judge reads");
    let _ = conn.close().await;
    rows.iter().map(|row| sqlite_row(row, columns)).collect()
}

fn sqlite_row(row: &sqlx::sqlite::SqliteRow, columns: &[Col]) -> DumpRow {
    let mut cells = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let value = row.try_get_raw(i).expect("a cell");
        assert_eq!(row.columns()[i].ordinal(), i);
        let class = value.type_info().name().to_owned();
        cells.push(match (value.is_null(), class.as_str()) {
            (true, _) => None,
            (_, "INTEGER") => Some(row.get_unchecked::<i64, _>(i).to_string()),
            (_, "REAL") => Some(row.get_unchecked::<f64, _>(i).to_string()),
            (_, "BLOB") => Some(hex(&row.get_unchecked::<Vec<u8>, _>(i))),
            _ => {
                let text = row.get_unchecked::<String, _>(i);
                Some(match column.kind {
                    Kind::Text | Kind::Bytes => hex(text.as_bytes()),
                    _ => text,
                })
            }
        });
    }
    cells
}

/// A read-only connection to a SQLite file.
pub async fn sqlite(path: &str) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .read_only(true);
    sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap_or_else(|error| panic!("the judge can't open {path}: {error}"))
}

/// Upper-case hex, as the servers write it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Asserts that two MariaDB tables hold the same rows without reading them out: count, sum of
/// CRC32 and xor of half an MD5 over every column, per range of 100,000 keys.
pub async fn assert_large_equal(source: &str, target: &str, table: &str, key: &str) {
    let columns = Schema::read(&Side::of(source)).await.tables[table]
        .columns
        .clone();
    let left = ranges(source, table, key, &columns).await;
    let right = ranges(target, table, key, &columns).await;
    assert!(!left.is_empty(), "{table} is empty at the source");
    for (range, sums) in &left {
        assert_eq!(
            Some(sums),
            right.get(range),
            "{table}: keys of range {range}"
        );
    }
    assert_eq!(
        left.len(),
        right.len(),
        "{table}: keys that the source lacks"
    );
}

async fn ranges(
    url: &str,
    table: &str,
    key: &str,
    columns: &[Col],
) -> BTreeMap<i64, (u64, String, String)> {
    let cells: Vec<String> = columns
        .iter()
        .map(|c| format!("COALESCE({}, 'null!')", mysql_expression(c)))
        .collect();
    let row = format!("CONCAT_WS('|', {})", cells.join(", "));
    let query = format!(
        "SELECT `{key}` DIV 100000, COUNT(*), CAST(SUM(CRC32({row})) AS CHAR), \
         CAST(BIT_XOR(CONV(LEFT(MD5({row}), 16), 16, 10)) AS CHAR) \
         FROM `{table}` GROUP BY 1"
    );
    let mut conn = mysql_async::Conn::from_url(url)
        .await
        .expect("the judge connects");
    let rows: Vec<(i64, u64, String, String)> = conn.query(query).await.expect("the judge reads");
    let _ = conn.disconnect().await;
    rows.into_iter()
        .map(|(range, count, crc, xor)| (range, (count, crc, xor)))
        .collect()
}
