//! The judge's reader of PostgreSQL: each cell as the server prints it, bytes as hex.

use sqlx::{Connection, Row as _};

use super::meaning::{Cell, Meaning};
use super::values::{Column, Row, Table, View};
use crate::harness::lab::Database;

const SESSION: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
                       SET extra_float_digits = 3; SET bytea_output = 'hex'; SET search_path = ''";

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn session(database: &Database) -> sqlx::PgConnection {
    let mut conn = database.pg().await;
    sqlx::raw_sql(SESSION)
        .execute(&mut conn)
        .await
        .expect("a session");
    conn
}

/// Ordinary tables and filled materialised views; for their meaning, partitioned tables as a whole
/// instead of their partitions.
pub async fn tables(database: &Database, view: View) -> Vec<Table> {
    let kinds = match view {
        View::Exact => "c.relkind = 'r' OR (c.relkind = 'm' AND c.relispopulated)",
        View::Meaning => "c.relkind IN ('r', 'p') AND NOT c.relispartition",
    };
    let query = format!(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, \
         a.attname::text AS column, pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared, \
         coalesce(b.typname, t.typname)::text AS base, coalesce(b.typtype, t.typtype)::text AS typtype \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd' \
         WHERE ({kinds}) AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
         ORDER BY 1, 2, a.attnum"
    );
    let mut conn = session(database).await;
    let found = sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut conn)
        .await;
    let found = found.expect("columns");
    let _ = conn.close().await;
    let mut tables: Vec<Table> = Vec::new();
    for row in &found {
        let (schema, name): (String, String) = (row.get("schema"), row.get("name"));
        let full = match schema == default_schema(database) {
            true => name.clone(),
            false => format!("{schema}.{name}"),
        };
        if tables.last().is_none_or(|last| last.name != full) {
            let only = if row.get::<&str, _>("kind") == "r" {
                "ONLY "
            } else {
                ""
            };
            tables.push(Table {
                from: format!("{only}{}.{}", quoted(&schema), quoted(&name)),
                name: full,
                columns: Vec::new(),
            });
        }
        let Some(column) = row.get::<Option<String>, _>("column") else {
            continue;
        };
        let base: String = row.get("base");
        if let Some(table) = tables.last_mut() {
            table.columns.push(Column {
                name: column,
                meaning: meaning(&base),
                declared: row.get("declared"),
            });
        }
    }
    tables
}

/// As `?schema=` of the URL says.
fn default_schema(database: &Database) -> &str {
    let schema = database.url.split("schema=").nth(1);
    schema.map_or("public", |rest| rest.split('&').next().unwrap_or(rest))
}

fn meaning(base: &str) -> Meaning {
    match base {
        "bool" => Meaning::Bool,
        "int2" | "int4" | "int8" | "oid" | "numeric" | "money" => Meaning::Number,
        "float4" | "float8" => Meaning::Real,
        "bytea" => Meaning::Bytes,
        "date" | "timestamp" | "timestamptz" => Meaning::Moment,
        "time" | "interval" => Meaning::Time,
        "json" | "jsonb" => Meaning::Json,
        "uuid" => Meaning::Uuid,
        "inet" | "cidr" => Meaning::Inet,
        "bit" => Meaning::Bits,
        _ => Meaning::Text,
    }
}

fn expression(column: &Column, view: View) -> String {
    let name = quoted(&column.name);
    match column.meaning {
        // Lossless: a real is a double, and its shortest text as a real isn't that double's.
        Meaning::Real => format!("({name}::float8)::text"),
        Meaning::Bytes => format!("upper(encode({name}, 'hex'))"),
        Meaning::Number if column.declared == "money" && view == View::Meaning => {
            format!("({name}::numeric)::text")
        }
        Meaning::Bits if view == View::Meaning => match column.declared.as_str() {
            // A bit string as an unsigned number; beyond 64 bits as its digits.
            declared if width(declared) <= 64 => format!(
                "(CASE WHEN get_bit(lpad({name}::text, 64, '0')::bit(64), 0) = 1 \
                 THEN 18446744073709551616 ELSE 0 END \
                 + lpad({name}::text, 64, '0')::bit(64)::int8)::text"
            ),
            _ => format!("{name}::text"),
        },
        _ => format!("{name}::text"),
    }
}

/// n of `bit(n)`.
fn width(declared: &str) -> u32 {
    let inner = declared.trim_start_matches("bit(").trim_end_matches(')');
    inner.parse().unwrap_or(1)
}

pub async fn rows(database: &Database, table: &Table, view: View) -> Vec<Row> {
    let list: Vec<String> = table.columns.iter().map(|c| expression(c, view)).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), table.from);
    let mut conn = session(database).await;
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut conn)
        .await;
    let rows = rows.unwrap_or_else(|error| panic!("the judge reads {}: {error}", table.name));
    let _ = conn.close().await;
    let cells = |row: &sqlx::postgres::PgRow| -> Row {
        (0..table.columns.len())
            .map(|i| {
                row.get::<Option<String>, _>(i)
                    .map(|text| Cell::new("", text))
            })
            .collect()
    };
    rows.iter().map(cells).collect()
}
