//! What a source's catalogue says of its tables, by the form their rows will travel in. To another
//! SQLite file, unchanged: everything, hidden rowids too. Under a rule: the columns the rule is
//! about get the types of their values, all others stay SQLite's dynamic cells. To another engine:
//! every column gets the type of its values, and a key that holds NULL becomes a unique index.

use common::change::FollowMode;
use common::job::{JobSpec, TargetMode};
use common::rules::TableRule;
use common::schema::{CanonicalType, Column, Engine, Index, IndexColumn, TableSchema};

use super::sample::rowid_name;
use super::session::{Session, args, quote};
use super::survey::survey;
use crate::connector::Result;

/// Whether the column is none of the table's own, but its rowid.
pub fn is_hidden_rowid(column: &Column) -> bool {
    column.is_hidden_rowid()
}

/// Fits the tables that the job chooses. Returns what there is to say.
pub async fn fit(
    session: &mut Session,
    tables: &mut [TableSchema],
    spec: &JobSpec,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut renumbered = Vec::new();
    let same_engine = spec.target.engine() == Some(Engine::Sqlite);
    for table in tables {
        if spec.select(&[&table.name]).0.is_empty() {
            continue;
        }
        let rule = spec.rules.iter().find(|rule| rule.table == table.name);
        let hidden = is_hidden(table).then(|| rowid_name(table)).flatten();
        match (same_engine, rule) {
            (true, None) if spec.casts.is_empty() => {
                // The source's own statement makes the table, so nothing else is lost by it.
                if spec.follow != FollowMode::Off && key_holds_null(session, table).await? {
                    table.primary_key.clear();
                    notes.push(format!(
                        "the primary key of {} holds NULL: its rows are followed whole, as in a \
                         table without a key",
                        table.name
                    ));
                }
                match hidden.filter(|_| spec.target_mode != TargetMode::Append) {
                    Some(name) => table.columns.push(rowid_column(name)),
                    None if is_hidden(table) => renumbered.push(table.name.clone()),
                    None => {}
                }
            }
            (true, rule) => {
                notes.extend(survey(session, table).await?);
                if let Some(rule) = rule.filter(|_| spec.casts.is_empty()) {
                    leave_dynamic(table, rule);
                }
            }
            (false, _) => {
                notes.extend(survey(session, table).await?);
                notes.extend(free_key(session, table).await?);
                if hidden.is_some() && table.primary_key.is_empty() {
                    renumbered.push(table.name.clone());
                }
            }
        }
    }
    if !renumbered.is_empty() {
        let names = renumbered.join(", ");
        notes.push(format!(
            "rowids that are no column are not carried, or numbered anew, in: {names}"
        ));
    }
    Ok(notes)
}

/// Whether the table has a rowid that none of its columns is.
fn is_hidden(table: &TableSchema) -> bool {
    let alias = match table.primary_key.as_slice() {
        [key] => table.column(key),
        _ => None,
    };
    let alias = alias.is_some_and(|key| key.native_type.eq_ignore_ascii_case("INTEGER"));
    // A key's `INTEGER … DESC` has an index of its own, and the catalogue calls it nullable.
    let alias = alias
        && !table
            .primary_key
            .iter()
            .any(|key| table.column(key).is_some_and(|key| key.nullable));
    !alias && !table.native_options.contains("WITHOUT ROWID")
}

fn rowid_column(name: String) -> Column {
    Column {
        name,
        native_type: "INTEGER".to_owned(),
        canonical: CanonicalType::Int {
            bits: 64,
            unsigned: false,
        },
        nullable: false,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: common::schema::HIDDEN_ROWID.to_owned(),
    }
}

/// Columns a rule doesn't mention keep every storage class.
fn leave_dynamic(table: &mut TableSchema, rule: &TableRule) {
    let computed = rule.computed.iter().map(|column| &column.expression);
    let expressions: Vec<String> = rule
        .filter
        .iter()
        .chain(computed)
        .map(|expression| expression.to_lowercase())
        .collect();
    for column in &mut table.columns {
        let name = column.name.to_lowercase();
        let changed = rule.columns.iter().any(|rule| {
            let touches = rule.trim.is_some()
                || !rule.null_if.is_empty()
                || rule.mask.is_some()
                || rule.cast.is_some();
            rule.column == column.name && touches
        });
        // Too many rather than too few: a name may be a part of another word.
        let mentioned = expressions.iter().any(|text| text.contains(&name));
        if !changed && !mentioned {
            column.canonical = CanonicalType::Any;
        }
    }
}

/// SQLite takes NULL into a primary key; other engines don't. What holds one becomes a unique
/// index, which takes as many NULLs there as here.
async fn free_key(session: &mut Session, table: &mut TableSchema) -> Result<Option<String>> {
    if !key_holds_null(session, table).await? {
        return Ok(None);
    }
    let columns = std::mem::take(&mut table.primary_key);
    let note = format!(
        "the primary key of {} holds NULL: to another engine it becomes a unique index",
        table.name
    );
    table.indexes.push(Index {
        name: format!("{}_key", table.name),
        unique: true,
        columns: columns
            .into_iter()
            .map(|name| IndexColumn {
                name,
                prefix: None,
                descending: false,
            })
            .collect(),
        native: None,
    });
    Ok(Some(note))
}

async fn key_holds_null(session: &mut Session, table: &TableSchema) -> Result<bool> {
    let nullable: Vec<String> = table
        .primary_key
        .iter()
        .filter(|key| table.column(key).is_some_and(|column| column.nullable))
        .map(|key| format!("s.{} IS NULL", quote(key)))
        .collect();
    if nullable.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT 1 FROM {} AS s WHERE {} LIMIT 1",
        quote(&table.name),
        nullable.join(" OR ")
    );
    Ok(session.row(&sql, args([])).await?.is_some())
}
