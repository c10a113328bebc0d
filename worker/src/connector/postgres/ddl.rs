//! The text of definitions at a target. Where source and target are both PostgreSQL and nothing of
//! a table is changed on the way, the source's own texts are used; else they are made of the plan's
//! columns, whose types are PostgreSQL's already.

use common::plan::{Plan, TablePlan};
use common::schema::{
    CanonicalType, CellForm, Column, ColumnDefault, Engine, ForeignKey, Index, ObjectStage,
    SchemaObject, TableSchema,
};

use super::inspect_tables::ATTACH;
use super::quote::{ident, idents, qualified, text};

/// See [`crate::connector::Connector::ddl`].
pub fn plan(plan: &Plan, default_schema: &str) -> Vec<String> {
    let same = plan.source.engine == Engine::Postgres;
    let tables = &plan.tables;
    let of_stage = |stage: ObjectStage| {
        let objects = plan.objects.iter().filter(move |o| o.stage == stage);
        objects.flat_map(|object| object.statements.iter().cloned())
    };
    let mut statements: Vec<String> = schemas(tables, default_schema)
        .into_iter()
        .filter(|schema| schema != "public")
        .map(|schema| format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&schema)))
        .collect();
    for statement in of_stage(ObjectStage::BeforeTables) {
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
    statements.extend(tables.iter().map(|table| create(table, default_schema)));
    statements.extend(tables.iter().filter_map(|table| key(table, default_schema)));
    let mut attached = Vec::new();
    for table in tables {
        for made in indexes(table, same, default_schema) {
            statements.push(made.create);
            attached.extend(made.attach);
        }
    }
    statements.extend(attached);
    for table in tables {
        let keys = foreign_keys(table, same, default_schema);
        statements.extend(keys.into_iter().map(|(_, sql)| sql));
    }
    statements.extend(of_stage(ObjectStage::AfterData));
    statements
}

/// The schemas of the tables, the default one too.
pub fn schemas(tables: &[TablePlan], default_schema: &str) -> Vec<String> {
    let named = tables
        .iter()
        .filter_map(|table| table.target.schema.clone());
    let mut schemas = vec![default_schema.to_owned()];
    for schema in named {
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    schemas
}

/// A table's name as SQL.
pub fn name(table: &TableSchema, default_schema: &str) -> String {
    let schema = table.schema.as_deref().unwrap_or(default_schema);
    qualified(schema, &table.name)
}

/// The source's own definition can be used as it is.
pub fn is_native(table: &TablePlan) -> bool {
    let named_alike = table.source.full_name() == table.target.full_name();
    table.form == CellForm::Native && named_alike && table.target.native_ddl.is_some()
}

/// The source's texts of indexes and keys can be used: they name the table and its columns.
fn takes_natives(table: &TablePlan, same_engine: bool) -> bool {
    let named_alike = table.source.full_name() == table.target.full_name();
    let has = |column: &Column| table.target.column(&column.name).is_some();
    same_engine && named_alike && table.source.columns.iter().all(has)
}

/// The primary key, where it is made after the rows are there: sorting them once is cheaper than
/// finding each its place (half of the time of a load, measured). None = it comes with the table.
pub fn key(table: &TablePlan, default_schema: &str) -> Option<String> {
    if is_native(table) {
        return table.target.native_key.clone();
    }
    let target = &table.target;
    if target.primary_key.is_empty() || target.member.is_some() {
        return None;
    }
    Some(format!(
        "ALTER TABLE {} ADD {}",
        name(target, default_schema),
        primary_key(target)
    ))
}

fn primary_key(table: &TableSchema) -> String {
    let columns = table.primary_key.iter().map(String::as_str);
    format!("PRIMARY KEY ({})", idents(columns))
}

/// CREATE TABLE without what [`key`] makes.
pub fn create(table: &TablePlan, default_schema: &str) -> String {
    if let Some(native) = table
        .target
        .native_ddl
        .as_ref()
        .filter(|_| is_native(table))
    {
        return native.clone();
    }
    let target = &table.target;
    let as_in_key = |column: &Column| Column {
        nullable: column.nullable && !target.primary_key.contains(&column.name),
        ..column.clone()
    };
    let columns = target.columns.iter().map(as_in_key);
    let mut items: Vec<String> = columns.map(|column| column_item(&column)).collect();
    if !target.primary_key.is_empty() && key(table, default_schema).is_none() {
        items.push(primary_key(target));
    }
    let name = name(target, default_schema);
    let mut statements = vec![match items.is_empty() {
        true => format!("CREATE TABLE {name} ()"),
        false => format!("CREATE TABLE {name} (\n  {}\n)", items.join(",\n  ")),
    }];
    for column in target.columns.iter().filter(|c| !c.comment.is_empty()) {
        let comment = text(&column.comment.replace('\0', ""));
        let column = ident(&column.name);
        statements.push(format!("COMMENT ON COLUMN {name}.{column} IS {comment}"));
    }
    statements.join(";\n")
}

/// A column as it stands in CREATE TABLE, or after ADD COLUMN.
pub fn column_item(column: &Column) -> String {
    let mut sql = format!("{} {}", ident(&column.name), column.native_type);
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored {
            "STORED"
        } else {
            "VIRTUAL"
        };
        let expression = &generated.expression;
        sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) {kind}"));
    } else if column.auto_increment {
        sql.push_str(" GENERATED BY DEFAULT AS IDENTITY");
    } else if let Some(value) = &column.default {
        sql.push_str(&format!(" DEFAULT {}", default(value)));
    }
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    if let (CanonicalType::Enum { values }, "text") =
        (&column.canonical, column.native_type.as_str())
    {
        let values: Vec<String> = values.iter().map(|value| text(value)).collect();
        let name = ident(&column.name);
        sql.push_str(&format!(" CHECK ({name} IN ({}))", values.join(", ")));
    }
    sql
}

fn default(value: &ColumnDefault) -> String {
    match value {
        ColumnDefault::Literal(literal) => text(literal),
        ColumnDefault::Expression(expression) => expression.clone(),
        ColumnDefault::CurrentTimestamp { fraction, .. } => match fraction {
            6.. => "CURRENT_TIMESTAMP".to_owned(),
            digits => format!("CURRENT_TIMESTAMP({digits})"),
        },
    }
}

/// How an index is made.
#[derive(Debug)]
pub struct Made {
    pub name: String,
    pub create: String,
    /// Makes it a part of its parent's, once both are there.
    pub attach: Option<String>,
}

/// A table's indexes, unique and exclusion constraints.
pub fn indexes(table: &TablePlan, same_engine: bool, default_schema: &str) -> Vec<Made> {
    let natives = takes_natives(table, same_engine);
    let target = &table.target;
    let made = target.indexes.iter().filter_map(|index| {
        if let Some(native) = index.native.as_ref().filter(|_| natives) {
            let (create, attach) = match native.rsplit_once(ATTACH) {
                Some((create, attach)) => (create, Some(attach.to_owned())),
                None => (native.as_str(), None),
            };
            return Some(Made {
                name: index.name.clone(),
                create: create.to_owned(),
                attach,
            });
        }
        let create = plain_index(index, target, default_schema)?;
        Some(Made {
            name: index.name.clone(),
            create,
            attach: None,
        })
    });
    made.collect()
}

/// None: its columns don't say what it is.
fn plain_index(index: &Index, table: &TableSchema, default_schema: &str) -> Option<String> {
    if index.columns.is_empty() {
        return None;
    }
    let part = |part: &common::schema::IndexColumn| {
        let order = if part.descending { " DESC" } else { "" };
        format!("{}{order}", ident(&part.name))
    };
    let columns: Vec<String> = index.columns.iter().map(part).collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    Some(format!(
        "CREATE {unique}INDEX {} ON {} ({})",
        ident(&index.name),
        name(table, default_schema),
        columns.join(", ")
    ))
}

/// Indexes and keys of a table that only the source's own text could make, where it can't be used.
pub fn lost(table: &TablePlan, same_engine: bool) -> Vec<String> {
    if takes_natives(table, same_engine) {
        return Vec::new();
    }
    let special = table.target.indexes.iter().filter(|i| i.columns.is_empty());
    special.map(|index| index.name.clone()).collect()
}

/// A table's foreign keys by name.
pub fn foreign_keys(
    table: &TablePlan,
    same_engine: bool,
    default_schema: &str,
) -> Vec<(String, String)> {
    let natives = takes_natives(table, same_engine);
    let target = &table.target;
    let keys = target.foreign_keys.iter().enumerate().map(|(at, key)| {
        let key_name = match key.name.as_str() {
            "" => format!("fk_{at}_{}", target.name)
                .chars()
                .take(60)
                .collect(),
            name => name.to_owned(),
        };
        let definition = match key.native.as_ref().filter(|_| natives) {
            Some(native) => native.clone(),
            None => definition(key, default_schema),
        };
        let sql = format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {definition}",
            name(target, default_schema),
            ident(&key_name)
        );
        (key_name, sql)
    });
    keys.collect()
}

fn definition(key: &ForeignKey, default_schema: &str) -> String {
    let schema = key.references_schema.as_deref().unwrap_or(default_schema);
    let mut sql = format!(
        "FOREIGN KEY ({}) REFERENCES {}",
        idents(key.columns.iter().map(String::as_str)),
        qualified(schema, &key.references_table)
    );
    if !key.references_columns.is_empty() {
        let columns = idents(key.references_columns.iter().map(String::as_str));
        sql.push_str(&format!(" ({columns})"));
    }
    for (event, rule) in [("DELETE", &key.on_delete), ("UPDATE", &key.on_update)] {
        if !rule.is_empty() && rule != "NO ACTION" {
            sql.push_str(&format!(" ON {event} {rule}"));
        }
    }
    sql
}

/// Sets the sequence of a column that counts by itself above what the rows hold, and at least to
/// what the source's would give next.
pub fn next_value(table: &TableSchema, default_schema: &str) -> Option<String> {
    let column = table.columns.iter().find(|column| column.auto_increment)?;
    let (name, at_least) = (
        name(table, default_schema),
        table.auto_increment.unwrap_or(1),
    );
    Some(format!(
        "SELECT pg_catalog.setval(q.seqrelid::regclass, least(v.next, q.seqmax)::bigint, v.next > \
         q.seqmax) FROM (SELECT greatest(coalesce(max({column}), 0)::numeric + 1, {at_least}) AS \
         next FROM ONLY {name}) v JOIN pg_catalog.pg_sequence q ON q.seqrelid = \
         pg_catalog.pg_get_serial_sequence({table}, {literal})::regclass WHERE v.next >= q.seqmin",
        column = ident(&column.name),
        table = text(&name),
        literal = text(&column.name),
    ))
}

/// All statements of an object as one, which the server runs as one transaction.
pub fn together(object: &SchemaObject) -> String {
    object.statements.join(";\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, native: &str) -> Column {
        Column {
            name: name.into(),
            native_type: native.into(),
            canonical: CanonicalType::Text { max_chars: None },
            nullable: false,
            default: None,
            auto_increment: false,
            charset: None,
            collation: None,
            generated: None,
            comment: String::new(),
        }
    }

    #[test]
    fn an_enum_of_another_engine_keeps_its_values_by_a_check() {
        let mut mood = column("m\"ood", "text");
        mood.canonical = CanonicalType::Enum {
            values: vec!["it's".into(), String::new()],
        };
        assert_eq!(
            column_item(&mood),
            "\"m\"\"ood\" text NOT NULL CHECK (\"m\"\"ood\" IN ('it''s', ''))"
        );
        mood.native_type = "mood".into();
        assert_eq!(column_item(&mood), "\"m\"\"ood\" mood NOT NULL");
    }

    #[test]
    fn what_counts_by_itself_has_no_other_default() {
        let mut id = column("id", "bigint");
        id.auto_increment = true;
        id.default = Some(ColumnDefault::Literal("0".into()));
        assert_eq!(
            column_item(&id),
            "\"id\" bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL"
        );
    }
}
