//! Checks of a source: whether all of it can be read.

use common::check::Check;
use common::code::{Code, Failure};

use super::super::quote::{ident, idents, text};
use super::{Asker, Need, listed, with_fixes};
use crate::connector::Result;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = vec![read_only(ask)];
    let tried = tried(ask).await;
    let (rights, rows) = match tried {
        Ok(tried) => (privileges(ask, &tried).await, Ok(row_security(ask, &tried))),
        Err(error) => (Err(error.clone()), Err(error)),
    };
    checks.push(ask.settled("privileges", rights).await);
    checks.push(ask.settled("row-security", rows).await);
    let answer = indexes(ask).await;
    checks.push(ask.settled("indexes", answer).await);
    checks
}

/// A standby can be read, and has no log of its own to follow.
fn read_only(ask: &Asker<'_>) -> Check {
    let name = "read-only";
    if !ask.session.facts.in_recovery {
        return ask.passed(name, "the server is a primary");
    }
    let found = "the server is a standby";
    let fix = "name the primary in the URL, or make this one a primary: SELECT pg_promote()";
    match ask.need() {
        Need::Nothing => ask
            .warning(name, Code::CheckFound, found)
            .means("a long read may be cancelled when the standby replays what removes its rows")
            .fix(fix),
        _ => ask
            .unfollowable(name, found, "changes are read from a primary")
            .fix(fix),
    }
}

/// Tables that couldn't be read.
struct Tried {
    refused: Vec<Refused>,
    count: usize,
}

struct Refused {
    schema: String,
    /// As SQL.
    table: String,
    said: String,
    row_security: bool,
}

/// Reads no row of every table, which asks for the same rights as reading all.
async fn tried(ask: &mut Asker<'_>) -> Result<Tried> {
    let tables: Vec<(String, String, String)> = ask
        .request
        .tables
        .iter()
        .map(|table| {
            let columns = idents(table.copied_columns().map(|column| column.name.as_str()));
            let schema = ask.host.schema_of(table.schema.as_deref()).to_owned();
            let sql = ask.sql_of(table);
            (
                schema,
                sql.clone(),
                format!("SELECT {columns} FROM {sql} LIMIT 0"),
            )
        })
        .collect();
    let mut refused = Vec::new();
    for (schema, table, sql) in &tables {
        let failed = match ask.session.rows(sql).await {
            Ok(_) => continue,
            Err(failed) => failed,
        };
        let Failure { code, what, .. } = &failed.error.failure;
        if *code != Code::Privileges {
            return Err(failed.into());
        }
        refused.push(Refused {
            schema: schema.clone(),
            table: table.clone(),
            row_security: what.contains("row-level security") || what.contains("row security"),
            said: what.clone(),
        });
    }
    Ok(Tried {
        refused,
        count: tables.len(),
    })
}

async fn privileges(ask: &mut Asker<'_>, tried: &Tried) -> Result<Check> {
    let name = "privileges";
    let refused: Vec<&Refused> = tried
        .refused
        .iter()
        .filter(|one| !one.row_security)
        .collect();
    let user = ident(&ask.host.link.user);
    if refused.is_empty() {
        let found = format!("all {} tables can be read", tried.count);
        return Ok(ask.passed(name, found));
    }
    let mut fixes = Vec::new();
    for one in &refused {
        let usage = format!(
            "SELECT has_schema_privilege({}, 'USAGE')::text",
            text(&one.schema)
        );
        if !ask.line(&usage).await?.is(0) {
            let fix = format!("GRANT USAGE ON SCHEMA {} TO {user}", ident(&one.schema));
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
        // Without the schema's right the table's own can't be tried: both are given.
        fixes.push(format!("GRANT SELECT ON {} TO {user}", one.table));
    }
    let names: Vec<String> = refused.iter().map(|one| one.table.clone()).collect();
    let said = refused.first().map_or("", |one| one.said.as_str());
    let check = ask
        .failed(
            name,
            Code::Privileges,
            format!("{user} can't read {} ({said})", listed(&names)),
        )
        .means("these tables can't be copied or compared");
    Ok(with_fixes(check, fixes))
}

/// Sessions have row_security off: a table that would hide rows is an error, never a smaller table.
fn row_security(ask: &Asker<'_>, tried: &Tried) -> Check {
    let name = "row-security";
    let hidden = tried.refused.iter().filter(|one| one.row_security);
    let names: Vec<String> = hidden.map(|one| one.table.clone()).collect();
    if names.is_empty() {
        return ask.passed(name, "no row is hidden from this role");
    }
    let user = ident(&ask.host.link.user);
    ask.failed(
        name,
        Code::Privileges,
        format!("policies hide rows of {} from {user}", listed(&names)),
    )
    .means("a copy would lack the rows that the role doesn't see, so the tables aren't read at all")
    .fix(format!("ALTER ROLE {user} BYPASSRLS"))
}

async fn indexes(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "indexes";
    let list: Vec<String> = ask
        .request
        .tables
        .iter()
        .map(|table| text(&ask.sql_of(table)))
        .collect();
    if list.is_empty() {
        return Ok(ask.passed(name, "there are no tables"));
    }
    let sql = format!(
        "SELECT i.indexrelid::regclass::text, format('REINDEX INDEX %s', \
         i.indexrelid::regclass) FROM pg_catalog.pg_index i WHERE NOT (i.indisvalid AND \
         i.indisready) AND i.indrelid = ANY (ARRAY(SELECT to_regclass(n) FROM \
         unnest(ARRAY[{}]::text[]) n)) ORDER BY 1",
        list.join(", ")
    );
    let rows = ask.texts(&sql).await?;
    if rows.is_empty() {
        return Ok(ask.passed(name, "every index is valid"));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let names: Vec<String> = rows.iter().map(|row| cell(row, 0)).collect();
    let check = ask
        .warning(name, Code::CheckFound, format!("not valid: {}", listed(&names)))
        .means("CREATE INDEX CONCURRENTLY failed: the target gets the index whole, and a unique one may find rows there that break it");
    Ok(with_fixes(check, rows.iter().map(|row| cell(row, 1))))
}
