//! What is made at a source to follow it: a publication and a logical slot, under names made of the
//! job's. The slot comes second: decoding looks for the publication as it was at each change.

use std::time::Duration;

use common::code::Code;
use common::id::JobUid;
use common::limits;
use common::plan::TablePlan;
use common::schema::{Member, TableSchema};
use tokio::time::{Instant, sleep, timeout};

use super::super::error::Failed;
use super::super::quote::{ident, qualified, text};
use super::super::session::{Host, Purpose, Session};
use super::place::{Identity, Snapshot};
use super::{facts, place};
use crate::connector::{Current, Error, Result, Role, SecureWork};
use common::change::Secured;

/// The slot is somebody's.
const IN_USE: &str = "55006";
/// The slot isn't there any more.
const GONE: &str = "42704";
/// Transactions that an error names.
const SHOWN_MAX: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The name of a job's slot and publication.
pub fn name(job: &JobUid) -> String {
    format!("sterna_{job}")
}

/// See [`crate::connector::Connector::secure`].
pub async fn secure(host: &Host, work: SecureWork) -> Result<Secured> {
    let mut session = host.open(Role::Source, Purpose::Define).await?;
    let schemas: Vec<TableSchema> = work.tables.iter().map(|t| t.source.clone()).collect();
    let (name, current) = (name(&work.job), &work.current);
    // What an earlier attempt left: nothing was copied since.
    drop_own(&mut session, &name, current).await?;
    if let Some(failure) = facts::in_the_way(&mut session, host, &schemas).await? {
        return Err(Error {
            class: common::code::ErrorClass::Permanent,
            failure,
        });
    }
    let made = make(host, &mut session, &name, &work).await;
    match made {
        Ok(secured) => Ok(secured),
        Err(error) => {
            // It would keep the source's log for nobody.
            let mut other = host.open(Role::Source, Purpose::Define).await?;
            drop_own(&mut other, &name, current).await?;
            Err(error)
        }
    }
}

async fn make(
    host: &Host,
    session: &mut Session,
    name: &str,
    work: &SecureWork,
) -> Result<Secured> {
    let deadline = Instant::now() + Duration::from_millis(limits::OPEN_TRANSACTIONS_WAIT_MS);
    let publication = publication(host, session, name, &work.tables).await?;
    work.current.still_ours().await?;
    session.run(&publication).await?;
    work.current.still_ours().await?;
    let lsn = create(host, session, name, deadline).await?;
    wait_for_open(session, deadline).await?;
    Ok(Secured {
        position: place::position(lsn),
        identity: identity(session, host, name).await?.text(),
    })
}

/// A root is named only where all of its partitions are the job's: with it come those made later,
/// which are a change of the schema then, not rows to be passed over.
async fn publication(
    host: &Host,
    session: &mut Session,
    name: &str,
    tables: &[TablePlan],
) -> Result<String> {
    let sql_of = |table: &TableSchema| {
        let schema = host.schema_of(table.schema.as_deref());
        qualified(schema, &table.name)
    };
    let known: Vec<(String, String)> = tables
        .iter()
        .map(|plan| {
            let schema = host.schema_of(plan.source.schema.as_deref());
            (schema.to_owned(), plan.source.name.clone())
        })
        .collect();
    let mut published = Vec::with_capacity(tables.len());
    for plan in tables {
        let table = sql_of(&plan.source);
        let native = plan.form == common::schema::CellForm::Native;
        if plan.source.member == Some(Member::Root) && native {
            let leaves = format!(
                "SELECT n.nspname::text, c.relname::text FROM \
                 pg_catalog.pg_partition_tree({}::regclass) t JOIN pg_catalog.pg_class c ON c.oid \
                 = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf",
                text(&table)
            );
            let leaves = session.rows(&leaves).await?;
            let all = leaves.into_iter().all(|row| {
                let mut cells = row.into_iter().flatten();
                let leaf = cells.next().zip(cells.next());
                leaf.is_some_and(|leaf| known.contains(&leaf))
            });
            if !all {
                continue;
            }
        }
        published.push(format!("ONLY {table}"));
    }
    let tables = match published.is_empty() {
        true => String::new(),
        false => format!(" FOR TABLE {}", published.join(", ")),
    };
    Ok(format!(
        "CREATE PUBLICATION {}{tables} WITH (publish = 'insert, update, delete, truncate', \
         publish_via_partition_root = false)",
        ident(name)
    ))
}

/// Makes the slot. The server waits for open and prepared transactions, and goes on waiting when
/// nobody listens any more: then its session is ended from another one.
async fn create(host: &Host, session: &mut Session, name: &str, deadline: Instant) -> Result<u64> {
    // The wait is one for locks.
    session.run("SET lock_timeout = 0").await?;
    let sql = format!(
        "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput')",
        text(name)
    );
    let pid = session.facts.pid;
    let longer_ms = limits::OPEN_TRANSACTIONS_WAIT_MS * 2;
    let created = timeout_at(deadline, session.rows_within(&sql, longer_ms)).await;
    match created {
        Some(rows) => {
            let cell = rows?
                .into_iter()
                .next()
                .and_then(|row| row.into_iter().next());
            place::answered(cell.flatten())
        }
        None => {
            let mut other = host.open(Role::Source, Purpose::Define).await?;
            let error = in_the_way(&mut other, None).await?;
            let end = format!("SELECT pg_catalog.pg_terminate_backend({pid}::int4)::text");
            other.cell(&end).await?;
            wait_until_gone(&mut other, pid).await?;
            Err(error)
        }
    }
}

async fn timeout_at<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, future).await.ok()
}

async fn wait_until_gone(session: &mut Session, pid: u64) -> Result<()> {
    let there = format!("SELECT pid::text FROM pg_catalog.pg_stat_activity WHERE pid = {pid}");
    let gone = async {
        while session.cell(&there).await?.is_some() {
            sleep(LOOK_AGAIN).await;
        }
        Ok::<(), Failed>(())
    };
    match timeout(Duration::from_millis(limits::BEGIN_DEADLINE_MS), gone).await {
        Ok(gone) => Ok(gone?),
        Err(_) => {
            let what = format!("session {pid} of the source was ended and is still there");
            Err(Error::transient(Code::SourceFailed, what))
        }
    }
}

/// Waits until every transaction has ended that is in progress now: one may have written its commit
/// to the log before the slot was there, and still be invisible.
async fn wait_for_open(session: &mut Session, deadline: Instant) -> Result<()> {
    let sql = "SELECT pg_catalog.pg_current_snapshot()::text";
    let open = |text: Option<String>| -> Result<Vec<u64>> {
        Ok(Snapshot::parse(&text.unwrap_or_default())?.open)
    };
    let mut left = open(session.cell(sql).await?)?;
    while !left.is_empty() {
        if Instant::now() >= deadline {
            return Err(in_the_way(session, Some(&left)).await?);
        }
        sleep(LOOK_AGAIN).await;
        let now = open(session.cell(sql).await?)?;
        left.retain(|xid| now.contains(xid));
    }
    Ok(())
}

/// The open transactions by name; those of `xids` if given.
async fn in_the_way(session: &mut Session, xids: Option<&[u64]>) -> Result<Error> {
    let sql = "SELECT backend_xid::text, 'session ' || pid || coalesce(' of ' || usename, '') || \
         coalesce(' on ' || datname, '') || ' (' || coalesce(nullif(application_name, '') || ', ', \
         '') || coalesce(state, 'in progress') || coalesce(', since ' || date_trunc('second', \
         xact_start)::text, '') || ')', 'SELECT pg_terminate_backend(' || pid || ')' FROM \
         pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         UNION ALL SELECT transaction::text, 'prepared transaction ' || quote_literal(gid) || ' of \
         ' || owner || ' on ' || database || ' (since ' || date_trunc('second', prepared)::text || \
         ')', 'ROLLBACK PREPARED ' || quote_literal(gid) || '; -- or COMMIT PREPARED; on database ' \
         || database FROM pg_catalog.pg_prepared_xacts";
    let rows = session.rows(sql).await?;
    let wanted = |xid: &str| match xids {
        None => true,
        Some(xids) => xids.iter().any(|full| (*full as u32).to_string() == xid),
    };
    let mut named = Vec::new();
    let mut fixes = Vec::new();
    for row in rows {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let (Some(xid), Some(who), Some(fix)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        if wanted(&xid) && named.len() < SHOWN_MAX {
            named.push(format!("{who}, transaction {xid}"));
            fixes.push(fix);
        }
    }
    let minutes = limits::OPEN_TRANSACTIONS_WAIT_MS / 60_000;
    let what = match named.is_empty() {
        true => format!("a transaction at the source did not end within {minutes} minutes"),
        false => format!("not ended within {minutes} minutes: {}", named.join("; ")),
    };
    let mut error = Error::permanent(Code::OpenTransaction, what);
    error.failure.fixes = fixes;
    Ok(error)
}

/// See [`crate::connector::Connector::release`].
pub async fn release(host: &Host, job: &JobUid) -> Result<()> {
    let mut session = host.open(Role::Source, Purpose::Define).await?;
    drop_own(&mut session, &name(job), &Current::always()).await
}

/// Ends the session that uses the slot, drops slot and publication; Ok if nothing is there.
async fn drop_own(session: &mut Session, name: &str, current: &Current) -> Result<()> {
    let there = format!(
        "SELECT 1::text FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        text(name)
    );
    let drop = format!("SELECT pg_catalog.pg_drop_replication_slot({})", text(name));
    let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
    while session.cell(&there).await?.is_some() {
        current.still_ours().await?;
        end_user(session, name).await?;
        match session.run(&drop).await {
            Ok(_) => break,
            Err(failed) if failed.sqlstate == GONE => break,
            Err(failed) if failed.sqlstate == IN_USE && Instant::now() < deadline => {
                sleep(LOOK_AGAIN).await;
            }
            Err(failed) => return Err(failed.about(&format!("slot {name}")).into()),
        }
    }
    let there = format!(
        "SELECT 1::text FROM pg_catalog.pg_publication WHERE pubname = {}",
        text(name)
    );
    if session.cell(&there).await?.is_some() {
        current.still_ours().await?;
        let drop = format!("DROP PUBLICATION IF EXISTS {}", ident(name));
        session.run(&drop).await?;
    }
    Ok(())
}

/// Whether a session has the slot.
pub async fn is_in_use(session: &mut Session, name: &str) -> Result<bool> {
    let sql = format!(
        "SELECT active::text FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        text(name)
    );
    Ok(session.cell(&sql).await?.as_deref() == Some("true"))
}

/// Ends the session that has the slot, if any.
pub async fn end_user(session: &mut Session, name: &str) -> Result<()> {
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(active_pid)::text FROM \
         pg_catalog.pg_replication_slots WHERE slot_name = {} AND active_pid IS NOT NULL",
        text(name)
    );
    session.cell(&sql).await?;
    Ok(())
}

/// This server and database, and the slot to read through.
pub async fn identity(session: &mut Session, host: &Host, slot: &str) -> Result<Identity> {
    // The timeline of the last checkpoint may be an older one.
    let sql = "SELECT system_identifier::text, ('x' || substr(pg_catalog.pg_walfile_name(\
         pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int8::text FROM \
         pg_catalog.pg_control_system()";
    if session.facts.in_recovery {
        let what = format!("{} is a standby now", host.name);
        return Err(Error::permanent(Code::SourceOther, what));
    }
    let row = session.row(sql).await?.unwrap_or_default();
    let mut cells = row.into_iter().map(Option::unwrap_or_default);
    Ok(Identity {
        system: cells.next().unwrap_or_default(),
        timeline: cells.next().unwrap_or_default(),
        slot: slot.to_owned(),
        database: host.database.clone(),
    })
}

/// Whether the publication still has all that is to come: what was changed while a table was not in
/// it is lost without a word.
pub async fn check_publication(session: &mut Session, name: &str, tables: &[String]) -> Result<()> {
    let lost = |why: String| {
        let what = format!("publication {name} {why}: changes since may be lost");
        Err(Error::permanent(Code::LogLost, what))
    };
    let sql = format!(
        "SELECT (pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot)::text, \
         puballtables::text FROM pg_catalog.pg_publication WHERE pubname = {}",
        text(name)
    );
    let Some(row) = session.row(&sql).await? else {
        return lost("is gone: somebody dropped it".to_owned());
    };
    let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    if cell(0) != "true" {
        return lost("was altered".to_owned());
    }
    if cell(1) == "true" {
        return Ok(());
    }
    for some in tables.chunks(500) {
        let list: Vec<String> = some
            .iter()
            .map(|table| format!("({})", text(table)))
            .collect();
        // A root stands for its partitions, and they for it.
        let sql = format!(
            "SELECT v.name FROM (VALUES {}) v(name) JOIN pg_class c ON c.oid = \
             to_regclass(v.name) WHERE c.relkind = 'r' AND NOT EXISTS (SELECT FROM \
             pg_publication_tables p WHERE p.pubname = {} AND format('%I.%I', p.schemaname, \
             p.tablename)::regclass = c.oid)",
            list.join(", "),
            text(name)
        );
        let missing = session.rows(&sql).await?;
        let missing: Vec<String> = missing.into_iter().flatten().flatten().collect();
        if !missing.is_empty() {
            return lost(format!("no longer has {}", missing.join(", ")));
        }
    }
    Ok(())
}

/// Whether the slot still has everything from `from` on; LogLost by name if not.
pub async fn check(session: &mut Session, slot: &str, from: u64) -> Result<()> {
    let lost = |why: String| {
        let mut error = Error::permanent(Code::LogLost, format!("slot {slot} {why}"));
        let fix = "raise max_slot_wal_keep_size at the source, and copy again";
        error.failure.fixes.push(fix.to_owned());
        error
    };
    // Columns that newer servers have are asked for through JSON.
    let sql = format!(
        "SELECT slot_type, plugin::text, database::text, coalesce(wal_status, 'lost'), \
         confirmed_flush_lsn::text, coalesce(row_to_json(s) ->> 'conflicting', 'false'), \
         row_to_json(s) ->> 'invalidation_reason', current_database()::text FROM \
         pg_catalog.pg_replication_slots s WHERE slot_name = {}",
        text(slot)
    );
    let Some(row) = session.row(&sql).await? else {
        return Err(lost("is gone: somebody dropped it".to_owned()));
    };
    let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    if cell(0) != "logical" || cell(1) != "pgoutput" || cell(2) != cell(7) {
        return Err(lost(format!(
            "is not the one that was made: {} {} of database {}",
            cell(0),
            cell(1),
            cell(2)
        )));
    }
    if !cell(6).is_empty() {
        return Err(lost(format!("was invalidated: {}", cell(6))));
    }
    if cell(3) == "lost" || cell(5) == "true" {
        return Err(lost(
            "was invalidated: the server removed what it had to keep".to_owned(),
        ));
    }
    match place::lsn(&cell(4)) {
        Some(confirmed) if confirmed <= from => Ok(()),
        _ => Err(lost(format!(
            "was moved to {} by somebody else: what comes after {} can't be read any more",
            cell(4),
            place::text(from)
        ))),
    }
}
