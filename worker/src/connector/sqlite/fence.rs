//! Fence and ledger in the target file. SQLite has one writer at a time, so whatever is looked at
//! between `BEGIN IMMEDIATE` and `COMMIT` stays as it was seen.
//!
//! fence(job, unit): the newest epoch that may write; `n` counts the work finished under the unit.
//! ledger(job, part): the committed transaction of a partition, and the source's snapshot it was read
//! in, where that matters.
//! follow(job, lane): how far the source's changes are applied.

use std::collections::BTreeMap;

use common::change::Mark;
use common::code::Code;
use common::epoch::{Epoch, TxnId};
use common::id::{JobUid, PartitionNo};
use common::plan::Loaded;

use super::session::{Session, args, bind, cell};
use crate::connector::changes::{Marks, mark_of};
use crate::connector::{Error, Result};

pub const FENCE: &str = "sterna_fence";
pub const LEDGER: &str = "sterna_ledger";
pub const FOLLOW: &str = "sterna_follow";

/// Whether a table is one of ours or of SQLite's, and so never copied.
pub fn is_bookkeeping(table: &str) -> bool {
    let name = table.to_ascii_lowercase();
    name.starts_with("sqlite_") || name.starts_with("sterna_")
}

/// Makes the tables, or adds what they lack.
pub async fn create(session: &mut Session) -> Result<()> {
    for sql in [
        "CREATE TABLE IF NOT EXISTS sterna_fence (job CHAR(32) NOT NULL, unit VARCHAR(24) NOT NULL, \
         epoch INT NOT NULL, n BIGINT NOT NULL, session BIGINT, server_start VARCHAR(40), \
         PRIMARY KEY (job, unit))",
        "CREATE TABLE IF NOT EXISTS sterna_ledger (job CHAR(32) NOT NULL, part INT NOT NULL, \
         epoch INT NOT NULL, row_count BIGINT NOT NULL, byte_count BIGINT NOT NULL, \
         digest CHAR(32) NOT NULL, snapshot TEXT, PRIMARY KEY (job, part))",
        "CREATE TABLE IF NOT EXISTS sterna_follow (job CHAR(32) NOT NULL, lane INT NOT NULL, \
         mark TEXT NOT NULL, PRIMARY KEY (job, lane))",
    ] {
        session.quick(sql, args([])).await?;
    }
    // Of a version that followed nothing.
    let sql = "SELECT count(*) FROM pragma_table_info('sterna_ledger') WHERE name = 'snapshot'";
    if session.number(sql, args([])).await? == Some(0) {
        let sql = "ALTER TABLE sterna_ledger ADD COLUMN snapshot TEXT";
        session.quick(sql, args([])).await?;
    }
    Ok(())
}

/// Whether fence and ledger are there.
pub async fn exists(session: &mut Session) -> Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)";
    let found = session.number(sql, args([FENCE, LEDGER])).await?;
    Ok(found == Some(2))
}

/// Whether the job has begun here and has not been cleaned up: a worker that comes after that must
/// not begin anew.
pub async fn knows(session: &mut Session, job: &JobUid) -> Result<bool> {
    let sql = "SELECT count(*) FROM sterna_fence WHERE job = ?";
    let rows = session.number(sql, args([&job.0])).await?;
    Ok(rows.unwrap_or(0) > 0)
}

/// Whether a partition of the job has begun here: then its tables are no create task's any more.
pub async fn has_partitions(session: &mut Session, job: &JobUid) -> Result<bool> {
    let sql = "SELECT count(*) FROM sterna_fence WHERE job = ? AND unit LIKE 'p%'";
    let rows = session.number(sql, args([&job.0])).await?;
    Ok(rows.unwrap_or(0) > 0)
}

/// Raises the fence of `unit` to `epoch` inside the open write transaction, unless it stands
/// higher. Returns how much work was finished under the unit before.
pub async fn raise(session: &mut Session, job: &JobUid, unit: &str, epoch: Epoch) -> Result<i64> {
    let sql = "SELECT epoch, n FROM sterna_fence WHERE job = ? AND unit = ?";
    let found = session.row(sql, args([&job.0, unit])).await?;
    let (held, finished): (i64, i64) = match &found {
        Some(row) => (cell(row, 0)?, cell(row, 1)?),
        None => (0, 0),
    };
    if held > i64::from(epoch.0) {
        let held = Epoch(u32::try_from(held).unwrap_or(u32::MAX));
        return Err(Error::fenced(held, epoch));
    }
    if held == i64::from(epoch.0) && found.is_some() {
        return Ok(finished);
    }
    let sql = "INSERT INTO sterna_fence (job, unit, epoch, n) VALUES (?, ?, ?, 0) \
               ON CONFLICT (job, unit) DO UPDATE SET epoch = excluded.epoch";
    let mut arguments = args([&job.0, unit]);
    bind(&mut arguments, i64::from(epoch.0));
    session.quick(sql, arguments).await?;
    Ok(finished)
}

/// The last statement but one of a transaction: counts the work, if the fence still is ours.
pub async fn count(session: &mut Session, job: &JobUid, unit: &str, epoch: Epoch) -> Result<()> {
    let sql = "UPDATE sterna_fence SET n = n + 1 WHERE job = ? AND unit = ? AND epoch = ?";
    let mut arguments = args([&job.0, unit]);
    bind(&mut arguments, i64::from(epoch.0));
    match session.quick(sql, arguments).await? {
        1 => Ok(()),
        _ => Err(Error::fenced(epoch.next(), epoch)),
    }
}

/// The epoch that committed the partition, if any did.
pub async fn committed(session: &mut Session, txn: &TxnId) -> Result<Option<Epoch>> {
    let sql = "SELECT epoch FROM sterna_ledger WHERE job = ? AND part = ?";
    let mut arguments = args([&txn.job.0]);
    bind(&mut arguments, i64::from(txn.partition.0));
    let epoch = session.number(sql, arguments).await?;
    match epoch.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(epoch)) => Ok(Some(Epoch(epoch))),
        Some(Err(_)) => Err(Error::permanent(Code::Internal, "the ledger is damaged")),
    }
}

/// The last statement of a transaction.
pub async fn record(
    session: &mut Session,
    txn: &TxnId,
    loaded: &Loaded,
    snapshot: Option<&str>,
) -> Result<()> {
    let sql = "INSERT INTO sterna_ledger \
               (job, part, epoch, row_count, byte_count, digest, snapshot) \
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let mut arguments = args([&txn.job.0]);
    for number in [
        u64::from(txn.partition.0),
        u64::from(txn.epoch.0),
        loaded.digest.rows,
        loaded.bytes,
    ] {
        bind(&mut arguments, i64::try_from(number).unwrap_or(i64::MAX));
    }
    bind(&mut arguments, format!("{:032x}", loaded.digest.sum));
    bind(&mut arguments, snapshot.map(str::to_owned));
    match session.quick(sql, arguments).await? {
        1 => Ok(()),
        n => Err(Error::permanent(
            Code::Internal,
            format!("the ledger took {n} rows"),
        )),
    }
}

/// How far the job's changes are applied here, and which snapshots its rows are from.
pub async fn marks(session: &mut Session, job: &JobUid) -> Result<Marks> {
    let sql = "SELECT lane, mark FROM sterna_follow WHERE job = ?";
    let mut lanes = BTreeMap::new();
    for row in session.rows(sql, args([&job.0])).await? {
        lanes.insert(cell(&row, 0)?, cell(&row, 1)?);
    }
    let sql = "SELECT part, snapshot FROM sterna_ledger WHERE job = ? AND snapshot IS NOT NULL";
    let mut snapshots = BTreeMap::new();
    for row in session.rows(sql, args([&job.0])).await? {
        snapshots.insert(PartitionNo(cell(&row, 0)?), cell(&row, 1)?);
    }
    Ok(Marks { lanes, snapshots })
}

/// What the file stands for by the job that follows into it; None = no such job's.
pub async fn mark(session: &mut Session, job: &JobUid) -> Result<Option<Mark>> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
    if session.number(sql, args([FOLLOW])).await?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT mark FROM sterna_follow WHERE job = ? AND lane = 0";
    let text: Option<String> = match session.row(sql, args([&job.0])).await? {
        Some(row) => Some(cell(&row, 0)?),
        None => None,
    };
    text.map(|text| mark_of(&text)).transpose()
}

/// Notes how far a lane is, in the transaction of its rows.
pub async fn note(session: &mut Session, job: &JobUid, lane: u32, mark: &str) -> Result<()> {
    let sql = "INSERT INTO sterna_follow (job, lane, mark) VALUES (?, ?, ?) \
               ON CONFLICT (job, lane) DO UPDATE SET mark = excluded.mark";
    let mut arguments = args([&job.0]);
    bind(&mut arguments, i64::from(lane));
    bind(&mut arguments, mark.to_owned());
    session.quick(sql, arguments).await.map(drop)
}

/// Removes the job's rows, and the tables when no other job has any.
pub async fn forget(session: &mut Session, job: &JobUid) -> Result<()> {
    let mut tables = vec![FENCE, LEDGER];
    let there = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
    if session.number(there, args([FOLLOW])).await? == Some(1) {
        tables.push(FOLLOW);
    }
    let mut left = 0;
    for table in &tables {
        let sql = format!("DELETE FROM {table} WHERE job = ?");
        session.quick(&sql, args([&job.0])).await?;
        let sql = format!("SELECT count(*) FROM {table}");
        left += session.number(&sql, args([])).await?.unwrap_or(0);
    }
    if left == 0 {
        for table in &tables {
            session
                .quick(&format!("DROP TABLE {table}"), args([]))
                .await?;
        }
    }
    Ok(())
}
