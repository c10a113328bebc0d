//! Reads a server's catalogue into [`TableSchema`]s, and what else a plan needs to know of it.
//!
//! A column of a type that isn't moved yet gets the canonical type `Any`, which MySQL has no other
//! use for: the catalogue lists tables a job may well exclude, so only a chosen one is refused
//! (by [`refuse_unsupported`], when it is sampled).

use std::collections::BTreeMap;

use common::code::Code;
use common::schema::{
    CanonicalType, Column, ColumnDefault, EndpointFacts, Engine, ForeignKey, Generated, SourceMark,
    TableSchema,
};

use super::ddl;
use super::quote::{ident, text};
use super::session::{Host, Purpose, Session, TextRow};
use super::types::{self, RawType};
use super::xa;
use crate::connector::{Error, Inspection, Result, Role};

/// Transactions that load at the same time. A server takes more; disks rarely do.
const WRITERS_MAX: u32 = 64;

/// See [`crate::connector::Connector::inspect`].
pub async fn inspect(host: &Host, role: Role) -> Result<Inspection> {
    let purpose = match role {
        Role::Source => Purpose::Read,
        Role::Target => Purpose::Load,
    };
    let mut session = host.open(role, purpose).await?;
    let facts = EndpointFacts {
        engine: Engine::Mysql,
        version: session.facts.version.clone(),
        durable_prepare: true,
        writers_max: WRITERS_MAX,
    };
    let mut notes = Vec::new();
    let mark = mark(&mut session).await?;
    let tables = match role {
        Role::Source => {
            let tables = tables(&mut session, &host.database, &mut notes).await?;
            not_copied(&mut session, &host.database, &mut notes).await?;
            tables
        }
        Role::Target => {
            check_target(&mut session, host, &mut notes).await?;
            names(&mut session, &host.database).await?
        }
    };
    Ok(Inspection {
        facts,
        tables,
        mark,
        objects: Vec::new(),
        notes,
    })
}

/// Where the binary log stands; None = it is off, filtered, or not ours to ask about.
pub async fn mark(session: &mut Session) -> Result<Option<SourceMark>> {
    if session.cell("SELECT @@log_bin").await?.as_deref() != Some("1") {
        return Ok(None);
    }
    let mut status = session.row("SHOW MASTER STATUS").await;
    if matches!(&status, Err(failed) if failed.number != 0 && failed.number != 1227) {
        // MySQL 8.4 removed the old name.
        status = session.row("SHOW BINARY LOG STATUS").await;
    }
    let status = match status {
        Ok(status) => status.unwrap_or_default(),
        Err(failed) if failed.number == 0 => return Err(failed.into()),
        Err(_) => return Ok(None),
    };
    let cell = |at: usize| status.get(at).cloned().flatten().unwrap_or_default();
    // A filtered log says nothing about what it leaves out.
    if status.len() < 2 || !cell(2).is_empty() || !cell(3).is_empty() {
        return Ok(None);
    }
    let gtid = match session.facts.mariadb {
        true => session.cell("SELECT @@gtid_binlog_pos").await?,
        false => Some(cell(4)),
    };
    let mark = format!("{}:{} {}", cell(0), cell(1), gtid.unwrap_or_default());
    Ok(Some(SourceMark(mark.trim_end().to_owned())))
}

/// A target must be writable and let us finish what we prepare.
async fn check_target(session: &mut Session, host: &Host, notes: &mut Vec<String>) -> Result<()> {
    let asked = "SELECT @@read_only, @@innodb_read_only, @@innodb_flush_log_at_trx_commit, \
                 @@local_infile";
    let row = session.row(asked).await?.unwrap_or_default();
    let is = |at: usize, value: &str| row.get(at).is_some_and(|c| c.as_deref() == Some(value));
    let is_off = |at: usize| is(at, "0") || is(at, "OFF");
    if !is_off(1) || (!is_off(0) && !may_write_read_only(session).await?) {
        let what = format!("{}: the server is read-only", host.name);
        return Err(Error::permanent(Code::TargetReadOnly, what));
    }
    xa::list(session).await?;
    if is(2, "0") {
        notes.push(
            "the target runs with innodb_flush_log_at_trx_commit = 0: a crash of its server may \
             lose what it acknowledged"
                .to_owned(),
        );
    }
    if is(3, "0") {
        notes.push("the target has local_infile off: rows go in by INSERT, slower".to_owned());
    }
    Ok(())
}

async fn may_write_read_only(session: &mut Session) -> Result<bool> {
    let grants = session.rows("SHOW GRANTS").await?;
    let grants = grants.into_iter().flatten().flatten();
    let mut global = grants.filter(|grant| grant.contains(" ON *.* "));
    Ok(global.any(|grant| {
        ["READ_ONLY ADMIN", "READ ONLY ADMIN", "CONNECTION_ADMIN"]
            .iter()
            .any(|right| grant.contains(right))
            || (grant.contains(" SUPER") || grant.contains("ALL PRIVILEGES"))
    }))
}

async fn names(session: &mut Session, database: &str) -> Result<Vec<TableSchema>> {
    let sql = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = {} AND \
         table_type <> 'SEQUENCE' ORDER BY table_name",
        text(database)
    );
    let rows = session.rows(&sql).await?;
    let names = rows.into_iter().filter_map(|row| row.into_iter().next()?);
    Ok(names
        .filter(|name| name != "sterna_fence" && name != "sterna_ledger")
        .map(|name| empty_table(&name))
        .collect())
}

fn empty_table(name: &str) -> TableSchema {
    TableSchema {
        schema: None,
        member: None,
        name: name.to_owned(),
        columns: Vec::new(),
        primary_key: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

async fn tables(
    session: &mut Session,
    database: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<TableSchema>> {
    let sql = format!(
        "SELECT table_name, table_rows, data_length, auto_increment, engine, table_collation, \
         table_comment, table_type FROM information_schema.tables WHERE table_schema = {} AND table_type IN \
         ('BASE TABLE', 'SYSTEM VERSIONED') AND table_name NOT IN ('sterna_fence', \
         'sterna_ledger') ORDER BY table_name",
        text(database)
    );
    let rows = session.rows(&sql).await?;
    let mut columns = columns(session, database).await?;
    let mut foreign_keys = foreign_keys(session, database, notes).await?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in rows {
        let cell = |at: usize| row.get(at).cloned().flatten();
        let number = |at: usize| cell(at).and_then(|cell| cell.parse::<u64>().ok());
        let name = cell(0).unwrap_or_default();
        let mut table = empty_table(&name);
        table.columns = columns.remove(&name).unwrap_or_default();
        table.foreign_keys = foreign_keys.remove(&name).unwrap_or_default();
        table.rows_estimate = number(1).unwrap_or(0);
        table.bytes_estimate = number(2).unwrap_or(0);
        table.auto_increment = number(3);
        if cell(7).as_deref() == Some("SYSTEM VERSIONED") {
            notes.push(format!(
                "table {name} is system-versioned: its current rows are copied, not its history"
            ));
        }
        let create = create_table(session, database, &name).await?;
        let engine = cell(4).unwrap_or_default();
        let (collation, comment) = (cell(5).unwrap_or_default(), cell(6).unwrap_or_default());
        ddl::read_create(&create, &mut table);
        if !engine.eq_ignore_ascii_case("InnoDB") {
            notes.push(format!(
                "table {name}: {engine} at the source, InnoDB at the target"
            ));
            table.native_options = ddl::innodb_options(&collation, &comment);
        }
        tables.push(table);
    }
    Ok(tables)
}

async fn create_table(session: &mut Session, database: &str, table: &str) -> Result<String> {
    let sql = format!("SHOW CREATE TABLE {}.{}", ident(database), ident(table));
    let row = session.row(&sql).await?.unwrap_or_default();
    Ok(row.into_iter().nth(1).flatten().unwrap_or_default())
}

async fn columns(session: &mut Session, database: &str) -> Result<BTreeMap<String, Vec<Column>>> {
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
        expression,
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
            true => ColumnDefault::Expression(text.to_owned()),
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

async fn foreign_keys(
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

/// What exists beside the tables and stays where it is.
async fn not_copied(session: &mut Session, database: &str, notes: &mut Vec<String>) -> Result<()> {
    let name = text(database);
    for (what, sql) in [
        (
            "view",
            format!("SELECT table_name FROM information_schema.views WHERE table_schema = {name}"),
        ),
        (
            "trigger",
            format!(
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = {name}"
            ),
        ),
        (
            "routine",
            format!(
                "SELECT routine_name FROM information_schema.routines WHERE routine_schema = {name}"
            ),
        ),
        (
            "event",
            format!("SELECT event_name FROM information_schema.events WHERE event_schema = {name}"),
        ),
        (
            "sequence",
            format!(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = {name} AND \
                 table_type = 'SEQUENCE'"
            ),
        ),
    ] {
        for row in session.rows(&sql).await? {
            let object = row.into_iter().next().flatten().unwrap_or_default();
            notes.push(format!("{what} {object} is not copied"));
        }
    }
    Ok(())
}

/// A chosen table must be one that can be moved exactly.
pub fn refuse_unsupported(table: &TableSchema) -> Result<()> {
    let unknown = |column: &&Column| column.canonical == CanonicalType::Any;
    match table.copied_columns().find(unknown) {
        None => Ok(()),
        Some(column) => {
            let what = format!(
                "{}.{} has the type {}",
                table.name, column.name, column.native_type
            );
            Err(Error::permanent(Code::UnsupportedType, what))
        }
    }
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
