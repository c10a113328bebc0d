//! Cuts a table by its key. Bounds are literals made here and compared only by the server, under
//! the column's own collation: a client's idea of order has lost rows elsewhere.
//!
//! Integer keys are bisected with the optimizer's row estimates, which read a few index pages;
//! other keys are stepped through, each step starting after the bound before it.

use common::code::Code;
use common::schema::{CanonicalType, Column, KeyBound, KeyRange, KeySample, TableSchema};

use super::quote::{database_of, ident, table_name, text};
use super::reader::condition;
use super::session::{Session, TextRow};
use super::types::{Kind, kind};
use crate::connector::{Error, Result};

/// Bounds more than asked for, in a table whose estimate was too low.
const EXCESS: u32 = 4;

/// A key that orders the table.
struct Key {
    /// Name of the index.
    index: String,
    columns: Vec<Column>,
}

/// About `buckets - 1` ascending bounds; none if the table has no key to cut by.
pub async fn sample(
    session: &mut Session,
    database: &str,
    table: &TableSchema,
    buckets: u32,
) -> Result<KeySample> {
    let Some(key) = key(session, database, table).await? else {
        return Ok(KeySample::default());
    };
    if buckets < 2 {
        return Ok(KeySample::default());
    }
    let from = format!(
        "{} FORCE INDEX ({})",
        table_name(database, table),
        ident(&key.index)
    );
    if is_integer(&key.columns[0]) {
        let bounds = bisect(session, &from, &key.columns[0], buckets).await?;
        // A first column of few values (a tenant) can't be cut further: then the whole key is.
        if key.columns.len() == 1 || bounds.len() as u32 >= buckets / 2 {
            return Ok(KeySample {
                columns: vec![key.columns[0].name.clone()],
                bounds,
            });
        }
    }
    let step = (table.rows_estimate / u64::from(buckets)).max(1);
    let bounds = steps(session, &from, &key, step, buckets.saturating_mul(EXCESS)).await?;
    Ok(KeySample {
        columns: key.columns.into_iter().map(|column| column.name).collect(),
        bounds,
    })
}

/// The primary key, else a unique key over columns that can't be NULL; cut off before the first
/// column whose order isn't that of its literals, or of which only a prefix is indexed.
async fn key(session: &mut Session, database: &str, table: &TableSchema) -> Result<Option<Key>> {
    let sql = format!(
        "SELECT index_name, column_name, sub_part, nullable FROM information_schema.statistics \
         WHERE table_schema = {} AND table_name = {} AND non_unique = 0 \
         ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index",
        text(database_of(database, table)),
        text(&table.name)
    );
    let rows = session.rows(&sql).await?;
    let cell = |row: &TextRow, at: usize| row.get(at).cloned().flatten();
    let mut indexes: Vec<(String, Vec<&TextRow>)> = Vec::new();
    for row in &rows {
        let name = cell(row, 0).unwrap_or_default();
        match indexes.last_mut().filter(|(last, _)| *last == name) {
            Some((_, parts)) => parts.push(row),
            None => indexes.push((name, vec![row])),
        }
    }
    for (index, parts) in indexes {
        if parts
            .iter()
            .any(|row| cell(row, 3).as_deref() == Some("YES"))
        {
            continue;
        }
        let usable = parts.iter().map_while(|row| {
            let column = table.column(&cell(row, 1)?)?;
            (cell(row, 2).is_none() && is_ordered(column)).then(|| column.clone())
        });
        let columns: Vec<Column> = usable.collect();
        if !columns.is_empty() {
            return Ok(Some(Key { index, columns }));
        }
    }
    Ok(None)
}

fn is_integer(column: &Column) -> bool {
    matches!(column.canonical, CanonicalType::Int { .. })
}

/// An ENUM is ordered by number and compared as text; a FLOAT's literal is not its value.
fn is_ordered(column: &Column) -> bool {
    !matches!(
        column.canonical,
        CanonicalType::Enum { .. }
            | CanonicalType::Set { .. }
            | CanonicalType::Float32
            | CanonicalType::Float64
            | CanonicalType::Json
            | CanonicalType::Any
    )
}

/// A stretch of an integer key that is to become `buckets` buckets.
struct Stretch {
    from: i128,
    until: i128,
    /// Where its first bucket begins: `from`, or further down over a stretch that is all but empty.
    start: i128,
    buckets: u32,
}

impl Stretch {
    /// Its halves, by the estimated rows of each. A half that isn't worth a bucket gets none: its
    /// rows fall to the bucket beside it.
    fn halves(&self, middle: i128, left: u64, right: u64) -> (Option<Stretch>, Option<Stretch>) {
        let both = (left + right).max(1);
        let share = (u64::from(self.buckets) * left + both / 2) / both;
        let share = (share as u32).min(self.buckets);
        let lower = (share > 0).then_some(Stretch {
            until: middle,
            buckets: share,
            ..*self
        });
        let upper = (share < self.buckets).then_some(Stretch {
            from: middle,
            until: self.until,
            start: if share == 0 { self.start } else { middle },
            buckets: self.buckets - share,
        });
        (lower, upper)
    }
}

async fn bisect(
    session: &mut Session,
    from: &str,
    column: &Column,
    buckets: u32,
) -> Result<Vec<KeyBound>> {
    let name = ident(&column.name);
    let sql = format!("SELECT MIN({name}), MAX({name}) FROM {from}");
    let row = session.row(&sql).await?.unwrap_or_default();
    let number = |at: usize| row.get(at)?.as_deref()?.parse::<i128>().ok();
    let (Some(min), Some(max)) = (number(0), number(1)) else {
        return Ok(Vec::new());
    };
    let mut bounds = Vec::new();
    let mut stack = vec![Stretch {
        from: min,
        until: max + 1,
        start: min,
        buckets,
    }];
    // The lower half is on top of the stack: bounds come out in order.
    while let Some(stretch) = stack.pop() {
        let middle = stretch.from + (stretch.until - stretch.from) / 2;
        if stretch.buckets < 2 || middle == stretch.from {
            if stretch.start > min {
                bounds.push(KeyBound(vec![stretch.start.to_string()]));
            }
            continue;
        }
        let left = estimate(session, from, column, stretch.from, middle).await?;
        let right = estimate(session, from, column, middle, stretch.until).await?;
        let (lower, upper) = stretch.halves(middle, left, right);
        stack.extend(upper);
        stack.extend(lower);
    }
    Ok(bounds)
}

/// The optimizer's guess of the rows in a range.
async fn estimate(
    session: &mut Session,
    from: &str,
    column: &Column,
    low: i128,
    until: i128,
) -> Result<u64> {
    let name = ident(&column.name);
    let sql = format!(
        "EXPLAIN FORMAT=TRADITIONAL SELECT {name} FROM {from} WHERE {name} >= {low} AND {name} < {until}"
    );
    let row = session.row(&sql).await?.unwrap_or_default();
    // MySQL has a column `partitions` before it.
    let at = if session.facts.mariadb { 8 } else { 9 };
    let rows = row.get(at).and_then(|cell| cell.as_deref()?.parse().ok());
    Ok(rows.unwrap_or(0))
}

async fn steps(
    session: &mut Session,
    from: &str,
    key: &Key,
    step: u64,
    bounds_max: u32,
) -> Result<Vec<KeyBound>> {
    let names: Vec<String> = key.columns.iter().map(|c| c.name.clone()).collect();
    let order: Vec<String> = names.iter().map(|name| ident(name)).collect();
    let list: Vec<String> = key.columns.iter().map(shown).collect();
    let mut bounds: Vec<KeyBound> = Vec::new();
    while (bounds.len() as u32) < bounds_max {
        let after = match bounds.last() {
            None => String::new(),
            Some(last) => format!("WHERE {} ", after(&names, last)),
        };
        let sql = format!(
            "SELECT {} FROM {from} {after}ORDER BY {} LIMIT 1 OFFSET {}",
            list.join(", "),
            order.join(", "),
            step - u64::from(!bounds.is_empty() && step > 0)
        );
        let Some(row) = session.row(&sql).await? else {
            break;
        };
        let literals: Option<Vec<String>> = key
            .columns
            .iter()
            .zip(row)
            .map(|(column, cell)| Some(literal(column, &cell?)))
            .collect();
        let Some(literals) = literals else {
            let what = format!("the key {} holds NULL", key.index);
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        bounds.push(KeyBound(literals));
    }
    Ok(bounds)
}

/// `key > bound`, strictly: not below the bound's range and not equal to it.
fn after(names: &[String], bound: &KeyBound) -> String {
    let range = KeyRange {
        from: Some(bound.clone()),
        until: None,
    };
    let not_below = condition(names, &range).unwrap_or_default();
    let equal: Vec<String> = names
        .iter()
        .zip(&bound.0)
        .map(|(name, value)| format!("{} = {value}", ident(name)))
        .collect();
    format!("({not_below}) AND NOT ({})", equal.join(" AND "))
}

/// How a key column is selected for [`literal`].
fn shown(column: &Column) -> String {
    let name = ident(&column.name);
    match kind(&column.native_type) {
        Kind::Text | Kind::Binary | Kind::Json => format!("HEX({name})"),
        Kind::Bit => format!("CAST({name} AS UNSIGNED)"),
        Kind::Integer
        | Kind::Number
        | Kind::Float
        | Kind::Moment
        | Kind::Member
        | Kind::Address => name,
    }
}

/// The literal of a key column's value.
fn literal(column: &Column, cell: &str) -> String {
    match kind(&column.native_type) {
        Kind::Text | Kind::Binary | Kind::Json => {
            let charset = column.charset.as_deref().unwrap_or("binary");
            format!("_{charset} X'{cell}'")
        }
        Kind::Moment if !matches!(column.canonical, CanonicalType::Year) => format!("'{cell}'"),
        Kind::Address => format!("'{cell}'"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_half_costs_no_bucket() {
        let stretch = Stretch {
            from: 0,
            until: 100,
            start: 0,
            buckets: 8,
        };
        let (lower, upper) = stretch.halves(50, 1, 20_000);
        let upper = upper.expect("the rows are there");
        assert!(lower.is_none());
        assert_eq!((upper.from, upper.start, upper.buckets), (50, 0, 8));
        let (lower, upper) = stretch.halves(50, 10_000, 10_000);
        let shares = [lower, upper].map(|half| half.map(|half| (half.start, half.buckets)));
        assert_eq!(shares, [Some((0, 4)), Some((50, 4))]);
    }
}
