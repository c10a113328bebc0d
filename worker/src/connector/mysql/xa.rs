//! Prepared transactions and sessions of ours on the server: listing, ending, killing.
//!
//! 1397 (XAER_NOTA) proves nothing: MariaDB gives it while the preparing session is still connected
//! although XA RECOVER lists the transaction, MySQL gives it to a late owner (both measured). So a
//! session is killed until the server knows it no more, and only then its list is the truth.

use std::time::{Duration, Instant};

use common::code::Code;
use common::epoch::TxnId;
use common::limits;

use super::error::{Failed, LOCK_WAIT_TIMEOUT, NO_SUCH_THREAD, XA_RBROLLBACK, XAER_NOTA};
use super::quote;
use super::session::{Session, with_fix};
use crate::connector::Error;

/// Between two looks at something that is about to end.
pub const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// How a prepared transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Rollback,
}

/// `'gtrid'` of T; the bqual is empty.
pub fn xid(txn: &TxnId) -> String {
    format!("X'{}'", {
        let mut digits = String::new();
        quote::hex(txn.to_string().as_bytes(), &mut digits);
        digits
    })
}

/// Every prepared transaction of Sterna that the server lists.
pub async fn list(session: &mut Session) -> Result<Vec<TxnId>, Failed> {
    let rows = match session.rows("XA RECOVER").await {
        Err(failed) if failed.error.failure.code == Code::Privileges => {
            let fix = "GRANT XA_RECOVER_ADMIN ON *.* TO the user of the target's URL";
            return Err(with_fix(failed, fix.to_owned()));
        }
        rows => rows?,
    };
    // formatID, gtrid_length, bqual_length, data
    let parse = |row: Vec<Option<String>>| {
        let length: usize = row.get(1)?.as_deref()?.parse().ok()?;
        let data = row.get(3)?.as_deref()?;
        TxnId::parse(data.get(..length)?)
    };
    Ok(rows.into_iter().filter_map(parse).collect())
}

/// Ends a prepared transaction. False: the server says there is none, or can't end it now.
pub async fn end(session: &mut Session, txn: &TxnId, verdict: Verdict) -> Result<bool, Failed> {
    let verb = match verdict {
        Verdict::Commit => "COMMIT",
        Verdict::Rollback => "ROLLBACK",
    };
    let sql = format!("XA {verb} {}", xid(txn));
    match session.run_within(&sql, limits::BEGIN_DEADLINE_MS).await {
        Ok(_) => Ok(true),
        Err(failed) => match failed.number {
            XAER_NOTA | XA_RBROLLBACK | LOCK_WAIT_TIMEOUT => Ok(false),
            _ => Err(failed),
        },
    }
}

/// When the server started, in seconds since 1970; a second more or less from call to call.
pub async fn server_start(session: &mut Session) -> Result<u64, Failed> {
    let uptime = session.row("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
    let now = session.cell("SELECT UNIX_TIMESTAMP()").await?;
    let seconds = |text: Option<String>| text.and_then(|text| text.parse::<f64>().ok());
    let uptime = seconds(uptime.and_then(|row| row.into_iter().nth(1).flatten()));
    let (uptime, now) = (uptime.unwrap_or(0.0), seconds(now).unwrap_or(0.0));
    Ok((now - uptime).max(0.0) as u64)
}

/// Two readings of [`server_start`] that mean one life of the server.
pub fn same_life(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= 2
}

/// Kills a session and waits until the server knows it no more. Returns false if it may not be
/// killed (another user's session): the fence holds without it, its transaction may not end.
pub async fn kill(session: &mut Session, id: u64, deadline: Instant) -> Result<bool, Failed> {
    if id == 0 || id == session.facts.connection {
        return Ok(true);
    }
    loop {
        match session.run(&format!("KILL CONNECTION {id}")).await {
            Ok(_) => {}
            Err(failed) if failed.number == NO_SUCH_THREAD => return Ok(true),
            Err(failed) if failed.error.failure.code == Code::Privileges => return Ok(false),
            // 1095: owner of another user's thread.
            Err(failed) if failed.number == 1095 => return Ok(false),
            Err(failed) => return Err(failed),
        }
        if Instant::now() >= deadline {
            return Err(Failed {
                number: 0,
                error: Error::transient(
                    Code::InDoubt,
                    format!("session {id} of the target was killed and still rolls back"),
                ),
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
