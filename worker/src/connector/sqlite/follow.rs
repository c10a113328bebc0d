//! Following an SQLite file: triggers on the job's tables write a change table beside them, in the
//! writers' own transactions. The file must be in WAL mode, so that its writers don't wait for us.
//!
//! `sterna_log` has a row for each job that follows the file; `sterna_changes` what was logged (see
//! `watch`). Its last row is never removed, so that numbers grow whatever else is removed.
//!
//! Not seen: writers that have switched triggers off (SQLITE_DBCONFIG_ENABLE_TRIGGER).

mod keyless;
mod look;
mod place;
mod stream;
mod unique;
mod watch;
mod window;

use std::path::Path;

use common::change::{LogFacts, LogOrder, LogState, Position, Secured};
use common::code::{Code, Failure};
use common::id::JobUid;
use common::limits;
use common::schema::{SchemaObject, TableSchema};
use common::value::RowBatch;

use self::place::Place;
use self::watch::{CHANGES, LOG, Watch, trigger_prefix};
use super::objects;
use super::sample::rowid_name;
use super::session::{Access, Session, args, bind, cell, literal, quote};
use crate::connector::{
    ChangeStream, Error, FetchRequest, Origin, Result, Role, SecureWork, StreamRequest,
};

/// Columns of the change table beside a row's own: SQLite allows 2,000 in all.
const CELLS_MAX: usize = 1_990;
/// What an entry of the log is taken for, in bytes.
const ENTRY_BYTES: u64 = 100;

async fn open(path: &Path, access: Access) -> Result<Session> {
    Session::open(path, Role::Source, access, 256).await
}

fn lost(path: &Path, why: &str) -> Error {
    Error::permanent(Code::LogLost, format!("{}: {why}", path.display()))
}

/// Triggers change the source's schema, so following is for those who ask for it.
pub async fn log_facts(path: &Path, tables: &[TableSchema]) -> Result<LogFacts> {
    let unusable = |failure: Failure| Ok(LogFacts::Unusable(failure));
    let shown = path.display();
    match tokio::fs::metadata(path).await {
        Ok(found) if found.permissions().readonly() => {
            let what = format!("{shown} is read-only, and following makes triggers in it");
            return unusable(Failure::new(Code::LogUnusable, what));
        }
        Ok(_) => {}
        Err(error) => {
            let what = format!("{shown}: {error}");
            return Err(Error::permanent(Code::NoSuchDatabase, what));
        }
    }
    let mut session = open(path, Access::Read).await?;
    let has_log = session.has_log().await;
    session.close().await;
    if !has_log? {
        let what =
            format!("{shown} is not in WAL mode: a copy of it that lasts would stop its writers");
        let fix = format!("sqlite3 {shown} 'PRAGMA journal_mode=WAL'");
        return unusable(Failure::new(Code::LogUnusable, what).fix(fix));
    }
    for table in tables {
        if table.primary_key.is_empty() && rowid_name(table).is_none() {
            let what = format!(
                "{} has no key, and its columns hide the rowid: a change of it can't be told from \
                 another",
                table.name
            );
            let fix = format!("-x {}", table.name);
            return unusable(Failure::new(Code::LogUnusable, what).fix(fix));
        }
        if table.columns.len() >= CELLS_MAX {
            let what = format!("{} has more than {CELLS_MAX} columns", table.name);
            return unusable(Failure::new(Code::LogUnusable, what));
        }
    }
    Ok(LogFacts::OnRequest)
}

/// Makes change table and triggers in one transaction. It holds the write lock, so no transaction
/// of another is open: what commits later is logged, what committed before can be read.
pub async fn secure(path: &Path, work: SecureWork) -> Result<Secured> {
    let mut session = open(path, Access::Write).await?;
    let secured = async {
        session.begin_write(limits::BEGIN_DEADLINE_MS).await?;
        let secured = secure_within(&mut session, &work).await?;
        session.commit().await?;
        Ok(secured)
    };
    let secured = secured.await;
    session.close().await;
    secured
}

async fn secure_within(session: &mut Session, work: &SecureWork) -> Result<Secured> {
    let watches = watches(&work.tables)?;
    let current = &work.current;
    current.still_ours().await?;
    for sql in [
        "CREATE TABLE IF NOT EXISTS sterna_changes (id INTEGER PRIMARY KEY, job INT NOT NULL, \
         tbl INT NOT NULL, op INT NOT NULL, at INT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS sterna_log (job TEXT PRIMARY KEY, no INT NOT NULL, \
         identity TEXT NOT NULL, purged INT NOT NULL)",
    ] {
        session.quick(sql, args([])).await?;
    }
    let wanted = watches.iter().map(|watch| watch.logged().len()).max();
    let sql = "SELECT count(*) FROM pragma_table_info('sterna_changes')";
    let there = session.number(sql, args([])).await?.unwrap_or(0) - 5;
    for n in there..wanted.unwrap_or(0) as i64 {
        let sql = format!("ALTER TABLE {CHANGES} ADD COLUMN c{n}");
        session.quick(&sql, args([])).await?;
    }
    let (no, identity) = register(session, &work.job).await?;
    // Made by an earlier try, after which nothing was copied.
    drop_triggers(session, &work.job).await?;
    let sql = format!("DELETE FROM {CHANGES} WHERE job = {no}");
    session.run(&sql, args([])).await?;
    for (table, watch) in (0u32..).zip(&watches) {
        for sql in watch.triggers(session, &work.job.0, no, table).await? {
            current.still_ours().await?;
            session.run_once(&sql, args([])).await?;
        }
        prove(session, &watch.table).await?;
    }
    let sql = format!("INSERT INTO {CHANGES} (job, tbl, op, at) VALUES ({no}, -1, 0, 0)");
    session.quick(&sql, args([])).await?;
    let id = last(session).await?;
    let sql = format!("UPDATE {LOG} SET purged = {id} WHERE no = {no}");
    session.quick(&sql, args([])).await?;
    let place = Place {
        id,
        cookie: Some(cookie(session).await?),
        replay: Some(Default::default()),
    };
    Ok(Secured {
        position: place.position(),
        identity,
    })
}

/// The watches of a plan's tables, by their numbers.
fn watches(tables: &[common::plan::TablePlan]) -> Result<Vec<Watch>> {
    let watch = |plan| {
        Watch::new(plan).ok_or_else(|| {
            let what = format!("{}: nothing tells its rows apart", plan.source.name);
            Error::permanent(Code::LogUnusable, what)
        })
    };
    tables.iter().map(watch).collect()
}

/// A broken trigger would stop the source's writers: SQLite compiles them here, or this fails.
async fn prove(session: &mut Session, table: &TableSchema) -> Result<()> {
    let name = quote(&table.name);
    let written = table
        .columns
        .iter()
        .find(|column| column.generated.is_none() && !super::forms::is_hidden_rowid(column));
    let mut statements = vec![
        format!("EXPLAIN INSERT INTO {name} DEFAULT VALUES"),
        format!("EXPLAIN DELETE FROM {name}"),
    ];
    if let Some(column) = written {
        let column = quote(&column.name);
        statements.push(format!("EXPLAIN UPDATE {name} SET {column} = NULL"));
    }
    for sql in statements {
        session.rows(&sql, args([])).await?;
    }
    Ok(())
}

/// The job's number in the log and the file's identity, both made if there are none.
async fn register(session: &mut Session, job: &JobUid) -> Result<(i64, String)> {
    let sql = "INSERT INTO sterna_log (job, no, identity, purged) SELECT ?, \
               (SELECT ifnull(max(no), 0) + 1 FROM sterna_log), \
               ifnull((SELECT min(identity) FROM sterna_log), lower(hex(randomblob(16)))), 0 \
               WHERE NOT EXISTS (SELECT 1 FROM sterna_log WHERE job = ?)";
    session.quick(sql, args([&job.0, &job.0])).await?;
    let sql = "SELECT no, identity FROM sterna_log WHERE job = ?";
    match session.row(sql, args([&job.0])).await? {
        Some(row) => Ok((cell(&row, 0)?, cell(&row, 1)?)),
        None => Err(Error::permanent(Code::Internal, "sterna_log took no row")),
    }
}

async fn drop_triggers(session: &mut Session, job: &JobUid) -> Result<()> {
    let prefix = trigger_prefix(&job.0);
    let sql = format!(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, {}) = ?",
        prefix.len()
    );
    for row in session.rows(&sql, args([&prefix])).await? {
        let name: String = cell(&row, 0)?;
        let sql = format!("DROP TRIGGER {}", quote(&name));
        session.quick(&sql, args([])).await?;
    }
    Ok(())
}

/// The last number of the log; 0 = it is empty, which it never is.
async fn last(session: &mut Session) -> Result<u64> {
    let sql = format!("SELECT max(id) FROM {CHANGES}");
    let id = session.number(&sql, args([])).await?;
    Ok(id.and_then(|id| u64::try_from(id).ok()).unwrap_or(0))
}

async fn cookie(session: &mut Session) -> Result<i64> {
    let cookie = session.number("PRAGMA schema_version", args([])).await?;
    Ok(cookie.unwrap_or(0))
}

async fn is_logged(session: &mut Session) -> Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)";
    Ok(session.number(sql, args([CHANGES, LOG])).await? == Some(2))
}

/// Removes triggers, entries and, with the last job, the tables.
pub async fn release(path: &Path, job: &JobUid) -> Result<()> {
    match tokio::fs::metadata(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let mut session = open(path, Access::Write).await?;
    let released = async {
        session.begin_write(limits::BEGIN_DEADLINE_MS).await?;
        if is_logged(&mut session).await? {
            drop_triggers(&mut session, job).await?;
            let own = format!("(SELECT no FROM {LOG} WHERE job = {})", literal(&job.0));
            let sql = format!(
                "DELETE FROM {CHANGES} WHERE job = {own} AND id < (SELECT max(id) FROM {CHANGES})"
            );
            session.run(&sql, args([])).await?;
            let sql = format!("DELETE FROM {LOG} WHERE job = ?");
            session.quick(&sql, args([&job.0])).await?;
            let sql = format!("SELECT count(*) FROM {LOG}");
            if session.number(&sql, args([])).await? == Some(0) {
                for table in [CHANGES, LOG] {
                    let sql = format!("DROP TABLE {table}");
                    session.run(&sql, args([])).await?;
                }
            }
        }
        session.commit().await
    };
    let released = released.await;
    session.close().await;
    released
}

pub async fn log_end(path: &Path) -> Result<Position> {
    let mut session = open(path, Access::Read).await?;
    let id = snapshot(&mut session).await;
    session.close().await;
    let id = id?.parse().unwrap_or(0);
    let place = Place {
        id,
        ..Place::default()
    };
    Ok(place.position())
}

/// Where the log ends as the open transaction sees it.
pub async fn snapshot(session: &mut Session) -> Result<String> {
    if !is_logged(session).await? {
        let what = "the file has no change table: it was removed, or the job's beginning is gone";
        return Err(Error::permanent(Code::LogLost, what));
    }
    Ok(last(session).await?.to_string())
}

pub async fn log_state(path: &Path, _job: &JobUid, position: &Position) -> Result<LogState> {
    let end = log_end(path).await?;
    let entries = end.order.1.saturating_sub(position.order.1);
    Ok(LogState {
        behind_bytes: entries.saturating_mul(ENTRY_BYTES),
        headroom_bytes: None,
        headroom_ms: None,
    })
}

pub async fn log_position(path: &Path, text: &str) -> Result<Secured> {
    let place = Place::parse(text)?;
    let mut session = open(path, Access::Read).await?;
    let identity = match is_logged(&mut session).await {
        Ok(true) => {
            let sql = format!("SELECT min(identity) FROM {LOG}");
            let row = session.row(&sql, args([])).await?;
            row.map(|row| cell::<Option<String>>(&row, 0)).transpose()?
        }
        Ok(false) => None,
        Err(error) => return Err(error),
    };
    session.close().await;
    match identity.flatten() {
        Some(identity) => Ok(Secured {
            position: place.position(),
            identity,
        }),
        None => Err(lost(path, "no job logs the file's changes")),
    }
}

pub async fn changes(path: &Path, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
    Ok(Box::new(stream::Stream::start(path, request).await?))
}

pub fn is_in(origin: &Origin, snapshot: &str) -> Result<bool> {
    match snapshot.parse::<u64>() {
        Ok(last) => Ok(origin.order <= LogOrder(0, last)),
        Err(_) => {
            let what = format!("{snapshot:?} is no snapshot of an SQLite file");
            Err(Error::permanent(Code::Internal, what))
        }
    }
}

/// Nothing is ever missing from this log: no cell of a row is left out of it.
pub async fn fetch(path: &Path, request: FetchRequest) -> Result<RowBatch> {
    let mut session = open(path, Access::Read).await?;
    let fetched = look::fetch(&mut session, &request).await;
    session.close().await;
    fetched
}

pub async fn refresh(path: &Path, objects: &mut Vec<SchemaObject>) -> Result<()> {
    let mut session = open(path, Access::Read).await?;
    let settings = objects::settings(&mut session).await;
    session.close().await;
    objects.retain(|object| object.kind != "pragma");
    objects.extend(settings?);
    Ok(())
}

/// A number as a parameter.
fn bind_id(arguments: &mut sqlx::sqlite::SqliteArguments, id: u64) {
    bind(arguments, i64::try_from(id).unwrap_or(i64::MAX));
}
