//! What the judge knows about tables: columns, keys, indexes and foreign keys, read from
//! information_schema and PRAGMA, in one shape for both engines.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use sqlx::Row;

use super::oracle::{Side, sqlite};

/// What a cell of a column means, by its declared type; decides how text is made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Integers and decimals: any number of digits, trailing zeros don't count.
    Number,
    /// Binary floating point: equal only if the bits are.
    Real,
    /// Characters, compared as hex of their UTF-8.
    Text,
    Bytes,
    /// A BIT(n), as a number.
    Bits,
    /// Dates and times: a fraction of zeros doesn't count.
    Time,
}

impl Kind {
    fn mysql(data_type: &str) -> Kind {
        match data_type {
            "float" | "double" => Kind::Real,
            "bit" => Kind::Bits,
            "date" | "datetime" | "timestamp" | "time" => Kind::Time,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" | "json" => Kind::Text,
            _ => Kind::Number,
        }
    }

    /// SQLite's affinity rules, with dates told apart.
    fn sqlite(declared: &str) -> Kind {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Kind::Number
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Kind::Text
        } else if has(&["DATE", "TIME"]) {
            Kind::Time
        } else if has(&["BLOB"]) || declared.is_empty() {
            Kind::Bytes
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Kind::Real
        } else {
            Kind::Number
        }
    }

    /// The one text for equal cells.
    pub fn normal(self, text: &str) -> String {
        match self {
            Kind::Text | Kind::Bytes | Kind::Bits => text.to_owned(),
            Kind::Real => match text.parse::<f64>() {
                Ok(value) => format!("{:016x}", value.to_bits()),
                Err(_) => text.to_owned(),
            },
            Kind::Number | Kind::Time => match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text.to_owned(),
            },
        }
    }
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    /// Everything the engine says about it; compared only between equal engines.
    pub exact: String,
}

/// (unique, columns)
type Index = (bool, Vec<String>);
/// (columns, referenced table, referenced columns, on delete, on update)
type ForeignKey = (Vec<String>, String, Vec<String>, String, String);

#[derive(Debug, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub primary: Vec<String>,
    pub indexes: BTreeSet<Index>,
    pub foreign_keys: BTreeSet<ForeignKey>,
}

#[derive(Debug, Default)]
pub struct Schema {
    pub tables: BTreeMap<String, Table>,
}

impl Schema {
    pub async fn read(side: &Side) -> Schema {
        match side {
            Side::Mysql(url) => read_mysql(url).await,
            Side::Sqlite(path) => read_sqlite(path).await,
        }
    }

    /// What the copy lacks or has too much, a line each.
    pub fn differences(&self, copy: &Schema, same_engine: bool) -> Vec<String> {
        let mut found = Vec::new();
        for name in copy.tables.keys() {
            if !self.tables.contains_key(name) {
                found.push(format!("{name}: only at the target"));
            }
        }
        for (name, table) in &self.tables {
            match copy.tables.get(name) {
                Some(other) => table.compare(name, other, same_engine, &mut found),
                None => found.push(format!("{name}: missing at the target")),
            }
        }
        found
    }
}

impl Table {
    fn compare(&self, name: &str, copy: &Table, same_engine: bool, found: &mut Vec<String>) {
        let lower = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.to_lowercase()).collect()
        };
        let names = |t: &Table| -> Vec<String> {
            t.columns.iter().map(|c| c.name.to_lowercase()).collect()
        };
        if names(self) != names(copy) {
            found.push(format!(
                "{name}: columns {:?}, not {:?}",
                names(copy),
                names(self)
            ));
        }
        if lower(&self.primary) != lower(&copy.primary) {
            found.push(format!(
                "{name}: primary key {:?}, not {:?}",
                copy.primary, self.primary
            ));
        }
        for (a, b) in self.columns.iter().zip(&copy.columns) {
            if same_engine && a.exact != b.exact {
                found.push(format!("{name}.{}: {}, not {}", a.name, b.exact, a.exact));
            }
            if a.nullable != b.nullable && !self.primary.contains(&a.name) {
                found.push(format!("{name}.{}: nullable {}", a.name, b.nullable));
            }
        }
        let missing: Vec<_> = self.indexes.difference(&copy.indexes).collect();
        if !missing.is_empty() {
            found.push(format!(
                "{name}: missing indexes {missing:?}, has {:?}",
                copy.indexes
            ));
        }
        // Another engine may add an index of its own for a foreign key.
        if same_engine && self.indexes.len() != copy.indexes.len() {
            found.push(format!("{name}: indexes {:?} too many", copy.indexes));
        }
        if self.foreign_keys != copy.foreign_keys {
            found.push(format!(
                "{name}: foreign keys {:?}, not {:?}",
                copy.foreign_keys, self.foreign_keys
            ));
        }
    }
}

async fn read_mysql(url: &str) -> Schema {
    let mut conn = mysql_async::Conn::from_url(url)
        .await
        .expect("the judge connects");
    let mut schema = Schema::default();
    let columns: Vec<(String, String, String, String, String)> = conn
        .query(
            "SELECT c.table_name, c.column_name, c.data_type, c.is_nullable, \
             CONCAT_WS(' ', c.column_type, c.is_nullable, COALESCE(c.column_default, '-'), c.extra, \
             COALESCE(c.collation_name, '-'), COALESCE(c.generation_expression, '-'), c.column_comment) \
             FROM information_schema.columns c JOIN information_schema.tables t \
             ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
             WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' \
             ORDER BY c.table_name, c.ordinal_position",
        )
        .await
        .expect("columns");
    for (table, name, data_type, nullable, exact) in columns {
        let table = schema.tables.entry(table).or_default();
        table.columns.push(Column {
            name,
            kind: Kind::mysql(&data_type),
            nullable: nullable == "YES",
            exact,
        });
    }
    mysql_indexes(&mut conn, &mut schema).await;
    mysql_foreign_keys(&mut conn, &mut schema).await;
    let _ = conn.disconnect().await;
    schema
}

async fn mysql_indexes(conn: &mut mysql_async::Conn, schema: &mut Schema) {
    let rows: Vec<(String, String, i64, String)> = conn
        .query(
            "SELECT table_name, index_name, non_unique, \
             GROUP_CONCAT(CONCAT(LOWER(column_name), COALESCE(CONCAT('(', sub_part, ')'), '')) \
             ORDER BY seq_in_index) FROM information_schema.statistics \
             WHERE table_schema = DATABASE() GROUP BY 1, 2, 3",
        )
        .await
        .expect("indexes");
    for (table, index, non_unique, columns) in rows {
        let columns: Vec<String> = columns.split(',').map(str::to_owned).collect();
        let Some(table) = schema.tables.get_mut(&table) else {
            continue;
        };
        if index == "PRIMARY" {
            table.primary = columns;
        } else {
            table.indexes.insert((non_unique == 0, columns));
        }
    }
}

async fn mysql_foreign_keys(conn: &mut mysql_async::Conn, schema: &mut Schema) {
    let rows: Vec<(String, String, String, String, String, String)> = conn
        .query(
            "SELECT k.table_name, GROUP_CONCAT(LOWER(k.column_name) ORDER BY k.ordinal_position), \
             LOWER(k.referenced_table_name), \
             GROUP_CONCAT(LOWER(k.referenced_column_name) ORDER BY k.ordinal_position), \
             r.delete_rule, r.update_rule \
             FROM information_schema.key_column_usage k \
             JOIN information_schema.referential_constraints r \
             ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name \
             AND r.table_name = k.table_name \
             WHERE k.table_schema = DATABASE() AND k.referenced_table_name IS NOT NULL \
             GROUP BY k.table_name, k.constraint_name",
        )
        .await
        .expect("foreign keys");
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    for (table, columns, other, other_columns, delete, update) in rows {
        let key = (
            list(&columns),
            other,
            list(&other_columns),
            rule(&delete),
            rule(&update),
        );
        if let Some(table) = schema.tables.get_mut(&table) {
            table.foreign_keys.insert(key);
        }
    }
}

/// RESTRICT and NO ACTION are one thing in InnoDB and, for us, in SQLite.
fn rule(text: &str) -> String {
    text.replace("NO ACTION", "RESTRICT")
}

async fn read_sqlite(path: &str) -> Schema {
    let mut conn = sqlite(path).await;
    let mut schema = Schema::default();
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let names: Vec<String> = sqlx::query_scalar(names)
        .fetch_all(&mut conn)
        .await
        .expect("tables");
    for name in names {
        let table = sqlite_table(&mut conn, &name).await;
        schema.tables.insert(name, table);
    }
    schema
}

/// The rows of one PRAGMA.
async fn pragma(
    conn: &mut sqlx::SqliteConnection,
    what: &str,
    of: &str,
) -> Vec<sqlx::sqlite::SqliteRow> {
    let query = format!("SELECT * FROM pragma_{what}('{of}')");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(conn)
        .await
        .unwrap_or_else(|error| panic!("{what} of {of}: {error}"))
}

async fn sqlite_table(conn: &mut sqlx::SqliteConnection, name: &str) -> Table {
    let mut table = Table::default();
    let mut primary = BTreeMap::new();
    for row in pragma(conn, "table_info", name).await {
        let (column, declared): (String, String) = (row.get("name"), row.get("type"));
        let (not_null, pk): (bool, i64) = (row.get("notnull"), row.get("pk"));
        let default: Option<String> = row.get("dflt_value");
        if pk > 0 {
            primary.insert(pk, column.to_lowercase());
        }
        table.columns.push(Column {
            kind: Kind::sqlite(&declared),
            nullable: !not_null,
            exact: format!("{declared} {not_null} {}", default.unwrap_or_default()),
            name: column,
        });
    }
    table.primary = primary.into_values().collect();
    for row in pragma(conn, "index_list", name).await {
        let (index, unique, origin): (String, bool, String) =
            (row.get("name"), row.get("unique"), row.get("origin"));
        if origin != "pk" {
            let parts = pragma(conn, "index_info", &index).await;
            let columns = parts
                .iter()
                .map(|part| part.get::<String, _>("name").to_lowercase());
            table.indexes.insert((unique, columns.collect()));
        }
    }
    let mut keys: BTreeMap<i64, ForeignKey> = BTreeMap::new();
    for row in pragma(conn, "foreign_key_list", name).await {
        let key = keys.entry(row.get("id")).or_default();
        let from: String = row.get("from");
        let to: Option<String> = row.get("to");
        key.0.push(from.to_lowercase());
        key.1 = row.get::<String, _>("table").to_lowercase();
        key.2
            .push(to.unwrap_or_else(|| from.clone()).to_lowercase());
        key.3 = rule(row.get::<&str, _>("on_delete"));
        key.4 = rule(row.get::<&str, _>("on_update"));
    }
    table.foreign_keys = keys.into_values().collect();
    table
}
