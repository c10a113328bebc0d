//! Compares two databases by the servers' own words, with no code of the connector: the rows of
//! every table as sorted lines of hexadecimal cells, and every definition as SHOW CREATE has it.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

async fn texts(conn: &mut Conn, sql: &str) -> Vec<Vec<String>> {
    let rows: Vec<Row> = conn
        .query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let cell = |value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::NULL => "NULL".to_owned(),
        other => other.as_sql(true),
    };
    rows.into_iter()
        .map(|row| row.unwrap().into_iter().map(cell).collect())
        .collect()
}

/// The columns of each table, with their types.
pub async fn tables(conn: &mut Conn, database: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let sql = format!(
        "SELECT c.table_name, c.column_name, LOWER(c.data_type) FROM information_schema.columns c \
         JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = \
         c.table_name WHERE t.table_schema = '{}' AND t.table_type IN ('BASE TABLE', \
         'SYSTEM VERSIONED') AND t.table_name NOT LIKE 'sterna\\_%' ORDER BY 1, ordinal_position",
        database.replace('\'', "''").replace('\\', "\\\\")
    );
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in texts(conn, &sql).await {
        let [table, column, kind] = row.try_into().expect("three cells");
        tables.entry(table).or_default().push((column, kind));
    }
    tables
}

/// Every row of a table as a line, sorted.
pub async fn rows(
    conn: &mut Conn,
    database: &str,
    table: &str,
    columns: &[(String, String)],
) -> Vec<String> {
    let hex = |(name, kind): &(String, String)| {
        let name = ident(name);
        let value = match kind.as_str() {
            // As it comes: made a text by the server, MySQL cuts it at 22 characters.
            "float" | "double" => return format!("{name} * 1e0"),
            "enum" | "set" => format!("CONCAT(CAST({name} AS UNSIGNED), ' ', {name})"),
            "bit" => format!("CONCAT({name} + 0)"),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "date"
            | "time" | "datetime" | "timestamp" | "year" | "json" | "uuid" | "inet4" | "inet6" => {
                format!("CONCAT({name})")
            }
            _ => name,
        };
        format!("HEX({value})")
    };
    // In parts: CONCAT_WS over a thousand columns of a wide row has limits of its own.
    let list: Vec<String> = columns.iter().map(hex).collect();
    let sql = format!(
        "SELECT {} FROM {}.{}",
        list.join(", "),
        ident(database),
        ident(table)
    );
    let mut rows: Vec<String> = texts(conn, &sql)
        .await
        .into_iter()
        .map(|row| row.join("|"))
        .collect();
    rows.sort();
    rows
}

/// Every definition of a database, by kind and name, as lines.
pub async fn definitions(
    conn: &mut Conn,
    database: &str,
) -> BTreeMap<(String, String), Vec<String>> {
    conn.query_drop(format!("USE {}", ident(database)))
        .await
        .expect("used");
    let mut found = BTreeMap::new();
    for (kind, list, cells) in [
        (
            "TABLE",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND \
             table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_name NOT LIKE 'sterna\\_%'",
            &[1][..],
        ),
        (
            "SEQUENCE",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND \
             table_type = 'SEQUENCE'",
            &[1],
        ),
        (
            "VIEW",
            "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()",
            &[1, 2, 3],
        ),
        (
            "TRIGGER",
            "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
            &[1, 2, 3, 4],
        ),
        (
            "FUNCTION",
            "SELECT routine_name FROM information_schema.routines WHERE routine_schema = \
             DATABASE() AND routine_type = 'FUNCTION'",
            &[1, 2, 3, 4],
        ),
        (
            "PROCEDURE",
            "SELECT routine_name FROM information_schema.routines WHERE routine_schema = \
             DATABASE() AND routine_type = 'PROCEDURE'",
            &[1, 2, 3, 4],
        ),
        (
            "EVENT",
            "SELECT event_name FROM information_schema.events WHERE event_schema = DATABASE()",
            &[1, 2, 3, 4, 5],
        ),
    ] {
        for name in texts(conn, list).await.into_iter().flatten() {
            let shown = texts(conn, &format!("SHOW CREATE {kind} {}", ident(&name))).await;
            let row = shown.into_iter().next().expect("one row");
            let mut lines: Vec<String> = cells
                .iter()
                .flat_map(|at| row[*at].lines().map(str::to_owned).collect::<Vec<_>>())
                .map(|line| without_implied_charset(line.trim_end_matches(',')))
                .collect();
            if kind == "TABLE" {
                // Indexes come after the data, in another order maybe.
                lines.sort();
            }
            found.insert((kind.to_owned(), name), lines);
        }
    }
    found
}

/// MySQL writes the character set before a collation only if the column was made with one of them
/// written out, which its own dump does: `COLLATE latin1_bin` says both.
fn without_implied_charset(line: &str) -> String {
    let Some((before, rest)) = line.split_once(" CHARACTER SET ") else {
        return line.to_owned();
    };
    match rest.split_once(" COLLATE ") {
        Some((charset, after)) if after.starts_with(&format!("{charset}_")) => {
            format!("{before} COLLATE {after}")
        }
        _ => line.to_owned(),
    }
}

/// What differs between two databases' definitions, a line each.
pub fn differences(
    one: &BTreeMap<(String, String), Vec<String>>,
    other: &BTreeMap<(String, String), Vec<String>>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for key in one
        .keys()
        .chain(other.keys().filter(|key| !one.contains_key(*key)))
    {
        let lines = |side: &BTreeMap<_, Vec<String>>| side.get(key).cloned().unwrap_or_default();
        let (before, after) = (lines(one), lines(other));
        for line in before.iter().filter(|line| !after.contains(line)) {
            differences.push(format!("{} {}: - {line}", key.0, key.1));
        }
        for line in after.iter().filter(|line| !before.contains(line)) {
            differences.push(format!("{} {}: + {line}", key.0, key.1));
        }
        if before.len() != after.len() {
            differences.push(format!("{} {}: other lines", key.0, key.1));
        }
    }
    differences
}
