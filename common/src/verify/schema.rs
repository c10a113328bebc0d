//! What the target's schema has otherwise than planned.
//!
//! So far a subset: missing tables, columns by presence, primary keys, and missing indexes and
//! foreign keys by their columns. Not looked at yet: types, nullability, collations, defaults,
//! checks, generated expressions, foreign keys' actions, prefixes and directions of indexes,
//! indexes of an engine's own kind, extra indexes, sequences, objects. An empty answer therefore
//! doesn't say that the schemas are equal.

use crate::schema::{EndpointFacts, Engine, ForeignKey, Index, SchemaObject, TableSchema, There};
use crate::verify::SchemaDifference;

/// What `there` lacks, or has beyond `expected`, the tables as the plan would make them at the
/// target. Tables that aren't expected are somebody else's and are left alone.
pub fn differences(
    _source: &EndpointFacts,
    target: &EndpointFacts,
    expected: &[TableSchema],
    _expected_objects: &[SchemaObject],
    there: &There,
) -> Vec<SchemaDifference> {
    let engine = target.engine;
    let mut found = Vec::new();
    for table in expected {
        let same = |other: &&TableSchema| {
            other.schema == table.schema && same_name(engine, &other.name, &table.name)
        };
        match there.tables.iter().find(same) {
            Some(other) => compare(engine, table, other, &mut found),
            None => found.push(missing(table, "table", &table.name, "a table")),
        }
    }
    found
}

fn compare(
    engine: Engine,
    table: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    let has = |in_table: &TableSchema, name: &str| {
        let mut names = in_table.columns.iter().map(|column| &column.name);
        names.any(|known| same_name(engine, known, name))
    };
    for column in &table.columns {
        if !has(other, &column.name) && !column.is_hidden_rowid() {
            found.push(missing(table, "column", &column.name, &column.native_type));
        }
    }
    for column in &other.columns {
        if !has(table, &column.name) && !column.is_hidden_rowid() {
            let mut extra = missing(table, "column", &column.name, "");
            extra.expected = None;
            extra.found = Some(column.native_type.clone());
            found.push(extra);
        }
    }
    if !same_names(engine, &table.primary_key, &other.primary_key) {
        let mut key = missing(table, "primary_key", "", "");
        key.expected = shown(&table.primary_key);
        key.found = shown(&other.primary_key);
        found.push(key);
    }
    for index in table.indexes.iter().filter(|index| index.native.is_none()) {
        if !has_index(engine, other, index) {
            let columns = column_names(index).join(", ");
            found.push(missing(table, "index", &index.name, &columns));
        }
    }
    for key in &table.foreign_keys {
        let same = |known: &ForeignKey| {
            same_names(engine, &known.columns, &key.columns)
                && same_name(engine, &known.references_table, &key.references_table)
        };
        if !other.foreign_keys.iter().any(same) {
            let text = format!("{} -> {}", key.columns.join(", "), key.references_table);
            found.push(missing(table, "foreign_key", &key.name, &text));
        }
    }
}

/// A primary key over the same columns serves as well; so does a unique index for a plain one.
fn has_index(engine: Engine, table: &TableSchema, index: &Index) -> bool {
    let columns = column_names(index);
    let serves = |known: &Index| {
        (known.unique || !index.unique) && same_names(engine, &column_names(known), &columns)
    };
    table.indexes.iter().any(serves) || same_names(engine, &table.primary_key, &columns)
}

fn column_names(index: &Index) -> Vec<String> {
    let columns = index.columns.iter();
    columns.map(|column| column.name.clone()).collect()
}

fn missing(table: &TableSchema, kind: &str, name: &str, expected: &str) -> SchemaDifference {
    SchemaDifference {
        object: table.full_name(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        expected: Some(expected.to_owned()),
        found: None,
    }
}

fn shown(columns: &[String]) -> Option<String> {
    (!columns.is_empty()).then(|| columns.join(", "))
}

fn same_names(engine: Engine, left: &[String], right: &[String]) -> bool {
    let mut pairs = left.iter().zip(right);
    left.len() == right.len() && pairs.all(|(left, right)| same_name(engine, left, right))
}

/// MySQL may keep names in lower case, and SQLite doesn't tell cases apart.
fn same_name(engine: Engine, left: &str, right: &str) -> bool {
    match engine {
        Engine::Postgres => left == right,
        Engine::Mysql | Engine::Sqlite => left.to_lowercase() == right.to_lowercase(),
    }
}
