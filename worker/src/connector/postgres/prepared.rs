//! Prepared transactions and sessions of ours on the server: listing, ending, killing.
//!
//! An answer proves little: a failed transaction answers PREPARE and COMMIT with success (and the
//! tag ROLLBACK, which the driver doesn't show), and an answer may get lost. What counts is the
//! ledger, then the server's list, after the session that was at work is gone.

use std::time::{Duration, Instant};

use common::code::Code;
use common::epoch::TxnId;
use common::limits;

use super::error::{Failed, LOCK_NOT_AVAILABLE, NOT_IN_PREREQUISITE_STATE, UNDEFINED_OBJECT};
use super::fence::SessionId;
use super::quote::text;
use super::session::Session;
use crate::connector::Error;

/// Between two looks at something that is about to end.
pub const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// How a prepared transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Rollback,
}

/// The literal of T's name.
pub fn gid(txn: &TxnId) -> String {
    text(&txn.to_string())
}

/// Every prepared transaction of Sterna in this database; others can be ended only from theirs.
pub async fn list(session: &mut Session) -> Result<Vec<TxnId>, Failed> {
    let sql = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() \
               AND gid LIKE 'sterna/%' ORDER BY gid";
    let rows = session.rows(sql).await?;
    let gids = rows.into_iter().filter_map(|row| row.into_iter().next()?);
    Ok(gids.filter_map(|gid| TxnId::parse(&gid)).collect())
}

/// Ends a prepared transaction. False: the server says there is none, or can't end it now.
pub async fn end(session: &mut Session, txn: &TxnId, verdict: Verdict) -> Result<bool, Failed> {
    let verb = match verdict {
        Verdict::Commit => "COMMIT",
        Verdict::Rollback => "ROLLBACK",
    };
    let sql = format!("{verb} PREPARED {}", gid(txn));
    match session.run_within(&sql, limits::BEGIN_DEADLINE_MS).await {
        Ok(_) => Ok(true),
        Err(failed) => match failed.sqlstate.as_str() {
            UNDEFINED_OBJECT | NOT_IN_PREREQUISITE_STATE | LOCK_NOT_AVAILABLE => Ok(false),
            _ => Err(failed),
        },
    }
}

/// Ends a session and waits until the server knows it no more. Returns false if it may not be
/// ended (another user's session): the fence holds without it, its transaction may not end.
pub async fn kill(session: &mut Session, id: SessionId, deadline: Instant) -> Result<bool, Failed> {
    if id.pid == 0 || id.pid == session.facts.pid {
        return Ok(true);
    }
    // The beginning of another user's session may be hidden: such a one is not ours to end.
    let sql = format!(
        "SELECT pg_terminate_backend(pid)::text FROM pg_catalog.pg_stat_activity WHERE \
         pid = {} AND (extract(epoch FROM backend_start) * 1000000)::int8 = {}",
        id.pid, id.started
    );
    loop {
        match session.cell(&sql).await {
            Ok(None) => return Ok(true),
            Ok(Some(_)) => {}
            Err(failed) if failed.error.failure.code == Code::Privileges => return Ok(false),
            Err(failed) => return Err(failed),
        }
        if Instant::now() >= deadline {
            let what = format!(
                "session {} of the target was terminated and still rolls back",
                id.pid
            );
            return Err(Failed {
                sqlstate: String::new(),
                error: Error::transient(Code::InDoubt, what),
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
