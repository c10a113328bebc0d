//! Cuts a table by its key: a sample of its pages is sorted by the server and cut into equal
//! parts. Bounds are literals made and compared only by the server, under the column's own order:
//! a client's idea of order has lost rows elsewhere.

use common::limits;
use common::schema::{KeyBound, KeySample, Member, TableSchema};

use super::quote::{ident, idents, qualified, text};
use super::session::{Host, Session, TextRow};
use crate::connector::Result;

/// Rows of the sample for each bucket.
const ROWS_PER_BUCKET: f64 = 60.0;
const SAMPLE_ROWS_MIN: f64 = 10_000.0;
const SAMPLE_ROWS_MAX: f64 = 400_000.0;

/// About `buckets - 1` ascending bounds; none if the table has no key to cut by.
pub async fn sample(
    session: &mut Session,
    host: &Host,
    table: &TableSchema,
    buckets: u32,
) -> Result<KeySample> {
    let Some(columns) = key(session, host, table).await? else {
        return Ok(KeySample::default());
    };
    if buckets < 2 {
        return Ok(KeySample::default());
    }
    let rows = (table.rows_estimate as f64).max(1.0);
    let wanted = f64::from(buckets) * ROWS_PER_BUCKET;
    let mut percent = wanted.clamp(SAMPLE_ROWS_MIN, SAMPLE_ROWS_MAX) / rows * 100.0;
    loop {
        percent = percent.clamp(0.000_1, 100.0);
        let sql = statement(host, table, &columns, buckets, percent);
        let rows = session
            .rows_within(&sql, limits::TRANSFER_DEADLINE_MS)
            .await?;
        // The estimate was too high, or the pages drawn were empty.
        if rows.len() < buckets as usize / 2 && percent < 100.0 {
            percent *= 10.0;
            continue;
        }
        let literals = |row: TextRow| row.into_iter().collect::<Option<Vec<String>>>();
        let bounds = rows.into_iter().filter_map(literals).map(KeyBound);
        let mut bounds: Vec<KeyBound> = bounds.collect();
        // A prefix of the key need not be unique.
        bounds.dedup();
        return Ok(KeySample { columns, bounds });
    }
}

/// Every n-th key of a sample, as literals: quoted by the server, so that nothing in them is read
/// here, and untyped, so that they take the column's type where they are compared.
fn statement(
    host: &Host,
    table: &TableSchema,
    columns: &[String],
    buckets: u32,
    percent: f64,
) -> String {
    let literals: Vec<String> = (0..columns.len())
        .map(|at| format!("format('%L', k{at})"))
        .collect();
    let keys: Vec<String> = (0..)
        .zip(columns)
        .map(|(at, name)| format!("{} AS k{at}", ident(name)))
        .collect();
    let only = match table.member {
        Some(Member::Root) => "",
        _ => "ONLY ",
    };
    format!(
        "SELECT {} FROM (SELECT {}, row_number() OVER (ORDER BY {}) AS at, count(*) OVER () AS n \
         FROM {only}{} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)) AS drawn \
         WHERE at > 1 AND (at - 1) * {buckets} / n <> (at - 2) * {buckets} / n ORDER BY at",
        literals.join(", "),
        keys.join(", "),
        idents(columns.iter().map(String::as_str)),
        qualified(host.schema_of(table.schema.as_deref()), &table.name)
    )
}

/// The primary key, else a unique index over columns that can't be NULL, whole and checked at
/// once; cut off before the first column whose type isn't compared by the server's own operators:
/// those of an extension (citext) are found by name only where the search path leads to them.
async fn key(
    session: &mut Session,
    host: &Host,
    table: &TableSchema,
) -> Result<Option<Vec<String>>> {
    let sql = format!(
        "SELECT i.indexrelid::text, a.attname, a.attnotnull::text, (t.typtype IN ('e', 'r', 'm') \
           OR (t.typnamespace = 'pg_catalog'::regnamespace AND t.typname <> 'money' \
               AND t.typtype = 'b'))::text \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
         JOIN pg_type d ON d.oid = a.atttypid \
         LEFT JOIN pg_type b ON b.oid = nullif(d.typbasetype, 0) \
         JOIN pg_type e ON e.oid = coalesce(b.oid, d.oid) \
         JOIN pg_type t ON t.oid = CASE WHEN e.typcategory = 'A' AND e.typelem <> 0 \
           THEN e.typelem ELSE e.oid END \
         WHERE n.nspname = {} AND c.relname = {} AND i.indisunique AND i.indimmediate \
           AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
           AND k.place <= i.indnkeyatts \
         ORDER BY NOT i.indisprimary, i.indexrelid, k.place",
        text(host.schema_of(table.schema.as_deref())),
        text(&table.name)
    );
    let rows = session.rows(&sql).await?;
    let cell = |row: &TextRow, at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    for index in rows.chunk_by(|one, other| one.first() == other.first()) {
        if index.iter().any(|row| cell(row, 2) != "true") {
            continue;
        }
        let usable = index.iter().take_while(|row| cell(row, 3) == "true");
        let columns: Vec<String> = usable.map(|row| cell(row, 1)).collect();
        if !columns.is_empty() {
            return Ok(Some(columns));
        }
    }
    Ok(None)
}
