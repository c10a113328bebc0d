//! Reads a server's catalogue into [`TableSchema`]s, and what else a plan needs to know of it.
//!
//! A column of a type that isn't known gets the canonical type `Any`, which MySQL has no other
//! use for: the catalogue lists tables a job may well exclude, so only a chosen one is refused
//! (by [`refuse_unsupported`], when it is sampled).

use common::code::Code;
use common::job::JobSpec;
use common::schema::{CanonicalType, Column, EndpointFacts, Engine, SourceMark, TableSchema};

use super::columns::{columns, foreign_keys};
use super::quote::{ident, text};
use super::session::{Host, Purpose, Session};
use super::{ddl, definition, objects, xa};
use crate::connector::{Error, Inspection, Result, Role};

/// Transactions that load at the same time. A server takes more; disks rarely do.
const WRITERS_MAX: u32 = 64;

/// See [`crate::connector::Connector::inspect`].
pub async fn inspect(host: &Host, role: Role, spec: &JobSpec) -> Result<Inspection> {
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
    let mut objects = Vec::new();
    let mark = mark(&mut session).await?;
    let tables = match role {
        Role::Source => {
            let tables = tables(&mut session, &host.database, &mut notes).await?;
            let carried = objects::of(&mut session, &host.database, spec, &tables).await?;
            objects = carried.objects;
            notes.extend(carried.notes);
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
        objects,
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

/// Whether the user may write to a server that is read-only to others.
pub async fn may_write_read_only(session: &mut Session) -> Result<bool> {
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
        .filter(|name| !["sterna_fence", "sterna_ledger", "sterna_follow"].contains(&name.as_str()))
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
        native_key: None,
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
         'sterna_ledger', 'sterna_follow') ORDER BY table_name",
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
        definition::read_create(&create, &mut table);
        if !engine.eq_ignore_ascii_case("InnoDB") {
            notes.push(format!(
                "table {name}: {engine} at the source, InnoDB at the target"
            ));
            table.native_options = ddl::innodb_options(&table.native_options, &collation, &comment);
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
