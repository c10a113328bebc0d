//! The catalogue of an SQLite file: tables with everything that can be asked of the pragmas, the
//! original CREATE statements beside it. What is no table is in `objects`.

use common::schema::{
    Column, ColumnDefault, ForeignKey, Generated, Index, IndexColumn, TableSchema,
};
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use super::fence::is_bookkeeping;
use super::session::{Session, args, bind, cell};
use super::types::canonical_type;
use crate::connector::Result;

/// Name prefix of the indexes that belong to a UNIQUE or PRIMARY KEY clause: the table's own
/// statement makes them.
pub const AUTO_INDEX: &str = "sqlite_autoindex_";

/// Every base table in order of name.
pub async fn catalogue(session: &mut Session) -> Result<Vec<TableSchema>> {
    let sql = "SELECT name, wr, strict FROM pragma_table_list \
               WHERE schema = 'main' AND type = 'table' ORDER BY name";
    let mut tables = Vec::new();
    for row in session.rows(sql, args([])).await? {
        let name: String = cell(&row, 0)?;
        if !is_bookkeeping(&name) {
            let (without_rowid, strict) = (cell(&row, 1)?, cell(&row, 2)?);
            tables.push(table(session, name, without_rowid, strict).await?);
        }
    }
    resolve_parents(&mut tables);
    Ok(tables)
}

async fn table(
    session: &mut Session,
    name: String,
    without_rowid: bool,
    strict: bool,
) -> Result<TableSchema> {
    let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?";
    let ddl: Option<String> = match session.row(sql, args([&name])).await? {
        Some(row) => cell(&row, 0)?,
        None => None,
    };
    let (mut columns, primary_key) = columns(session, &name).await?;
    let (indexes, key_has_index) = indexes(session, &name).await?;
    let mut options = Vec::new();
    if strict {
        options.push("STRICT");
    }
    if without_rowid {
        options.push("WITHOUT ROWID");
    }
    // The rowid under another name is the one kind of primary key without an index of its own.
    let alias = primary_key.len() == 1 && !without_rowid && !key_has_index;
    let counts = alias && has_word(ddl.as_deref().unwrap_or_default(), "AUTOINCREMENT");
    for column in &mut columns {
        if primary_key.contains(&column.name) && (alias || without_rowid) {
            column.nullable = false;
        }
        if primary_key.contains(&column.name) && counts {
            column.auto_increment = true;
        }
    }
    let auto_increment = match counts {
        true => next_value(session, &name).await?,
        false => None,
    };
    Ok(TableSchema {
        schema: None,
        member: None,
        columns,
        primary_key,
        indexes,
        foreign_keys: foreign_keys(session, &name).await?,
        auto_increment,
        native_options: options.join(", "),
        native_ddl: ddl,
        native_key: None,
        rows_estimate: 0,
        bytes_estimate: 0,
        name,
    })
}

async fn columns(session: &mut Session, table: &str) -> Result<(Vec<Column>, Vec<String>)> {
    let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?) \
               ORDER BY cid";
    let mut columns = Vec::new();
    let mut key: Vec<(i64, String)> = Vec::new();
    for row in session.rows(sql, args([table])).await? {
        let name: String = cell(&row, 0)?;
        let declared: String = cell(&row, 1)?;
        let (not_null, default): (bool, Option<String>) = (cell(&row, 2)?, cell(&row, 3)?);
        let (place, hidden): (i64, i64) = (cell(&row, 4)?, cell(&row, 5)?);
        if place > 0 {
            key.push((place, name.clone()));
        }
        // 2: VIRTUAL, 3: STORED. The expression is in the table's own statement.
        let generated = (hidden == 2 || hidden == 3).then(|| Generated {
            expression: String::new(),
            stored: hidden == 3,
        });
        // Such a column's declared type may have GENERATED ALWAYS behind it.
        let declared = match generated {
            Some(_) => declared.trim_end_matches(" GENERATED ALWAYS").to_owned(),
            None => declared,
        };
        columns.push(Column {
            canonical: canonical_type(&declared),
            native_type: declared,
            nullable: !not_null,
            default: default.as_deref().and_then(default_value),
            auto_increment: false,
            charset: None,
            collation: None,
            generated,
            comment: String::new(),
            name,
        });
    }
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// What a DEFAULT clause says. SQLite hands out its text.
fn default_value(text: &str) -> Option<ColumnDefault> {
    let upper = text.to_ascii_uppercase();
    match upper.as_str() {
        "NULL" => return None,
        "TRUE" => return Some(ColumnDefault::Literal("1".into())),
        "FALSE" => return Some(ColumnDefault::Literal("0".into())),
        "CURRENT_TIMESTAMP" => {
            return Some(ColumnDefault::CurrentTimestamp {
                fraction: 0,
                on_update: false,
            });
        }
        _ => {}
    }
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    if let Some(inner) = inner
        && !inner.replace("''", "").contains('\'')
    {
        return Some(ColumnDefault::Literal(inner.replace("''", "'")));
    }
    let digits = text.trim_start_matches(['+', '-']);
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok() {
        return Some(ColumnDefault::Literal(
            text.trim_start_matches('+').to_owned(),
        ));
    }
    Some(ColumnDefault::Expression(text.to_owned()))
}

/// The table's indexes but the primary key's, and whether that one exists.
async fn indexes(session: &mut Session, table: &str) -> Result<(Vec<Index>, bool)> {
    let sql = "SELECT l.name, l.\"unique\", l.origin, l.partial, m.sql FROM pragma_index_list(?) AS l \
               LEFT JOIN sqlite_master AS m ON m.type = 'index' AND m.name = l.name \
               ORDER BY l.seq DESC";
    let mut indexes = Vec::new();
    let mut key_has_index = false;
    for row in session.rows(sql, args([table])).await? {
        let (name, unique): (String, bool) = (cell(&row, 0)?, cell(&row, 1)?);
        let (origin, partial): (String, bool) = (cell(&row, 2)?, cell(&row, 3)?);
        if origin == "pk" {
            key_has_index = true;
            continue;
        }
        // A partial index and one on an expression are more than their columns: none are listed.
        let columns = match partial {
            true => Vec::new(),
            false => index_columns(session, &name).await?.unwrap_or_default(),
        };
        indexes.push(Index {
            name,
            unique,
            columns,
            native: cell(&row, 4)?,
        });
    }
    Ok((indexes, key_has_index))
}

async fn index_columns(session: &mut Session, index: &str) -> Result<Option<Vec<IndexColumn>>> {
    let sql = "SELECT name, \"desc\" FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno";
    let column = |row: &SqliteRow| -> Result<Option<IndexColumn>> {
        let (name, descending): (Option<String>, bool) = (cell(row, 0)?, cell(row, 1)?);
        Ok(name.map(|name| IndexColumn {
            name,
            prefix: None,
            descending,
        }))
    };
    session
        .rows(sql, args([index]))
        .await?
        .iter()
        .map(column)
        .collect()
}

async fn foreign_keys(session: &mut Session, table: &str) -> Result<Vec<ForeignKey>> {
    let sql = "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete \
               FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq";
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    for row in session.rows(sql, args([table])).await? {
        let id: i64 = cell(&row, 0)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let key = ForeignKey {
                references_schema: None,
                native: None,
                // The pragma doesn't tell a constraint's name.
                name: format!("{table}_fk{}", keys.len() + 1),
                columns: Vec::new(),
                references_table: cell(&row, 1)?,
                references_columns: Vec::new(),
                on_update: cell(&row, 4)?,
                on_delete: cell(&row, 5)?,
            };
            keys.push((id, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(cell(&row, 2)?);
            let parent: Option<String> = cell(&row, 3)?;
            key.references_columns.extend(parent);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Writes parents as they are really spelt, and fills in the primary key where a foreign key names
/// no columns.
fn resolve_parents(tables: &mut [TableSchema]) {
    let parents: Vec<(String, Vec<String>)> = tables
        .iter()
        .map(|table| (table.name.clone(), table.primary_key.clone()))
        .collect();
    for key in tables.iter_mut().flat_map(|table| &mut table.foreign_keys) {
        let parent = parents
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&key.references_table));
        if let Some((name, primary_key)) = parent {
            key.references_table.clone_from(name);
            if key.references_columns.is_empty() {
                key.references_columns.clone_from(primary_key);
            }
        }
    }
}

/// One more than the largest value AUTOINCREMENT has given out.
async fn next_value(session: &mut Session, table: &str) -> Result<Option<u64>> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?";
    let mut arguments = SqliteArguments::default();
    bind(&mut arguments, table);
    let last = session.number(sql, arguments).await?;
    Ok(last
        .and_then(|last| u64::try_from(last).ok())
        .map(|last| last + 1))
}

/// Whether a statement has a keyword outside of quotes and comments.
fn has_word(sql: &str, word: &str) -> bool {
    let mut plain = String::new();
    let mut rest = sql;
    while let Some(start) = rest.find(['\'', '"', '`', '[', '-', '/']) {
        plain.push_str(&rest[..start]);
        let tail = &rest[start..];
        let end = match tail.as_bytes() {
            [b'-', b'-', ..] => tail.find('\n').unwrap_or(tail.len()),
            [b'/', b'*', ..] => tail.find("*/").map_or(tail.len(), |end| end + 2),
            [b'-' | b'/', ..] => 1,
            [b'[', ..] => tail.find(']').map_or(tail.len(), |end| end + 1),
            // A doubled quote reads as two quoted pieces, which is all the same here.
            [quote, ..] => tail[1..]
                .find(char::from(*quote))
                .map_or(tail.len(), |end| end + 2),
            [] => break,
        };
        plain.push(' ');
        rest = &tail[end..];
    }
    plain.push_str(rest);
    plain
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|found| found.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_told_apart() {
        let literal = |text: &str| Some(ColumnDefault::Literal(text.into()));
        assert_eq!(default_value("'it''s'"), literal("it's"));
        assert_eq!(default_value("-1"), literal("-1"));
        assert_eq!(default_value("1e3"), literal("1e3"));
        assert_eq!(default_value("NULL"), None);
        assert_eq!(default_value("true"), literal("1"));
        for expression in ["1+2", "\"dq\"", "x'00'", "'a'||'b'", "CURRENT_DATE"] {
            assert_eq!(
                default_value(expression),
                Some(ColumnDefault::Expression(expression.into()))
            );
        }
    }

    #[test]
    fn keywords_count_outside_of_quotes_only() {
        let yes = "CREATE TABLE t (id INTEGER PRIMARY KEY /* c */ AUTOINCREMENT)";
        assert!(has_word(yes, "AUTOINCREMENT"));
        for no in [
            "CREATE TABLE t (id INTEGER PRIMARY KEY, \"AUTOINCREMENT\" INT)",
            "CREATE TABLE t (a DEFAULT 'it''s AUTOINCREMENT') -- AUTOINCREMENT",
            "CREATE TABLE AUTOINCREMENTS (a [x AUTOINCREMENT])",
        ] {
            assert!(!has_word(no, "AUTOINCREMENT"), "{no}");
        }
    }
}
