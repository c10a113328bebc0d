//! Columns and foreign keys as information_schema has them. MariaDB and MySQL write defaults
//! differently; both come out the same.

use std::collections::BTreeMap;

use common::schema::{CanonicalType, Column, ColumnDefault, ForeignKey, Generated};

use super::quote::text;
use super::session::{Session, TextRow};
use super::types::{self, RawType};
use crate::connector::Result;

/// The columns of every table of a database.
pub async fn columns(
    session: &mut Session,
    database: &str,
) -> Result<BTreeMap<String, Vec<Column>>> {
    read_columns(session, &format!("table_schema = {}", text(database))).await
}

/// The columns of one table as the server has them.
pub async fn columns_of(session: &mut Session, database: &str, table: &str) -> Result<Vec<Column>> {
    let which = format!(
        "table_schema = {} AND table_name = {}",
        text(database),
        text(table)
    );
    let tables = read_columns(session, &which).await?;
    Ok(tables.into_values().next().unwrap_or_default())
}

async fn read_columns(session: &mut Session, which: &str) -> Result<BTreeMap<String, Vec<Column>>> {
    let sql = format!(
        "SELECT table_name, column_name, data_type, column_type, is_nullable, column_default, \
         extra, character_set_name, collation_name, generation_expression, column_comment, \
         numeric_precision, numeric_scale, datetime_precision, character_maximum_length \
         FROM information_schema.columns WHERE {which} ORDER BY table_name, ordinal_position"
    );
    let mariadb = session.facts.mariadb;
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for row in session.rows(&sql).await? {
        let table = row.first().cloned().flatten().unwrap_or_default();
        tables.entry(table).or_default().push(column(&row, mariadb));
    }
    Ok(tables)
}

fn column(row: &TextRow, mariadb: bool) -> Column {
    let cell = |at: usize| row.get(at).cloned().flatten();
    let number = |at: usize| cell(at).and_then(|cell| cell.parse::<u64>().ok());
    let raw = RawType {
        data_type: cell(2).unwrap_or_default().to_ascii_lowercase(),
        column_type: cell(3).unwrap_or_default(),
        precision: number(11),
        scale: number(12),
        fraction: number(13),
        characters: number(14),
    };
    let extra = cell(6).unwrap_or_default().to_ascii_lowercase();
    let generated = cell(9).filter(|expression| !expression.is_empty());
    let generated = generated.map(|expression| Generated {
        expression: match mariadb {
            true => expression,
            false => unescaped(&expression),
        },
        stored: extra.contains("stored") || extra.contains("persistent"),
    });
    let default = cell(5).and_then(|text| default_of(&text, &extra, mariadb, &raw));
    Column {
        name: cell(1).unwrap_or_default(),
        native_type: raw.column_type.clone(),
        canonical: types::canonical(&raw).unwrap_or(CanonicalType::Any),
        nullable: cell(4).as_deref() == Some("YES"),
        default: default.filter(|_| generated.is_none()),
        auto_increment: extra.contains("auto_increment"),
        charset: cell(7),
        collation: cell(8),
        generated,
        comment: cell(10).unwrap_or_default(),
    }
}

/// COLUMN_DEFAULT: MariaDB writes an expression (`'a'`, `NULL`, `current_timestamp()`), MySQL the
/// bare value, and marks expressions in EXTRA.
fn default_of(text: &str, extra: &str, mariadb: bool, raw: &RawType) -> Option<ColumnDefault> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("current_timestamp") || lower.starts_with("now(") {
        return Some(ColumnDefault::CurrentTimestamp {
            fraction: raw.fraction.unwrap_or(0) as u8,
            on_update: extra.contains("on update"),
        });
    }
    if !mariadb {
        return Some(match extra.contains("default_generated") {
            true => ColumnDefault::Expression(unescaped(text)),
            false => ColumnDefault::Literal(text.to_owned()),
        });
    }
    if lower == "null" {
        return None;
    }
    if let Some(quoted) = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
        return Some(ColumnDefault::Literal(unquote(quoted)));
    }
    let number = text.parse::<f64>().is_ok();
    Some(match number {
        true => ColumnDefault::Literal(text.to_owned()),
        false => ColumnDefault::Expression(text.to_owned()),
    })
}

/// MySQL shows the texts within expressions as `_utf8mb4\'x\'`.
fn unescaped(expression: &str) -> String {
    let mut plain = String::with_capacity(expression.len());
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

fn unquote(quoted: &str) -> String {
    let mut plain = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                characters.next();
                plain.push('\'');
            }
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('0') => plain.push('\0'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}

/// The foreign keys of every table of a database, those that lead out of it as notes.
pub async fn foreign_keys(
    session: &mut Session,
    database: &str,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Vec<ForeignKey>>> {
    let sql = format!(
        "SELECT k.table_name, k.constraint_name, k.column_name, k.referenced_table_schema, \
         k.referenced_table_name, k.referenced_column_name, r.delete_rule, r.update_rule \
         FROM information_schema.key_column_usage k JOIN \
         information_schema.referential_constraints r ON r.constraint_schema = \
         k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = \
         k.table_name WHERE k.table_schema = {0} AND k.constraint_schema = {0} AND \
         k.referenced_table_name IS NOT NULL ORDER BY k.table_name, k.constraint_name, \
         k.ordinal_position",
        text(database)
    );
    // MariaDB calls the default RESTRICT, MySQL NO ACTION; InnoDB treats both alike, and either
    // one written out shows up in SHOW CREATE TABLE.
    let rule = |rule: String| match rule.as_str() {
        "RESTRICT" => "NO ACTION".to_owned(),
        _ => rule,
    };
    let mut tables: BTreeMap<String, Vec<ForeignKey>> = BTreeMap::new();
    for row in session.rows(&sql).await? {
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        if !cell(3).eq_ignore_ascii_case(database) {
            let note = format!(
                "foreign key {} of table {} is not copied: it leads to database {}",
                cell(1),
                cell(0),
                cell(3)
            );
            if !notes.contains(&note) {
                notes.push(note);
            }
            continue;
        }
        let keys = tables.entry(cell(0)).or_default();
        match keys.last_mut().filter(|key| key.name == cell(1)) {
            Some(key) => {
                key.columns.push(cell(2));
                key.references_columns.push(cell(5));
            }
            None => keys.push(ForeignKey {
                references_schema: None,
                native: None,
                name: cell(1),
                columns: vec![cell(2)],
                references_table: cell(4),
                references_columns: vec![cell(5)],
                on_delete: rule(cell(6)),
                on_update: rule(cell(7)),
            }),
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_both_servers_mean_the_same() {
        let raw = RawType::default();
        let literal = |text: &str| Some(ColumnDefault::Literal(text.into()));
        assert_eq!(default_of("'it''s'", "", true, &raw), literal("it's"));
        assert_eq!(default_of("it's", "", false, &raw), literal("it's"));
        assert_eq!(default_of("NULL", "", true, &raw), None);
        assert_eq!(default_of("1.50", "", true, &raw), literal("1.50"));
        assert_eq!(
            default_of("uuid()", "", true, &raw),
            Some(ColumnDefault::Expression("uuid()".into()))
        );
    }
}
