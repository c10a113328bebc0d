//! One snapshot for one table's read, and its place in the binary log: what is before the place is
//! in the snapshot, what is behind it isn't. Needed for tables without a key, where a change can't be
//! replayed over rows that may have it already. No lock but the shortest on that one table.
//!
//! **MariaDB** tells: `START TRANSACTION WITH CONSISTENT SNAPSHOT` takes the engine's and the log's
//! snapshot under the lock in which commits are ordered, `Binlog_snapshot_*` is its place.
//!
//! **MySQL** doesn't. A transaction is in the log before the engine commits it, so that "position,
//! then snapshot" may miss one. Two ways:
//!
//! 1. *Look, snapshot, look.* Position P and `gtid_executed` G before and after the snapshot, both
//!    times the same, and in between (after the snapshot) `gtid_owned` empty. A transaction owns its
//!    GTID from before it is written to the log until after the engine has committed it, when the
//!    GTID moves to `gtid_executed` in one step. Let T be in the log up to P, but not in the snapshot;
//!    or in the snapshot, but behind P or not in G. Either way T was between the log and the end of
//!    its commit when the snapshot was taken: after it, its GTID is owned, or was added to G by then,
//!    or T moved P. All three are seen, and the next attempt is made.
//! 2. *A lock on the table*, in a second session, for the milliseconds of snapshot and position, where
//!    the log never stands still (or has no GTIDs): `LOCK TABLES t READ` waits until every transaction
//!    that wrote to the table has ended (it keeps its metadata lock until the engine has committed)
//!    and lets none begin to write. While it waits, others that want to write wait behind it: its
//!    `lock_wait_timeout` is a second. Needs the right `LOCK TABLES`.
//!
//! Tables of **engines without transactions** have no snapshot: they are read under such a lock.

use std::time::Duration;

use common::code::Code;
use common::schema::TableSchema;
use tokio::time::sleep;

use super::quote::{ident, text};
use super::session::{Host, Purpose, Session};
use crate::connector::{Error, Result, Role};

/// Snapshots tried without a lock.
const LOOKS: u32 = 10;
/// Locks tried for a second each, with twice that between them for those who waited behind.
const LOCKS: u32 = 15;
const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";

/// Puts `session` into the snapshot in which `table` is to be read; its place as `file:offset`.
pub async fn pin(host: &Host, session: &mut Session, table: &TableSchema) -> Result<String> {
    let database = table.schema.as_deref().unwrap_or(&host.database);
    let name = format!("{}.{}", ident(database), ident(&table.name));
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    session.run(isolation).await?;
    if !has_snapshots(session, database, &table.name).await? {
        lock(session, &name).await?;
        return position(session).await;
    }
    if session.facts.mariadb {
        session.run(SNAPSHOT).await?;
        return told(session).await;
    }
    for attempt in 0..LOOKS {
        if let Some(place) = look(session).await? {
            return Ok(place);
        }
        session.run("ROLLBACK").await?;
        sleep(Duration::from_millis(1 << attempt.min(5))).await;
    }
    let mut locker = host.open(Role::Source, Purpose::Read).await?;
    lock(&mut locker, &name).await?;
    session.run(SNAPSHOT).await?;
    let place = position(session).await?;
    locker.run("UNLOCK TABLES").await?;
    Ok(place)
}

async fn has_snapshots(session: &mut Session, database: &str, table: &str) -> Result<bool> {
    let sql = format!(
        "SELECT e.transactions FROM information_schema.tables t JOIN information_schema.engines e \
         ON e.engine = t.engine WHERE t.table_schema = {} AND t.table_name = {}",
        text(database),
        text(table)
    );
    Ok(session.cell(&sql).await?.as_deref() == Some("YES"))
}

/// Where the snapshot of this session is, as MariaDB says it.
async fn told(session: &mut Session) -> Result<String> {
    let rows = session.rows("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    let cell = |name: &str| {
        let mut rows = rows.iter();
        let row = rows.find(|row| {
            let found = row.first().and_then(Option::as_deref);
            found.is_some_and(|found| found.eq_ignore_ascii_case(name))
        });
        row.and_then(|row| row.get(1)?.clone()).unwrap_or_default()
    };
    let (file, offset) = (
        cell("binlog_snapshot_file"),
        cell("binlog_snapshot_position"),
    );
    match file.is_empty() {
        false => Ok(format!("{file}:{offset}")),
        true => Err(no_log()),
    }
}

/// Takes a snapshot; its place, if it is certain.
async fn look(session: &mut Session) -> Result<Option<String>> {
    let executed = "SELECT @@GLOBAL.gtid_executed";
    let mode = session.cell("SELECT @@GLOBAL.gtid_mode").await?;
    // A transaction without a GTID shows up in neither set.
    if mode.as_deref() != Some("ON") {
        return Ok(None);
    }
    let before = (position(session).await?, session.cell(executed).await?);
    session.run(SNAPSHOT).await?;
    let owned = session.cell("SELECT @@GLOBAL.gtid_owned").await?;
    let after = (position(session).await?, session.cell(executed).await?);
    let certain = before == after && owned.is_none_or(|owned| owned.is_empty());
    Ok(certain.then_some(after.0))
}

/// Where the log ends now.
async fn position(session: &mut Session) -> Result<String> {
    let mut status = session.row("SHOW MASTER STATUS").await;
    if matches!(&status, Err(failed) if failed.number != 0) {
        status = session.row("SHOW BINARY LOG STATUS").await;
    }
    let row = status?.ok_or_else(no_log)?;
    let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok(format!("{}:{}", cell(0), cell(1)))
}

/// Locks a table against writers, in this session.
async fn lock(session: &mut Session, name: &str) -> Result<()> {
    session.run("SET SESSION lock_wait_timeout = 1").await?;
    for attempt in 1.. {
        match session.run(&format!("LOCK TABLES {name} READ")).await {
            Ok(_) => break,
            // ER_LOCK_WAIT_TIMEOUT
            Err(failed) if failed.number == 1205 && attempt < LOCKS => {
                sleep(Duration::from_secs(2)).await;
            }
            Err(failed) if failed.number == 1205 => {
                let what = format!(
                    "table {name} has no key, and a transaction that wrote to it doesn't end: no \
                     snapshot of it has a known place in the log"
                );
                return Err(Error::transient(Code::OpenTransaction, what));
            }
            // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
            Err(failed) if matches!(failed.number, 1044 | 1142) => {
                let mut error = failed.error;
                let database = name.split("`.`").next().unwrap_or_default();
                let fix = format!("GRANT LOCK TABLES ON {database}`.* TO CURRENT_USER()");
                error.failure.fixes.push(fix);
                return Err(error);
            }
            Err(failed) => return Err(failed.into()),
        }
    }
    Ok(())
}

fn no_log() -> Error {
    Error::permanent(Code::LogUnusable, "the source writes no binary log")
}
