//! The text that makes a table again on PostgreSQL, as `pg_dump` would: partitions are made as
//! tables of their own and attached, so that the order of their columns survives. Several
//! statements in one text, which the server runs as one transaction.

use super::inspect_tables::{ColumnRow, ConstraintRow, RelationRow};
use super::quote::{ident, text};

/// What one table's definition is made of.
pub struct Parts<'a> {
    pub relation: &'a RelationRow,
    pub columns: &'a [ColumnRow],
    pub constraints: &'a [ConstraintRow],
    /// The tables it inherits from or is a partition of, as SQL.
    pub parents: Vec<&'a str>,
    /// 150020 for 15.20.
    pub version_num: u32,
}

/// The primary key, of a table that is filled faster without it. A partitioned family's keys hang
/// together, and an heir's may be its parent's: these come with the table.
pub fn key(parts: &Parts<'_>) -> Option<String> {
    let key = parts.constraints.iter().find(|c| c.r#type == "p")?;
    if !is_alone(parts) {
        return None;
    }
    let (name, definition) = (ident(&key.name), &key.definition);
    let table = &parts.relation.sql;
    let mut statements = vec![format!(
        "ALTER TABLE ONLY {table} ADD CONSTRAINT {name} {definition}"
    )];
    statements.extend(key_options(parts));
    Some(statements.join(";\n"))
}

fn is_alone(parts: &Parts<'_>) -> bool {
    let relation = parts.relation;
    !relation.partition && !relation.root && parts.parents.is_empty()
}

fn key_options(parts: &Parts<'_>) -> Option<String> {
    let key = parts.constraints.iter().find(|c| c.r#type == "p")?;
    let options = key.options.as_ref()?;
    let index = key.index_sql(parts.relation);
    Some(format!("ALTER INDEX {index} SET ({options})"))
}

/// CREATE TABLE and what belongs to it from the start.
pub fn create(parts: &Parts<'_>) -> String {
    let relation = parts.relation;
    let inherits = !relation.partition && !parts.parents.is_empty();
    let mut items: Vec<String> = parts
        .columns
        .iter()
        .filter(|column| column.local || !inherits)
        .map(|column| column_item(column, parts))
        .collect();
    for constraint in parts.constraints {
        let here = match constraint.r#type.as_str() {
            "p" => !is_alone(parts),
            "c" => constraint.valid && (constraint.local || relation.partition),
            _ => false,
        };
        if here {
            let (name, definition) = (ident(&constraint.name), &constraint.definition);
            items.push(format!("CONSTRAINT {name} {definition}"));
        }
    }
    let unlogged = if relation.unlogged { "UNLOGGED " } else { "" };
    let mut sql = format!("CREATE {unlogged}TABLE {} (", relation.sql);
    if !items.is_empty() {
        sql.push_str(&format!("\n  {}\n", items.join(",\n  ")));
    }
    sql.push(')');
    if inherits {
        sql.push_str(&format!(" INHERITS ({})", parts.parents.join(", ")));
    }
    if let Some(key) = &relation.key {
        sql.push_str(&format!(" PARTITION BY {key}"));
    }
    if let Some(method) = &relation.method {
        sql.push_str(&format!(" USING {}", ident(method)));
    }
    if !relation.options.is_empty() {
        sql.push_str(&format!(" WITH ({})", relation.options));
    }
    let mut statements = vec![sql];
    statements.extend(after(parts, inherits));
    statements.join(";\n")
}

fn column_item(column: &ColumnRow, parts: &Parts<'_>) -> String {
    let mut sql = format!("{} {}", ident(&column.name), column.r#type);
    if let Some(compression) = &column.compression {
        sql.push_str(&format!(" COMPRESSION {compression}"));
    }
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    // From 17 on a partition has the identity of its root, and may not bring its own.
    let inherited = parts.relation.partition && parts.version_num >= 170_000;
    match (column.identity.as_str(), column.generated.as_str()) {
        ("", "") => {
            if let Some(expression) = &column.expression {
                sql.push_str(&format!(" DEFAULT {expression}"));
            }
        }
        ("", kind) => {
            let expression = column.expression.as_deref().unwrap_or("NULL");
            let kind = if kind == "v" { "VIRTUAL" } else { "STORED" };
            sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) {kind}"));
        }
        _ if inherited => {}
        (when, _) => {
            let when = if when == "a" { "ALWAYS" } else { "BY DEFAULT" };
            let options = identity_options(column);
            sql.push_str(&format!(" GENERATED {when} AS IDENTITY ({options})"));
        }
    }
    if column.not_null {
        sql.push_str(" NOT NULL");
    }
    sql
}

fn identity_options(column: &ColumnRow) -> String {
    let mut options = Vec::new();
    let mut add = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            options.push(format!("{word} {value}"));
        }
    };
    add("SEQUENCE NAME", &column.sequence_sql);
    add("START WITH", &column.seq_start);
    add("INCREMENT BY", &column.seq_increment);
    add("MINVALUE", &column.seq_min);
    add("MAXVALUE", &column.seq_max);
    add("CACHE", &column.seq_cache);
    if column.seq_cycle == Some(true) {
        options.push("CYCLE".to_owned());
    }
    options.join(" ")
}

/// What CREATE TABLE can't say.
fn after(parts: &Parts<'_>, inherits: bool) -> Vec<String> {
    let relation = parts.relation;
    let table = &relation.sql;
    let alter = |what: String| format!("ALTER TABLE ONLY {table} {what}");
    let mut statements = Vec::new();
    if let Some(of_type) = &relation.of_type {
        statements.push(alter(format!("OF {of_type}")));
    }
    for column in parts.columns {
        let name = ident(&column.name);
        let mut set = |what: String| statements.push(alter(format!("ALTER COLUMN {name} {what}")));
        if inherits && !column.local && column.generated.is_empty() {
            if let Some(expression) = &column.expression {
                set(format!("SET DEFAULT {expression}"));
            }
            if column.not_null {
                set("SET NOT NULL".to_owned());
            }
        }
        if let Some(storage) = &column.storage {
            set(format!("SET STORAGE {storage}"));
        }
        if let Some(statistics) = column.statistics {
            set(format!("SET STATISTICS {statistics}"));
        }
        if let Some(options) = &column.options {
            set(format!("SET ({options})"));
        }
        let serial = column.identity.is_empty();
        if let Some(sequence) = column.sequence_sql.as_ref().filter(|_| serial) {
            let owned = format!("ALTER SEQUENCE {sequence} OWNED BY {table}.{name}");
            statements.push(owned);
        }
        if let Some(comment) = &column.comment {
            let comment = text(comment);
            statements.push(format!("COMMENT ON COLUMN {table}.{name} IS {comment}"));
        }
    }
    statements.extend(key_options(parts).filter(|_| !is_alone(parts)));
    match relation.identity.as_str() {
        "f" => statements.push(alter("REPLICA IDENTITY FULL".to_owned())),
        "n" => statements.push(alter("REPLICA IDENTITY NOTHING".to_owned())),
        _ => {}
    }
    if let (Some(parent), Some(bound)) = (parts.parents.first(), &relation.bound) {
        let attach = format!("ALTER TABLE ONLY {parent} ATTACH PARTITION {table} {bound}");
        statements.push(attach);
    }
    if let Some(comment) = &relation.comment {
        statements.push(format!("COMMENT ON TABLE {table} IS {}", text(comment)));
    }
    statements
}
