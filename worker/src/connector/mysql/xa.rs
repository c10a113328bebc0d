//! What recovery needs of MySQL and MariaDB: XA transactions and sessions of ours on the server.
//!
//! 1397 (XAER_NOTA) proves nothing: MariaDB gives it while the preparing session is still connected
//! although XA RECOVER lists the transaction, MySQL gives it to a late owner (both measured). So a
//! session is killed until the server knows it no more, and only then its list is the truth.

use std::time::Instant;

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::id::JobUid;
use common::limits;

use super::error::{
    DUPLICATE_KEY, Failed, LOCK_WAIT_TIMEOUT, NO_SUCH_TABLE, NO_SUCH_THREAD, NOT_OWNER,
    XA_RBROLLBACK, XAER_NOTA,
};
use super::fence;
use super::quote;
use super::session::{Session, TextRow, with_fix};
use crate::connector::Error;
use crate::connector::recovery::books::Books;
use crate::connector::recovery::{self, LOOK_AGAIN, Refusal, Server, SessionId, Verdict};

/// `'gtrid'` of T; the bqual is empty.
pub fn xid(txn: &TxnId) -> String {
    format!("X'{}'", {
        let mut digits = String::new();
        quote::hex(txn.to_string().as_bytes(), &mut digits);
        digits
    })
}

impl From<Failed> for recovery::Failed {
    fn from(failed: Failed) -> recovery::Failed {
        let refusal = match failed.number {
            LOCK_WAIT_TIMEOUT => Some(Refusal::LockWait),
            DUPLICATE_KEY => Some(Refusal::DuplicateKey),
            NO_SUCH_TABLE => Some(Refusal::NoSuchTable),
            _ => None,
        };
        let error = failed.error;
        recovery::Failed { refusal, error }
    }
}

/// The name of a job's turn: 39 characters of the 64 a lock's name may have.
fn turn(job: &JobUid) -> String {
    format!("'sterna-{job}'")
}

/// When the server started, in seconds since 1970. Both times of one statement are taken at once,
/// so it is the same number every time, whatever the clock did meanwhile.
async fn server_start(session: &mut Session) -> Result<u64, Failed> {
    let schema = match session.facts.mariadb {
        true => "information_schema",
        false => "performance_schema",
    };
    let sql = format!(
        "SELECT CAST(UNIX_TIMESTAMP() - VARIABLE_VALUE AS SIGNED) FROM {schema}.global_status \
         WHERE VARIABLE_NAME = 'Uptime'"
    );
    let start = session.cell(&sql).await?;
    Ok(start.and_then(|start| start.parse().ok()).unwrap_or(0))
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

#[async_trait]
impl Server for Session {
    fn text(value: &str) -> String {
        quote::text(value)
    }

    fn is_alive(&self) -> bool {
        Session::is_alive(self)
    }

    async fn id(&mut self) -> Result<SessionId, recovery::Failed> {
        Ok(SessionId {
            number: self.facts.connection,
            started: server_start(self).await?,
        })
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, recovery::Failed> {
        Ok(self.rows(sql).await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, recovery::Failed> {
        let done = self.run_within(sql, limits::BEGIN_DEADLINE_MS).await?;
        Ok(done.affected)
    }

    async fn kill(&mut self, id: SessionId, deadline: Instant) -> Result<(), recovery::Failed> {
        if id.started != server_start(self).await? {
            return Ok(());
        }
        let SessionId { number, .. } = id;
        loop {
            match self.run(&format!("KILL CONNECTION {number}")).await {
                Ok(_) => {}
                Err(failed) if [NO_SUCH_THREAD, NOT_OWNER].contains(&failed.number) => {
                    return Ok(());
                }
                Err(failed) if failed.error.failure.code == Code::Privileges => return Ok(()),
                Err(failed) => return Err(failed.into()),
            }
            if Instant::now() >= deadline {
                let what = format!("session {number} of the target was killed, still rolls back");
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
        let sql = format!("XA {} {}", verdict.verb(), xid(txn));
        match self.run_within(&sql, limits::BEGIN_DEADLINE_MS).await {
            Ok(_) => Ok(true),
            Err(failed) => match failed.number {
                XAER_NOTA | XA_RBROLLBACK | LOCK_WAIT_TIMEOUT => Ok(false),
                _ => Err(failed.into()),
            },
        }
    }

    async fn try_turn(&mut self, job: &JobUid) -> Result<bool, recovery::Failed> {
        let sql = format!("SELECT GET_LOCK({}, 0)", turn(job));
        Ok(self.cell(&sql).await?.as_deref() == Some("1"))
    }

    async fn turn_holder(&mut self, job: &JobUid) -> Result<Option<SessionId>, recovery::Failed> {
        let sql = format!("SELECT IS_USED_LOCK({})", turn(job));
        let holder = self.cell(&sql).await?;
        let Some(number) = holder.and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        let started = server_start(self).await?;
        Ok(Some(SessionId { number, started }))
    }

    async fn drop_books(&mut self, books: &Books) -> Result<(), recovery::Failed> {
        Ok(fence::drop(self, books).await?)
    }
}
