//! A job's turn at making its bookkeeping and tables: an advisory lock, held by the session of its
//! create task from before the first look until the end. It makes that session known while the
//! fence has no row of it yet: a later owner of the task, or the job's end, ends whoever holds it.
//! A worker takes it and only then asks whether the task is still its own, so the end of a job
//! either finds its session here or has happened before that question.

use std::time::Instant;

use common::code::Code;
use common::id::JobUid;

use super::session::Session;
use crate::connector::recovery::{Server, SessionId};
use crate::connector::{Current, Error, Result};

/// 60 random bits of the uid, which begins with a time: a positive bigint.
fn key(job: &JobUid) -> i64 {
    let digits = job.0.get(17..).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default()
}

/// Takes the turn, from an older session of the same job if need be.
pub async fn take(
    session: &mut Session,
    job: &JobUid,
    current: &Current,
    deadline: Instant,
) -> Result<()> {
    let get = format!("SELECT pg_try_advisory_lock({})::text", key(job));
    loop {
        if session.cell(&get).await?.as_deref() == Some("true") {
            break;
        }
        if Instant::now() >= deadline {
            let what = "another session of the job's create task can't be ended";
            return Err(Error::transient(Code::InDoubt, what));
        }
        // A worker that was stopped meanwhile must not end its successor's.
        current.still_ours().await?;
        evict(session, job, deadline).await?;
    }
    current.still_ours().await
}

/// Ends the session that has the job's turn, if one has.
pub async fn evict(session: &mut Session, job: &JobUid, deadline: Instant) -> Result<()> {
    let key = key(job);
    let sql = format!(
        "SELECT a.pid::text, (extract(epoch FROM a.backend_start) * 1000000)::int8::text FROM \
         pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE \
         l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.classid::int8 = {} AND \
         l.objid::int8 = {} AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE \
         datname = current_database())",
        key >> 32,
        key & 0xffff_ffff
    );
    let Some(row) = session.row(&sql).await? else {
        return Ok(());
    };
    let number = |at: usize| -> u64 {
        let cell = row.get(at).and_then(|cell| cell.as_deref()?.parse().ok());
        cell.unwrap_or(0)
    };
    let holder = SessionId {
        number: number(0),
        started: number(1),
    };
    session.kill(holder, deadline).await?;
    Ok(())
}
