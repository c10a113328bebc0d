//! Looks at a server in either role: whether it can play it, and what it holds. Changes nothing.

use std::collections::BTreeSet;

use common::code::Code;
use common::job::JobSpec;
use common::naming;
use common::schema::{EndpointFacts, Engine, TableSchema};

use super::inspect_tables::{self, Found};
use super::mark;
use super::objects;
use super::quote::{ident, text};
use super::session::{Host, Purpose, Session};
use crate::connector::{Error, Inspection, Result, Role};

/// The oldest server whose catalogue is known.
const VERSION_MIN: u32 = 140_000;
/// Transactions that load at the same time. A server takes more; disks rarely do.
const WRITERS_MAX: u32 = 32;
/// Connections and prepared transactions left to others.
const SPARE: u32 = 5;

/// See [`crate::connector::Connector::inspect`].
pub async fn inspect(host: &Host, role: Role, spec: &JobSpec) -> Result<Inspection> {
    let mut session = host.open(role, Purpose::Read).await?;
    session.search_path(&[&host.schema]).await?;
    if session.facts.version_num < VERSION_MIN {
        let what = format!(
            "{}: PostgreSQL {} is older than 14",
            host.name, session.facts.version
        );
        return Err(Error::permanent(Code::NotBuilt, what));
    }
    match role {
        Role::Source => source(&mut session, host, spec).await,
        Role::Target => target(&mut session, host).await,
    }
}

fn facts(session: &Session, writers_max: u32) -> EndpointFacts {
    EndpointFacts {
        engine: Engine::Postgres,
        version: session.facts.version.clone(),
        durable_prepare: session.facts.max_prepared_transactions > 0,
        writers_max,
    }
}

async fn source(session: &mut Session, host: &Host, spec: &JobSpec) -> Result<Inspection> {
    if spec.large_objects {
        let what = "copying PostgreSQL's large objects";
        return Err(Error::permanent(Code::NotBuilt, what));
    }
    check_schema(session, host).await?;
    // Before anything else is read.
    let mark = mark::mark(session).await?;
    let mut notes = Vec::new();
    let same_engine = spec.target.engine() == Some(Engine::Postgres);
    let found = inspect_tables::tables(session, &host.schema, !same_engine, &mut notes).await?;
    if same_engine {
        refuse_moves(spec, &found)?;
    }
    let left_out = left_out(spec, &found);
    let all = objects::read(session).await?;
    let objects = objects::without(all, &left_out, &mut notes);
    objects::not_carried(session, &mut notes).await?;
    Ok(Inspection {
        facts: facts(session, WRITERS_MAX),
        tables: found.into_iter().map(|found| found.table).collect(),
        mark,
        objects,
        notes,
    })
}

/// A schema that isn't there holds nothing: a wrong name must not look like an empty database.
async fn check_schema(session: &mut Session, host: &Host) -> Result<()> {
    let name = text(&host.schema);
    let there = format!("SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = {name}");
    match session.cell(&there).await? {
        Some(_) => Ok(()),
        None => {
            let what = format!("{} has no schema {}", host.name, host.schema);
            let mut error = Error::permanent(Code::NoSuchDatabase, what);
            let fix = "name one that is there: ?schema=NAME at the end of the URL";
            error.failure.fixes.push(fix.to_owned());
            Err(error)
        }
    }
}

/// The source's own definitions name their schemas: only the default one may be called otherwise.
fn refuse_moves(spec: &JobSpec, found: &[Found]) -> Result<()> {
    for Found { table, .. } in found {
        let (from, postgres) = (table.schema.as_deref(), Engine::Postgres);
        let to = naming::schema_in_target(spec, from, postgres, postgres);
        if to.ok().flatten() != table.schema {
            let what = format!(
                "{} to another schema, between two PostgreSQL databases (the default schema can \
                 be chosen by ?schema= of the two URLs)",
                table.full_name()
            );
            return Err(Error::permanent(Code::NotBuilt, what));
        }
    }
    Ok(())
}

/// The tables that the job doesn't choose.
fn left_out(spec: &JobSpec, found: &[Found]) -> Vec<u32> {
    let names: Vec<String> = found.iter().map(|found| found.table.full_name()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (chosen, _) = spec.select(&names);
    let chosen: BTreeSet<&str> = chosen.into_iter().collect();
    let both = found.iter().zip(&names);
    both.filter(|(_, name)| !chosen.contains(*name))
        .map(|(found, _)| found.oid)
        .collect()
}

async fn target(session: &mut Session, host: &Host) -> Result<Inspection> {
    let mut notes = Vec::new();
    check_writable(session, host).await?;
    let max_prepared = session.facts.max_prepared_transactions;
    let connections = "SELECT setting FROM pg_settings WHERE name = 'max_connections'";
    let connections = session.cell(connections).await?;
    let connections: u32 = connections.and_then(|c| c.parse().ok()).unwrap_or(100);
    let mut writers_max = WRITERS_MAX.min(connections.saturating_sub(SPARE) / 2);
    match max_prepared {
        0 => notes.push(
            "the target has max_prepared_transactions = 0: a partition whose worker dies before \
             its commit is copied again. To change that: ALTER SYSTEM SET \
             max_prepared_transactions = 64; then restart the server"
                .to_owned(),
        ),
        some => writers_max = writers_max.min(some.saturating_sub(SPARE).max(some / 2)),
    }
    Ok(Inspection {
        facts: facts(session, writers_max.max(1)),
        tables: names(session, &host.schema).await?,
        mark: None,
        objects: Vec::new(),
        notes,
    })
}

async fn check_writable(session: &mut Session, host: &Host) -> Result<()> {
    // The session itself was made read-only; what the role or database says is in pg_settings.
    let read_only = "SELECT reset_val FROM pg_settings WHERE name = \
                     'default_transaction_read_only'";
    let read_only = session.cell(read_only).await?;
    if session.facts.in_recovery || read_only.as_deref() == Some("on") {
        let what = match session.facts.in_recovery {
            true => format!("{}: the server is a standby", host.name),
            false => format!("{}: its transactions are read-only by default", host.name),
        };
        return Err(Error::permanent(Code::TargetReadOnly, what));
    }
    let schema = text(&host.schema);
    let rights = format!(
        "SELECT has_database_privilege(current_database(), 'CREATE')::text, (SELECT \
         has_schema_privilege(oid, 'CREATE')::text FROM pg_namespace WHERE nspname = {schema}), \
         current_user::text"
    );
    let row = session.row(&rights).await?.unwrap_or_default();
    let cell = |at: usize| row.get(at).cloned().flatten();
    let (database, schema, user) = (cell(0), cell(1), cell(2).unwrap_or_default());
    let (what, fix) = match (database.as_deref(), schema.as_deref()) {
        (_, Some("true")) | (Some("true"), None) => return Ok(()),
        (_, Some(_)) => (
            format!("{user} may not create tables in schema {}", host.schema),
            format!(
                "GRANT CREATE, USAGE ON SCHEMA {} TO {}",
                ident(&host.schema),
                ident(&user)
            ),
        ),
        (_, None) => (
            format!(
                "schema {} is not there, and {user} may not create it",
                host.schema
            ),
            format!(
                "GRANT CREATE ON DATABASE {} TO {}",
                ident(&host.database),
                ident(&user)
            ),
        ),
    };
    let mut error = Error::permanent(Code::Privileges, what);
    error.failure.fixes.push(fix);
    Err(error)
}

/// Only the names of what is there.
async fn names(session: &mut Session, default_schema: &str) -> Result<Vec<TableSchema>> {
    let mut notes = Vec::new();
    let found = inspect_tables::tables(session, default_schema, false, &mut notes).await?;
    Ok(found.into_iter().map(|found| found.table).collect())
}
