//! Cuts for a table's buckets, found by probing its key: never a pass over the whole table for a
//! rowid, steps along the key's index otherwise.

use std::collections::BinaryHeap;

use common::schema::{InspectedTable, KeyBound, KeySample, TableSchema};
use sqlx::sqlite::SqliteArguments;

use super::cells::Stored;
use super::forms::is_hidden_rowid;
use super::reader::{compare, to_literal};
use super::session::{Session, args, bind, cell, quote};
use crate::connector::Result;

/// The cuts of `table` into about `buckets` buckets.
pub async fn sample(
    session: &mut Session,
    table: TableSchema,
    buckets: u32,
) -> Result<InspectedTable> {
    let wanted = buckets.saturating_sub(1) as usize;
    let mut key = KeySample::default();
    if wanted > 0 {
        if let Some(rowid) = rowid_name(&table) {
            key.bounds = rowid_bounds(session, &table.name, &rowid, wanted).await?;
            key.columns = vec![rowid];
        } else if !table.primary_key.is_empty() {
            key.columns = table.primary_key.clone();
            key.bounds = key_bounds(session, &table, &key.columns, wanted).await?;
        }
    }
    if key.bounds.is_empty() {
        key = KeySample::default();
    }
    Ok(InspectedTable { schema: table, key })
}

/// The name the rowid goes by: the INTEGER PRIMARY KEY, or one of SQLite's three that no column
/// has taken. None for a WITHOUT ROWID table.
pub fn rowid_name(table: &TableSchema) -> Option<String> {
    if table.native_options.contains("WITHOUT ROWID") {
        return None;
    }
    let taken = |name: &str| {
        let mut columns = table.columns.iter();
        columns.any(|column| !is_hidden_rowid(column) && column.name.eq_ignore_ascii_case(name))
    };
    let names = ["rowid", "_rowid_", "oid"];
    let free = names.into_iter().find(|name| !taken(name));
    free.map(str::to_owned)
}

/// Splits the widest interval of rowids that are there, again and again: gaps cost one probe each.
async fn rowid_bounds(
    session: &mut Session,
    table: &str,
    rowid: &str,
    wanted: usize,
) -> Result<Vec<KeyBound>> {
    let (table, rowid) = (quote(table), quote(rowid));
    let first = format!("SELECT min(s.{rowid}) FROM {table} AS s");
    let last = format!("SELECT max(s.{rowid}) FROM {table} AS s");
    let (Some(first), Some(last)) = (
        session.number(&first, args([])).await?,
        session.number(&last, args([])).await?,
    ) else {
        return Ok(Vec::new());
    };
    let upto = format!("SELECT max(s.{rowid}) FROM {table} AS s WHERE s.{rowid} <= ?");
    let from = format!("SELECT min(s.{rowid}) FROM {table} AS s WHERE s.{rowid} > ?");
    let mut intervals = BinaryHeap::from([(first.abs_diff(last), first, last)]);
    let mut bounds = Vec::new();
    while bounds.len() < wanted {
        let Some((width, low, high)) = intervals.pop() else {
            break;
        };
        if width == 0 {
            break;
        }
        // Half way, rounded down: low <= middle < high.
        let middle = low.saturating_add_unsigned(width / 2);
        let mut at = SqliteArguments::default();
        bind(&mut at, middle);
        let before = session.number(&upto, at.clone()).await?;
        let after = session.number(&from, at).await?;
        // The source may be written to meanwhile: then an end may be gone.
        let (Some(before), Some(after)) = (before, after) else {
            break;
        };
        if before >= low {
            intervals.push((low.abs_diff(before), low, before));
        }
        if after <= high {
            intervals.push((after.abs_diff(high), after, high));
        }
        bounds.push(after);
    }
    bounds.sort_unstable();
    bounds.dedup();
    Ok(bounds
        .into_iter()
        .map(|bound| KeyBound(vec![format!("i{bound}")]))
        .collect())
}

/// Every n-th key, walking the primary key's own tree.
async fn key_bounds(
    session: &mut Session,
    table: &TableSchema,
    key: &[String],
    wanted: usize,
) -> Result<Vec<KeyBound>> {
    let step = table.rows_estimate / (wanted as u64 + 1);
    if step == 0 {
        return Ok(Vec::new());
    }
    let columns: Vec<String> = key
        .iter()
        .map(|name| format!("s.{}", quote(name)))
        .collect();
    let columns = columns.join(", ");
    let mut bounds: Vec<KeyBound> = Vec::new();
    while bounds.len() < wanted {
        let mut arguments = SqliteArguments::default();
        let after = match bounds.last() {
            None => String::new(),
            Some(bound) => format!(" WHERE {}", compare(key, bound, ">=", &mut arguments)?),
        };
        bind(&mut arguments, i64::try_from(step).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {columns} FROM {} AS s{after} ORDER BY {columns} LIMIT 1 OFFSET ?",
            quote(&table.name)
        );
        let Some(row) = session.row(&sql, arguments).await? else {
            break;
        };
        let mut literals = Vec::with_capacity(key.len());
        for index in 0..key.len() {
            literals.push(Stored::of(&row, index).ok().and_then(to_literal));
        }
        let Some(literals) = literals.into_iter().collect::<Option<Vec<String>>>() else {
            break;
        };
        bounds.push(KeyBound(literals));
    }
    Ok(bounds)
}

/// Rows and bytes of a table: exact for a small file, counted and probed for a larger one, else
/// from a few probes. Nothing depends on
/// them but sizes and progress.
pub async fn estimate(
    session: &mut Session,
    table: &TableSchema,
    file_bytes: u64,
) -> Result<(u64, u64)> {
    let quoted = quote(&table.name);
    let lengths: Vec<String> = table
        .copied_columns()
        .map(|column| format!("ifnull(octet_length(s.{}), 1)", quote(&column.name)))
        .collect();
    if lengths.is_empty() {
        return Ok((0, 0));
    }
    // A sum nests as deep as it is long, and SQLite goes down to 1000 levels: a sum of sums.
    let sums = lengths
        .chunks(50)
        .map(|part| format!("({})", part.join(" + ")));
    let width = sums.collect::<Vec<_>>().join(" + ");
    let sql = match file_bytes <= MEASURED_BYTES_MAX {
        true => format!("SELECT count(*), total({width}) FROM {quoted} AS s"),
        false => format!(
            "SELECT count(*), total({width}) FROM (SELECT * FROM {quoted} LIMIT {PROBED_ROWS}) AS s"
        ),
    };
    let Some(row) = session.row(&sql, args([])).await? else {
        return Ok((0, 0));
    };
    let (rows, bytes): (i64, f64) = (cell(&row, 0)?, cell(&row, 1)?);
    let rows = u64::try_from(rows).unwrap_or(0);
    // Each row and cell has a header of about a byte.
    let average = bytes / rows.max(1) as f64 + lengths.len() as f64 + 2.0;
    if file_bytes <= MEASURED_BYTES_MAX || rows < PROBED_ROWS {
        return Ok((rows, (average * rows as f64) as u64));
    }
    let by_size = (file_bytes as f64 / average) as u64;
    let rows = if file_bytes <= COUNTED_BYTES_MAX {
        let sql = format!("SELECT count(*) FROM {quoted} AS s");
        let rows = session.number(&sql, args([])).await?.unwrap_or(0);
        return Ok((
            rows.unsigned_abs(),
            (average * rows.unsigned_abs() as f64) as u64,
        ));
    } else if let Some(rows) = analysed(session, &table.name).await? {
        rows
    } else {
        rowid_span(session, table).await?.unwrap_or(by_size)
    };
    let rows = rows.min(by_size);
    Ok((rows, (average * rows as f64) as u64))
}

/// Tables of files up to this size are measured value by value,
const MEASURED_BYTES_MAX: u64 = 2 << 20;
/// and counted up to this: a count reads an index or the table's pages, but no long value.
const COUNTED_BYTES_MAX: u64 = 128 << 20;
/// Rows a larger file's tables are measured by.
const PROBED_ROWS: u64 = 500;

/// The row count ANALYZE left.
async fn analysed(session: &mut Session, table: &str) -> Result<Option<u64>> {
    let there = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'";
    if session.number(there, args([])).await? != Some(1) {
        return Ok(None);
    }
    let sql = "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = ?";
    let rows = session.number(sql, args([table])).await?;
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()))
}

async fn rowid_span(session: &mut Session, table: &TableSchema) -> Result<Option<u64>> {
    let Some(rowid) = rowid_name(table) else {
        return Ok(None);
    };
    let (quoted, rowid) = (quote(&table.name), quote(&rowid));
    let sql = format!("SELECT min(s.{rowid}) FROM {quoted} AS s");
    let first = session.number(&sql, args([])).await?;
    let sql = format!("SELECT max(s.{rowid}) FROM {quoted} AS s");
    let last = session.number(&sql, args([])).await?;
    Ok(match (first, last) {
        (Some(first), Some(last)) => Some(last.abs_diff(first).saturating_add(1)),
        _ => Some(0),
    })
}
