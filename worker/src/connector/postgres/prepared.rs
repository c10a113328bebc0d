//! What recovery needs of PostgreSQL: prepared transactions and sessions of ours on the server.
//!
//! An answer proves little: a failed transaction answers PREPARE and COMMIT with success (and the
//! tag ROLLBACK, which the driver doesn't show), and an answer may get lost. What counts is the
//! ledger, then the server's list, after the session that was at work is gone.

use std::time::Instant;

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::id::JobUid;
use common::limits;

use super::error::{
    Failed, LOCK_NOT_AVAILABLE, NOT_IN_PREREQUISITE_STATE, UNDEFINED_OBJECT, UNDEFINED_TABLE,
    UNIQUE_VIOLATION,
};
use super::fence;
use super::quote::text;
use super::session::{Session, TextRow};
use crate::connector::Error;
use crate::connector::recovery::books::Books;
use crate::connector::recovery::{self, LOOK_AGAIN, Refusal, Server, SessionId, Verdict};

/// The literal of T's name.
pub fn gid(txn: &TxnId) -> String {
    text(&txn.to_string())
}

/// The number of a job's turn: 60 random bits of the uid, which begins with a time.
fn turn(job: &JobUid) -> i64 {
    let digits = job.0.get(17..).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default()
}

/// Every prepared transaction of Sterna in this database; others can be ended only from theirs.
pub async fn list(session: &mut Session) -> Result<Vec<TxnId>, Failed> {
    let sql = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() \
               AND gid LIKE 'sterna/%' ORDER BY gid";
    let rows = session.rows(sql).await?;
    let gids = rows.into_iter().filter_map(|row| row.into_iter().next()?);
    Ok(gids.filter_map(|gid| TxnId::parse(&gid)).collect())
}

impl From<Failed> for recovery::Failed {
    fn from(failed: Failed) -> recovery::Failed {
        let refusal = match failed.sqlstate.as_str() {
            LOCK_NOT_AVAILABLE => Some(Refusal::LockWait),
            UNIQUE_VIOLATION => Some(Refusal::DuplicateKey),
            UNDEFINED_TABLE => Some(Refusal::NoSuchTable),
            _ => None,
        };
        let error = failed.error;
        recovery::Failed { refusal, error }
    }
}

#[async_trait]
impl Server for Session {
    fn text(value: &str) -> String {
        text(value)
    }

    fn is_alive(&self) -> bool {
        Session::is_alive(self)
    }

    async fn id(&mut self) -> Result<SessionId, recovery::Failed> {
        Ok(SessionId {
            number: self.facts.pid,
            started: self.facts.started,
        })
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, recovery::Failed> {
        Ok(self.rows(sql).await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, recovery::Failed> {
        Ok(self.run_within(sql, limits::BEGIN_DEADLINE_MS).await?)
    }

    async fn kill(&mut self, id: SessionId, deadline: Instant) -> Result<(), recovery::Failed> {
        let SessionId { number, started } = id;
        // The beginning of another user's session may be hidden: such a one is not ours to end.
        let sql = format!(
            "SELECT pg_terminate_backend(pid)::text FROM pg_catalog.pg_stat_activity WHERE \
             pid = {number} AND (extract(epoch FROM backend_start) * 1000000)::int8 = {started}"
        );
        loop {
            match self.cell(&sql).await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) => {}
                Err(failed) if failed.error.failure.code == Code::Privileges => return Ok(()),
                Err(failed) => return Err(failed.into()),
            }
            if Instant::now() >= deadline {
                let what = format!("session {number} of the target was ended, still rolls back");
                let error = Error::transient(Code::InDoubt, what);
                let refusal = None;
                return Err(recovery::Failed { refusal, error });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn list(&mut self) -> Result<Vec<TxnId>, recovery::Failed> {
        Ok(list(self).await?)
    }

    async fn end(&mut self, txn: &TxnId, verdict: Verdict) -> Result<bool, recovery::Failed> {
        let sql = format!("{} PREPARED {}", verdict.verb(), gid(txn));
        match self.run_within(&sql, limits::BEGIN_DEADLINE_MS).await {
            Ok(_) => Ok(true),
            Err(failed) => match failed.sqlstate.as_str() {
                UNDEFINED_OBJECT | NOT_IN_PREREQUISITE_STATE | LOCK_NOT_AVAILABLE => Ok(false),
                _ => Err(failed.into()),
            },
        }
    }

    async fn try_turn(&mut self, job: &JobUid) -> Result<bool, recovery::Failed> {
        let sql = format!("SELECT pg_try_advisory_lock({})::text", turn(job));
        Ok(self.cell(&sql).await?.as_deref() == Some("true"))
    }

    async fn turn_holder(&mut self, job: &JobUid) -> Result<Option<SessionId>, recovery::Failed> {
        let key = turn(job);
        let sql = format!(
            "SELECT a.pid::text, (extract(epoch FROM a.backend_start) * 1000000)::int8::text FROM \
             pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE \
             l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.classid::int8 = {} AND \
             l.objid::int8 = {} AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE \
             datname = current_database())",
            key >> 32,
            key & 0xffff_ffff
        );
        let row = self.row(&sql).await?;
        let number = |row: &TextRow, at: usize| -> u64 {
            let cell = row.get(at).and_then(|cell| cell.as_deref()?.parse().ok());
            cell.unwrap_or(0)
        };
        Ok(row.map(|row| SessionId {
            number: number(&row, 0),
            started: number(&row, 1),
        }))
    }

    async fn drop_books(&mut self, books: &Books) -> Result<(), recovery::Failed> {
        Ok(fence::drop(self, books).await?)
    }
}
