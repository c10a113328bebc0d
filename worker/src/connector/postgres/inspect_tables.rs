//! Reads the catalogue into [`TableSchema`]s. Tables come in an order in which they can be made:
//! what is inherited from, or is the root of a partition, first.

use std::collections::BTreeMap;

use common::schema::{
    CanonicalType, Column, ForeignKey, Generated, Index, IndexColumn, Member, TableSchema,
};
use serde::Deserialize;

use super::inspect_native::{self, Parts};
use super::inspect_sql::{self, LABELS, ask};
use super::inspect_types::{RawType, canonical, default_of};
use super::session::Session;
use crate::connector::Result;

/// Stands between an index and the statement that makes it a part of its parent's.
pub const ATTACH: &str = ";\n/* once both are there */ ";

/// A table, as the server answers.
#[derive(Debug, Deserialize)]
pub struct RelationRow {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Its name as SQL, relative to the search path.
    pub sql: String,
    pub root: bool,
    pub partition: bool,
    pub unlogged: bool,
    rows: u64,
    leaf_rows: u64,
    bytes: u64,
    /// `relreplident`: d, n, f, i.
    pub identity: String,
    pub method: Option<String>,
    pub key: Option<String>,
    pub bound: Option<String>,
    parents: Vec<u32>,
    pub of_type: Option<String>,
    pub options: String,
    pub comment: Option<String>,
}

/// A column, as the server answers.
#[derive(Debug, Deserialize)]
pub struct ColumnRow {
    relation: u32,
    pub name: String,
    pub r#type: String,
    pub not_null: bool,
    pub expression: Option<String>,
    pub identity: String,
    pub generated: String,
    pub collation: Option<String>,
    pub local: bool,
    pub comment: Option<String>,
    pub storage: Option<String>,
    pub compression: Option<String>,
    pub statistics: Option<i64>,
    pub options: Option<String>,
    base: u32,
    base_name: String,
    base_type: String,
    builtin: bool,
    typmod: i64,
    /// The sequence that belongs to it.
    pub sequence: Option<u32>,
    pub sequence_sql: Option<String>,
    pub seq_start: Option<String>,
    pub seq_increment: Option<String>,
    pub seq_min: Option<String>,
    pub seq_max: Option<String>,
    pub seq_cache: Option<String>,
    pub seq_cycle: Option<bool>,
}

/// A primary key, check or foreign key, as the server answers.
#[derive(Debug, Deserialize)]
pub struct ConstraintRow {
    relation: u32,
    pub name: String,
    /// `contype`: p, c, f.
    pub r#type: String,
    pub definition: String,
    pub valid: bool,
    pub local: bool,
    columns: Option<Vec<String>>,
    references_schema: Option<String>,
    references_table: Option<String>,
    references_columns: Option<Vec<String>>,
    on_delete: String,
    on_update: String,
    pub options: Option<String>,
}

impl ConstraintRow {
    /// Its index as SQL: it is in its table's schema.
    pub fn index_sql(&self, relation: &RelationRow) -> String {
        super::quote::qualified(&relation.schema, &self.name)
    }
}

#[derive(Debug, Deserialize)]
struct IndexRow {
    relation: u32,
    name: String,
    sql: String,
    unique: bool,
    valid: bool,
    definition: String,
    constraint: Option<String>,
    options: Option<String>,
    parent: Option<String>,
    columns: Option<Vec<IndexPart>>,
}

#[derive(Debug, Deserialize)]
struct IndexPart {
    name: String,
    descending: bool,
}

#[derive(Debug, Deserialize)]
struct LabelsRow {
    r#type: u32,
    labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ValueRow {
    oid: u32,
    next: Option<i64>,
}

/// A table with what the catalogue knows it by.
#[derive(Debug)]
pub struct Found {
    pub oid: u32,
    pub table: TableSchema,
}

/// Every table. `whole` = a root's estimates are those of all its leaves.
pub async fn tables(
    session: &mut Session,
    default_schema: &str,
    whole: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Found>> {
    let relations: Vec<RelationRow> = ask(session, &inspect_sql::relations()).await?;
    let columns: Vec<ColumnRow> = ask(session, &inspect_sql::columns(None)).await?;
    let constraints: Vec<ConstraintRow> = ask(session, &inspect_sql::constraints()).await?;
    let indexes: Vec<IndexRow> = ask(session, &inspect_sql::indexes()).await?;
    let labels: Vec<LabelsRow> = ask(session, LABELS).await?;
    let labels: Labels = labels.into_iter().map(|l| (l.r#type, l.labels)).collect();
    let values = sequence_values(session, &columns).await?;
    let mut columns = by_relation(columns, |column| column.relation);
    let mut constraints = by_relation(constraints, |constraint| constraint.relation);
    let mut indexes = by_relation(indexes, |index| index.relation);
    let names: BTreeMap<u32, String> = relations.iter().map(|r| (r.oid, r.sql.clone())).collect();
    let version_num = session.facts.version_num;
    let mut found = Vec::with_capacity(relations.len());
    for relation in in_order(relations) {
        let columns = columns.remove(&relation.oid).unwrap_or_default();
        let constraints = constraints.remove(&relation.oid).unwrap_or_default();
        let parents = relation.parents.iter().filter_map(|oid| names.get(oid));
        let parts = Parts {
            relation: &relation,
            columns: &columns,
            constraints: &constraints,
            parents: parents.map(String::as_str).collect(),
            version_num,
        };
        let mut table = table(&parts, &labels, default_schema);
        estimate(&mut table, &relation, whole);
        let sequence = columns
            .iter()
            .filter(|c| is_auto(c))
            .find_map(|c| c.sequence);
        let next = sequence.and_then(|oid| values.get(&oid).copied());
        table.auto_increment = next.and_then(|next| u64::try_from(next).ok());
        for index in indexes.remove(&relation.oid).unwrap_or_default() {
            match index.valid {
                true => table.indexes.push(index_of(index)),
                false => notes.push(format!("index {} is invalid: it is not carried", index.sql)),
            }
        }
        found.push(Found {
            oid: relation.oid,
            table,
        });
    }
    Ok(found)
}

/// The columns of one table as the server has them, for comparison.
pub async fn columns_of(session: &mut Session, relation: &str) -> Result<Vec<ColumnRow>> {
    let relation = format!("{}::regclass", super::quote::text(relation));
    ask(session, &inspect_sql::columns(Some(&relation))).await
}

type Labels = BTreeMap<u32, Vec<String>>;

fn by_relation<T>(rows: Vec<T>, key: impl Fn(&T) -> u32) -> BTreeMap<u32, Vec<T>> {
    let mut map: BTreeMap<u32, Vec<T>> = BTreeMap::new();
    for row in rows {
        map.entry(key(&row)).or_default().push(row);
    }
    map
}

/// Parents before children, otherwise as they came.
fn in_order(relations: Vec<RelationRow>) -> Vec<RelationRow> {
    let mut depth: BTreeMap<u32, u32> = relations.iter().map(|r| (r.oid, 0)).collect();
    // Inheritance has no cycles: as many passes as it has levels.
    loop {
        let mut moved = false;
        for relation in &relations {
            let above = relation.parents.iter().filter_map(|oid| depth.get(oid));
            let wanted = above.map(|depth| depth + 1).max().unwrap_or(0);
            if depth.get(&relation.oid) != Some(&wanted) {
                depth.insert(relation.oid, wanted);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let mut relations = relations;
    relations.sort_by_key(|relation| depth.get(&relation.oid).copied());
    relations
}

fn table(parts: &Parts<'_>, labels: &Labels, default_schema: &str) -> TableSchema {
    let relation = parts.relation;
    let in_default = |schema: &String| schema == default_schema;
    let primary = parts.constraints.iter().find(|c| c.r#type == "p");
    let foreign = parts.constraints.iter().filter(|c| c.r#type == "f");
    let schema_of = |schema: &Option<String>| schema.clone().filter(|s| !in_default(s));
    TableSchema {
        name: relation.name.clone(),
        schema: schema_of(&Some(relation.schema.clone())),
        member: match (relation.partition, relation.root) {
            (true, _) => Some(Member::Leaf),
            (false, true) => Some(Member::Root),
            (false, false) => None,
        },
        columns: parts.columns.iter().map(|c| column(c, labels)).collect(),
        primary_key: primary
            .and_then(|key| key.columns.clone())
            .unwrap_or_default(),
        indexes: Vec::new(),
        foreign_keys: foreign
            .map(|key| foreign_key(key, schema_of(&key.references_schema)))
            .collect(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: Some(inspect_native::create(parts)),
        native_key: inspect_native::key(parts),
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

/// A table that was never analyzed says 0 rows: then its size and the width of its columns do.
fn estimate(table: &mut TableSchema, relation: &RelationRow, whole: bool) {
    if relation.root && !whole {
        return;
    }
    table.bytes_estimate = relation.bytes;
    table.rows_estimate = relation.rows.max(relation.leaf_rows);
    if table.rows_estimate == 0 {
        let width = 28 + 8 * table.columns.len() as u64;
        table.rows_estimate = relation.bytes / width;
    }
}

/// Values come from a sequence of its own: identity or serial.
fn is_auto(column: &ColumnRow) -> bool {
    let expression = column.expression.as_deref().unwrap_or_default();
    let serial = column.sequence.is_some() && expression.starts_with("nextval(");
    !column.identity.is_empty() || serial
}

fn column(row: &ColumnRow, labels: &Labels) -> Column {
    let raw = RawType {
        name: &row.base_name,
        kind: &row.base_type,
        builtin: row.builtin,
        typmod: row.typmod,
    };
    let canonical: CanonicalType = canonical(&raw, labels.get(&row.base));
    let generated = row.expression.clone().filter(|_| !row.generated.is_empty());
    let default = row.expression.as_deref().filter(|_| generated.is_none());
    Column {
        name: row.name.clone(),
        native_type: row.r#type.clone(),
        default: default.map(|expression| default_of(expression, &canonical)),
        canonical,
        nullable: !row.not_null,
        auto_increment: is_auto(row),
        charset: None,
        collation: row.collation.clone(),
        generated: generated.map(|expression| Generated {
            expression,
            stored: row.generated == "s",
        }),
        comment: row.comment.clone().unwrap_or_default(),
    }
}

fn foreign_key(row: &ConstraintRow, references_schema: Option<String>) -> ForeignKey {
    let rule = |letter: &str| {
        let rule = match letter {
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            "r" => "RESTRICT",
            _ => "NO ACTION",
        };
        rule.to_owned()
    };
    ForeignKey {
        name: row.name.clone(),
        columns: row.columns.clone().unwrap_or_default(),
        references_schema,
        references_table: row.references_table.clone().unwrap_or_default(),
        references_columns: row.references_columns.clone().unwrap_or_default(),
        on_delete: rule(&row.on_delete),
        on_update: rule(&row.on_update),
        native: Some(row.definition.clone()),
    }
}

fn index_of(row: IndexRow) -> Index {
    let mut native = row.constraint.unwrap_or(row.definition);
    if let Some(options) = &row.options {
        native.push_str(&format!(";\nALTER INDEX {} SET ({options})", row.sql));
    }
    if let Some(parent) = &row.parent {
        let attach = format!("ALTER INDEX {parent} ATTACH PARTITION {}", row.sql);
        native.push_str(ATTACH);
        native.push_str(&attach);
    }
    let columns = row.columns.unwrap_or_default().into_iter();
    Index {
        name: row.name,
        unique: row.unique,
        columns: columns
            .map(|part| IndexColumn {
                name: part.name,
                prefix: None,
                descending: part.descending,
            })
            .collect(),
        native: Some(native),
    }
}

/// Next values of the sequences that belong to columns, by the sequence's oid.
async fn sequence_values(
    session: &mut Session,
    columns: &[ColumnRow],
) -> Result<BTreeMap<u32, i64>> {
    let sequences = columns.iter().filter(|column| is_auto(column));
    let queries: Vec<String> = sequences
        .filter_map(|column| {
            let (oid, name) = (column.sequence?, column.sequence_sql.as_ref()?);
            let step = column.seq_increment.as_deref().unwrap_or("1");
            Some(format!(
                "SELECT {oid}::int8 AS oid, CASE WHEN NOT is_called THEN last_value WHEN \
                 last_value::numeric + ({step}) BETWEEN 0 AND 9223372036854775807 THEN last_value \
                 + ({step}) END AS next FROM {name}"
            ))
        })
        .collect();
    let mut values = BTreeMap::new();
    for some in queries.chunks(100) {
        let rows: Vec<ValueRow> = ask(session, &some.join(" UNION ALL ")).await?;
        let known = rows.into_iter();
        values.extend(known.filter_map(|row| Some((row.oid, row.next?))));
    }
    Ok(values)
}
