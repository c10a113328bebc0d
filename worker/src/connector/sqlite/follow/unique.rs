//! Which rows a new row would take the place of: REPLACE deletes them without a word to any delete
//! trigger, so they are looked for before. Too many is harmless, one too few would be a lost change.

use common::code::Code;
use common::schema::TableSchema;
use sqlx::sqlite::SqliteRow;

use crate::connector::sqlite::sample::rowid_name;
use crate::connector::sqlite::session::{Session, args, cell, quote};
use crate::connector::{Error, Result};

/// Conditions on a row `x` of the table, each true for a row that is in NEW's way, and what of NEW
/// each is about.
pub struct Rival {
    pub condition: String,
    /// Pairs of which one differs whenever an update can newly be in the way.
    pub changed: String,
}

/// One for the rowid and for each unique index, the primary key's included.
pub async fn rivals(session: &mut Session, table: &TableSchema) -> Result<Vec<Rival>> {
    let mut rivals = Vec::new();
    if let Some(rowid) = rowid_name(table) {
        let rowid = quote(&rowid);
        rivals.push(Rival {
            condition: format!("x.{rowid} = NEW.{rowid}"),
            changed: format!("OLD.{rowid} IS NOT NEW.{rowid}"),
        });
    }
    let sql = "SELECT l.name, m.sql FROM pragma_index_list(?) AS l \
               LEFT JOIN sqlite_master AS m ON m.type = 'index' AND m.name = l.name \
               WHERE l.\"unique\" = 1 ORDER BY l.seq";
    for row in session.rows(sql, args([&table.name])).await? {
        let (name, statement): (String, Option<String>) = (cell(&row, 0)?, cell(&row, 1)?);
        rivals.push(rival(session, table, &name, statement.as_deref()).await?);
    }
    Ok(rivals)
}

/// A column of a unique index as its own collation compares it.
async fn rival(
    session: &mut Session,
    table: &TableSchema,
    index: &str,
    statement: Option<&str>,
) -> Result<Rival> {
    let sql = "SELECT x.name, x.coll, t.\"notnull\", t.dflt_value FROM pragma_index_xinfo(?) AS x \
               LEFT JOIN pragma_table_xinfo(?) AS t ON t.name = x.name \
               WHERE x.key = 1 ORDER BY x.seqno";
    let columns = session.rows(sql, args([index, &table.name])).await?;
    let (terms, filter) = match statement {
        Some(statement) => parts(statement).ok_or_else(|| {
            let what = format!("the statement of index {index} can't be read: {statement}");
            Error::permanent(Code::UnsupportedTable, what)
        })?,
        None => (Vec::new(), None),
    };
    let mut conditions = Vec::new();
    let mut changed = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let name: Option<String> = cell(column, 0)?;
        match name {
            Some(name) => {
                conditions.push(condition(&name, column)?);
                let name = quote(&name);
                changed.push(format!("OLD.{name} COLLATE BINARY IS NOT NEW.{name}"));
            }
            None => {
                let expression = terms.get(place).ok_or_else(|| {
                    let what = format!("index {index} of {} can't be read", table.name);
                    Error::permanent(Code::UnsupportedTable, what)
                })?;
                conditions.push(format!(
                    "({expression}) = (SELECT {expression} FROM (SELECT {}))",
                    new_row(table)
                ));
                changed.push("1".to_owned());
            }
        }
    }
    if let Some(filter) = filter {
        conditions.push(format!("({filter})"));
        // A row may come into the index without a change of its columns.
        changed.push("1".to_owned());
    }
    Ok(Rival {
        condition: conditions.join(" AND "),
        changed: changed.join(" OR "),
    })
}

fn condition(name: &str, column: &SqliteRow) -> Result<String> {
    let (collation, not_null): (String, Option<bool>) = (cell(column, 1)?, cell(column, 2)?);
    let default: Option<String> = cell(column, 3)?;
    let name = quote(name);
    // REPLACE puts the default in the place of a NULL that isn't allowed.
    let new = match default.filter(|_| not_null == Some(true)) {
        Some(default) => format!("ifnull(NEW.{name}, ({default}))"),
        None => format!("NEW.{name}"),
    };
    Ok(format!("x.{name} COLLATE {} = {new}", quote(&collation)))
}

/// NEW as a row with the table's own column names.
fn new_row(table: &TableSchema) -> String {
    let columns: Vec<String> = { table.columns.iter() }
        .map(|column| format!("NEW.{0} AS {0}", quote(&column.name)))
        .collect();
    columns.join(", ")
}

/// The terms of a CREATE INDEX statement without ASC and DESC, and its WHERE clause.
fn parts(statement: &str) -> Option<(Vec<String>, Option<String>)> {
    let mut terms = Vec::new();
    let mut depth = 0u32;
    let mut start = None;
    let mut rest = None;
    let mut places = statement.char_indices();
    while let Some((at, c)) = places.next() {
        match c {
            '\'' | '"' | '`' | '[' => {
                let end = if c == '[' { ']' } else { c };
                places.by_ref().find(|(_, found)| *found == end)?;
            }
            '-' if statement[at..].starts_with("--") => {
                places.by_ref().find(|(_, found)| *found == '\n')?;
            }
            '/' if statement[at..].starts_with("/*") => {
                let end = at + statement[at..].find("*/")? + 1;
                places.by_ref().find(|(found, _)| *found >= end)?;
            }
            '(' => {
                depth += 1;
                if depth == 1 {
                    start = Some(at + 1);
                }
            }
            ',' if depth == 1 => {
                terms.push(term(&statement[start?..at]));
                start = Some(at + 1);
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    terms.push(term(&statement[start?..at]));
                    rest = Some(statement[at + 1..].trim());
                    break;
                }
            }
            _ => {}
        }
    }
    let rest = rest?;
    let filter = match rest.get(..5) {
        Some(word) if word.eq_ignore_ascii_case("where") => Some(rest[5..].trim().to_owned()),
        _ => None,
    };
    Some((terms, filter))
}

fn term(text: &str) -> String {
    let text = text.trim();
    for order in [" asc", " desc"] {
        let cut = text.len().saturating_sub(order.len());
        if let (Some(head), Some(tail)) = (text.get(..cut), text.get(cut..))
            && tail.eq_ignore_ascii_case(order)
        {
            return head.trim_end().to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_statement_comes_apart() {
        let (terms, filter) = parts(
            "CREATE UNIQUE INDEX \"a (b\" ON t(lower(b), c COLLATE NOCASE DESC, x || ',)' ) \
             WHERE a IS NOT NULL",
        )
        .expect("valid");
        assert_eq!(terms, ["lower(b)", "c COLLATE NOCASE", "x || ',)'"]);
        assert_eq!(filter.as_deref(), Some("a IS NOT NULL"));
        let (terms, filter) = parts("CREATE UNIQUE INDEX i ON [t(](a asc)").expect("valid");
        assert_eq!((terms, filter), (vec!["a".to_owned()], None));
        assert!(parts("CREATE UNIQUE INDEX i ON t").is_none());
    }
}
