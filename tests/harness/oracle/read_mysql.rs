//! The judge's reader of MariaDB and MySQL: each cell by an expression of its type. Text as UTF-8, bytes as hex: no character set is in the way.

use mysql_async::prelude::Queryable;

use super::meaning::{Cell, Meaning};
use super::values::{Column, Row, Table, View};
use crate::harness::lab::{Database, mysql};

pub fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub async fn tables(database: &Database) -> Vec<Table> {
    let mut conn = mysql(&database.url).await;
    let columns: Vec<(String, String, String, String)> = conn
        .query(
            "SELECT c.table_name, c.column_name, c.data_type, c.column_type \
             FROM information_schema.columns c JOIN information_schema.tables t \
             ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
             WHERE c.table_schema = DATABASE() AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') \
             ORDER BY BINARY c.table_name, c.ordinal_position",
        )
        .await
        .expect("columns");
    let _ = conn.disconnect().await;
    let mut tables: Vec<Table> = Vec::new();
    for (table, name, data_type, declared) in columns {
        if tables.last().is_none_or(|last| last.name != table) {
            tables.push(Table {
                from: ticked(&table),
                name: table,
                columns: Vec::new(),
            });
        }
        if let Some(table) = tables.last_mut() {
            table.columns.push(Column {
                name,
                meaning: meaning(&data_type),
                declared,
            });
        }
    }
    tables
}

fn meaning(data_type: &str) -> Meaning {
    match data_type {
        "float" | "double" => Meaning::Real,
        "bit" => Meaning::Bits,
        "date" | "datetime" | "timestamp" => Meaning::Moment,
        "time" => Meaning::Time,
        "json" => Meaning::Json,
        "uuid" => Meaning::Uuid,
        "inet4" | "inet6" => Meaning::Inet,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            Meaning::Text
        }
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
            Meaning::Number
        }
        _ => Meaning::Bytes,
    }
}

/// Text as UTF-8, bytes as hex, so that no charset is in the way; a FLOAT as the double it is; an
/// enumeration with its index where the view is exact (an invalid value is '' at index 0).
fn expression(column: &Column, view: View) -> String {
    let name = ticked(&column.name);
    match column.meaning {
        Meaning::Text if view == View::Exact && column.declared.starts_with("enum") => {
            format!("CONCAT({name} + 0, ' ', CONVERT({name} USING utf8mb4))")
        }
        Meaning::Text => format!("CONVERT({name} USING utf8mb4)"),
        Meaning::Bytes => format!("HEX({name})"),
        // In the binary protocol: MySQL's CAST to characters drops digits of long numbers.
        Meaning::Real => name,
        Meaning::Bits => format!("CAST({name} + 0 AS CHAR)"),
        _ => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
    }
}

pub async fn rows(database: &Database, table: &Table, view: View) -> Vec<Row> {
    let list: Vec<String> = table.columns.iter().map(|c| expression(c, view)).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), table.from);
    let mut conn = mysql(&database.url).await;
    let rows: Vec<mysql_async::Row> = match conn.exec(&query, ()).await {
        Ok(rows) => rows,
        Err(error) => panic!("the judge reads {}: {error}", table.name),
    };
    let _ = conn.disconnect().await;
    rows.into_iter().map(|row| cells(row, table)).collect()
}

fn cells(row: mysql_async::Row, table: &Table) -> Row {
    let values = row.unwrap().into_iter().zip(&table.columns);
    let cells = values.map(|(value, column)| match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Double(value) => Some(Cell::new("", format!("{value:e}"))),
        mysql_async::Value::Float(value) => Some(Cell::new("", format!("{:e}", f64::from(value)))),
        mysql_async::Value::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Some(Cell::new("", text)),
            Err(_) => panic!("{}.{} isn't UTF-8", table.name, column.name),
        },
        other => panic!("{}.{} is read as {other:?}", table.name, column.name),
    });
    cells.collect()
}
