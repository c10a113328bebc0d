//! Is every value of the source at the target? Reads both sides table by table through the
//! readers beside this file and compares rows as multisets. On one engine cells must be the same
//! to the last bit and type; across engines they must mean the same. Doesn't compare schemas.

use std::collections::BTreeMap;

use super::meaning::{Cell, Meaning, canonical};
use super::{read_mysql, read_postgres, read_sqlite};
use crate::harness::lab::Database;

/// How cells are read and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The engine's own text, with everything it tells apart; partitions are tables.
    Exact,
    /// What the value means; a partitioned table is one.
    Meaning,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub meaning: Meaning,
    /// The engine's spelling of the type.
    pub declared: String,
}

#[derive(Clone, Debug)]
pub struct Table {
    /// `schema.name`, or the name alone in the default schema.
    pub name: String,
    /// Quoted, as the engine's FROM takes it.
    pub from: String,
    pub columns: Vec<Column>,
}

/// NULL is None.
pub type Row = Vec<Option<Cell>>;
type Plain = Vec<Option<String>>;

const SHOWN_MAX: usize = 3;

/// Every table, without its rows.
pub async fn tables(database: &Database, view: View) -> Vec<Table> {
    use crate::harness::lab::Kind;
    match database.kind {
        Kind::Sqlite => read_sqlite::tables(database).await,
        Kind::Mariadb | Kind::Mysql9 => read_mysql::tables(database).await,
        Kind::Postgres => read_postgres::tables(database, view).await,
    }
}

pub async fn rows(database: &Database, table: &Table, view: View) -> Vec<Row> {
    use crate::harness::lab::Kind;
    match database.kind {
        Kind::Sqlite => read_sqlite::rows(database, table).await,
        Kind::Mariadb | Kind::Mysql9 => read_mysql::rows(database, table, view).await,
        Kind::Postgres => read_postgres::rows(database, table, view).await,
    }
}

/// Asserts that the target holds the same tables with the same values, and no other table.
/// `left_out` tables of the source must be missing at the target.
pub async fn assert_same(source: &Database, target: &Database, left_out: &[&str]) {
    let found = differences(source, target, left_out).await;
    assert!(
        found.is_empty(),
        "{:?} to {:?}, {} differences:\n{}",
        source.kind,
        target.kind,
        found.len(),
        found.join("\n")
    );
}

/// What the target has otherwise, a line each.
pub async fn differences(source: &Database, target: &Database, left_out: &[&str]) -> Vec<String> {
    let view = match source.kind.same_engine(target.kind) {
        true => View::Exact,
        false => View::Meaning,
    };
    compare(source, target, left_out, view).await
}

/// The same under a view of the caller's choice (a copy that came back through another engine).
pub async fn compare(
    source: &Database,
    target: &Database,
    left_out: &[&str],
    view: View,
) -> Vec<String> {
    let mut found = Vec::new();
    let copies = tables(target, view).await;
    let mut copies: BTreeMap<String, Table> =
        copies.into_iter().map(|t| (t.name.clone(), t)).collect();
    for table in tables(source, view).await {
        if left_out.contains(&table.name.as_str()) {
            continue;
        }
        let Some(copy) = copies.remove(&table.name) else {
            found.push(format!("{}: missing at the target", table.name));
            continue;
        };
        let names = |t: &Table| t.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        if names(&table) != names(&copy) {
            let (a, b) = (names(&table), names(&copy));
            found.push(format!("{}: columns {b:?}, not {a:?}", table.name));
            continue;
        }
        let left = rows(source, &table, view).await;
        let right = rows(target, &copy, view).await;
        differences_of_rows(&table, left, right, view, &mut found);
    }
    found.extend(
        copies
            .keys()
            .map(|name| format!("{name}: only at the target")),
    );
    found
}

fn differences_of_rows(
    table: &Table,
    left: Vec<Row>,
    right: Vec<Row>,
    view: View,
    found: &mut Vec<String>,
) {
    if left.len() != right.len() {
        let (name, n, m) = (&table.name, left.len(), right.len());
        found.push(format!("{name}: {n} rows at the source, {m} at the target"));
    }
    let plain = |rows: Vec<Row>| {
        let mut rows: Vec<Plain> = rows
            .into_iter()
            .map(|row| plain_row(table, row, view))
            .collect();
        rows.sort_unstable();
        rows
    };
    let (missing, extra) = unmatched(plain(left), plain(right));
    for row in missing.iter().take(SHOWN_MAX) {
        // The same key at the target: then only its other cells are worth showing.
        let twin = extra.iter().find(|other| other.first() == row.first());
        found.push(match twin {
            Some(twin) => described(table, row, twin),
            None => format!("{}: row missing at the target: {}", table.name, line(row)),
        });
    }
    let twins: Vec<_> = missing.iter().filter_map(|row| row.first()).collect();
    let alone = { extra.iter() }.filter(|row| !row.first().is_some_and(|key| twins.contains(&key)));
    for row in alone.take(SHOWN_MAX) {
        found.push(format!(
            "{}: row only at the target: {}",
            table.name,
            line(row)
        ));
    }
    let more = missing.len().max(extra.len());
    if more > SHOWN_MAX {
        found.push(format!("{}: {more} rows differ", table.name));
    }
}

fn plain_row(table: &Table, row: Row, view: View) -> Plain {
    let cells = row.into_iter().zip(&table.columns);
    let plain = cells.map(|(cell, column)| {
        cell.map(|cell| match view {
            View::Exact => format!("{}:{}", cell.class, cell.text),
            View::Meaning => canonical(column.meaning, &cell),
        })
    });
    plain.collect()
}

/// What is only on the left and only on the right, of two sorted lists.
fn unmatched(left: Vec<Plain>, right: Vec<Plain>) -> (Vec<Plain>, Vec<Plain>) {
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    let mut left = left.into_iter().peekable();
    let mut right = right.into_iter().peekable();
    loop {
        match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
            }
            (Some(a), Some(b)) if a < b => missing.extend(left.next()),
            (Some(_), Some(_)) | (None, Some(_)) => extra.extend(right.next()),
            (Some(_), None) => missing.extend(left.next()),
            (None, None) => return (missing, extra),
        }
    }
}

fn described(table: &Table, expected: &Plain, got: &Plain) -> String {
    let pairs = table.columns.iter().zip(expected.iter().zip(got));
    let cells: Vec<String> = pairs
        .filter(|(_, (a, b))| a != b)
        .map(|(column, (a, b))| {
            let (name, ty) = (&column.name, &column.declared);
            format!("{name} ({ty}): expected {}, got {}", cell(a), cell(b))
        })
        .collect();
    let key = expected.first().map(cell).unwrap_or_default();
    format!("{} row {key}: {}", table.name, cells.join("; "))
}

fn line(row: &Plain) -> String {
    let cells: Vec<String> = row.iter().take(20).map(cell).collect();
    cells.join(" | ")
}

fn cell(cell: &Option<String>) -> String {
    match cell {
        None => "NULL".to_owned(),
        Some(text) if text.chars().count() > 100 => {
            let start: String = text.chars().take(100).collect();
            format!("{start:?}… ({} bytes)", text.len())
        }
        Some(text) => format!("{text:?}"),
    }
}
