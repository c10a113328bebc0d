//! Fence, ledger and follow: the tables Sterna keeps in the target, where the engine's own `fence`
//! file found or made them. The SQL here is every engine's.
//!
//! The fence row says which epoch may write; it is raised only after everything older has ended,
//! and *modified* by every transaction as it prepares: MariaDB releases share locks at XA PREPARE
//! and forgets locks on unmodified rows in crash recovery (both measured). A partition's row is
//! created only while the job has another one: after the job's end nobody can begin again.

use common::change::Mark;
use common::code::Code;
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::id::JobUid;
use common::plan::Loaded;

use super::{Answer, Refusal, Server, SessionId};
use crate::connector::{Error, Result};
use crate::faults;

/// Where the tables are, as quoted names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub fence: String,
    pub ledger: String,
    /// How far changes are applied; missing in bookkeeping that an older version made.
    pub follow: String,
    /// They are in a database or schema of their own.
    pub apart: bool,
}

/// A fence row, or who wants to raise one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub epoch: Epoch,
    pub session: SessionId,
}

/// What came of raising a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    Done,
    /// It stands higher.
    Higher(Epoch),
    /// The job has no bookkeeping here any more.
    Gone,
    /// A transaction that is still open or prepared has modified it.
    Waits,
}

/// The error of a writer whose job has no bookkeeping. A zombie's is nobody's business; an owner's
/// means that somebody else removed it, and nothing can be written without.
pub fn gone() -> Error {
    let what = "the job's bookkeeping (the tables fence and ledger of sterna, or sterna_fence and \
                sterna_ledger) is gone or may not be used: the job has ended here, or somebody \
                removed it";
    let mut error = Error::permanent(Code::TargetRejected, what);
    error.failure = error.failure.fix(
        "if a privilege was revoked: grant it again and run the same command; if the tables were \
         dropped: `sterna cancel` the job and start over with --target-mode recreate",
    );
    error
}

impl Books {
    /// Whether the job has begun here.
    pub async fn knows<S: Server>(&self, server: &mut S, job: &JobUid) -> Answer<bool> {
        let sql = format!(
            "SELECT unit FROM {} WHERE job = '{job}' LIMIT 1",
            self.fence
        );
        Ok(!server.query(&sql).await?.is_empty())
    }

    /// Whether a partition of the job has begun here: then its tables are no create task's any
    /// more.
    pub async fn has_partitions<S: Server>(&self, server: &mut S, job: &JobUid) -> Answer<bool> {
        let sql = format!(
            "SELECT unit FROM {} WHERE job = '{job}' AND unit LIKE 'p%' LIMIT 1",
            self.fence
        );
        Ok(!server.query(&sql).await?.is_empty())
    }

    /// The fence row of a unit (`p7`, `t3`).
    pub async fn holder<S: Server>(
        &self,
        server: &mut S,
        job: &JobUid,
        unit: &str,
    ) -> Answer<Option<Claim>> {
        let sql = format!(
            "SELECT epoch, session, session_start FROM {} WHERE job = '{job}' AND unit = '{unit}'",
            self.fence
        );
        let rows = server.query(&sql).await?;
        Ok(rows.first().map(|row| claim(row)))
    }

    /// The recorded sessions of the job's tasks.
    pub async fn tasks<S: Server>(&self, server: &mut S, job: &JobUid) -> Answer<Vec<Claim>> {
        let sql = format!(
            "SELECT epoch, session, session_start FROM {} WHERE job = '{job}' AND unit LIKE 't%'",
            self.fence
        );
        let rows = server.query(&sql).await?;
        Ok(rows.iter().map(|row| claim(row)).collect())
    }

    /// Raises a unit's fence, if it stands no higher. `first` may create the job's first row.
    pub async fn raise<S: Server>(
        &self,
        server: &mut S,
        job: &JobUid,
        unit: &str,
        claim: Claim,
        first: bool,
    ) -> Answer<Raised> {
        let raised = self.try_raise(server, job, unit, claim, first).await;
        match raised {
            Err(failed) if failed.refusal == Some(Refusal::LockWait) => Ok(Raised::Waits),
            Err(failed) if failed.refusal == Some(Refusal::NoSuchTable) => Ok(Raised::Gone),
            raised => raised,
        }
    }

    async fn try_raise<S: Server>(
        &self,
        server: &mut S,
        job: &JobUid,
        unit: &str,
        Claim { epoch, session }: Claim,
        first: bool,
    ) -> Answer<Raised> {
        let fence = &self.fence;
        if self.holder(server, job, unit).await?.is_none() {
            let values = format!("'{job}', '{unit}', 0, 0, 0, 0");
            let insert = match first {
                true => format!("INSERT INTO {fence} VALUES ({values})"),
                false => format!(
                    "INSERT INTO {fence} SELECT {values} FROM {fence} AS other WHERE \
                     other.job = '{job}' LIMIT 1"
                ),
            };
            match server.execute(&insert).await {
                Ok(0) => return Ok(Raised::Gone),
                Err(failed) if failed.refusal != Some(Refusal::DuplicateKey) => return Err(failed),
                _ => {}
            }
        }
        let update = format!(
            "UPDATE {fence} SET epoch = {0}, session = {1}, session_start = {2} WHERE \
             job = '{job}' AND unit = '{unit}' AND epoch <= {0}",
            epoch.0, session.number, session.started
        );
        if server.execute(&update).await? == 1 {
            return Ok(Raised::Done);
        }
        Ok(match self.holder(server, job, unit).await? {
            Some(holder) => Raised::Higher(holder.epoch),
            None => Raised::Gone,
        })
    }

    /// The epoch of T's partition in the ledger.
    pub async fn committed<S: Server>(&self, server: &mut S, txn: &TxnId) -> Answer<Option<Epoch>> {
        let sql = format!(
            "SELECT epoch FROM {} WHERE job = '{}' AND part = {}",
            self.ledger, txn.job, txn.partition.0
        );
        let rows = server.query(&sql).await?;
        Ok(rows.first().map(|row| Epoch(number(row, 0) as u32)))
    }

    /// The last statements of T: the fence, which must still be ours, and the ledger.
    pub async fn write<S: Server>(
        &self,
        server: &mut S,
        txn: &TxnId,
        loaded: &Loaded,
        snapshot: Option<&str>,
    ) -> Result<()> {
        faults::point(Fault::TargetBeforeBooks).await?;
        let (job, unit) = (&txn.job, txn.partition.to_string());
        let update = format!(
            "UPDATE {} SET n = n + 1 WHERE job = '{job}' AND unit = '{unit}' AND epoch = {}",
            self.fence, txn.epoch.0
        );
        let touched = match server.execute(&update).await {
            // The bookkeeping was removed: the job has ended.
            Err(failed) if failed.refusal == Some(Refusal::NoSuchTable) => return Err(gone()),
            touched => touched?,
        };
        if touched != 1 {
            let holder = self.holder(server, job, &unit).await?;
            return Err(holder.map_or_else(gone, |held| Error::fenced(held.epoch, txn.epoch)));
        }
        // Bookkeeping of an older version has no such column, and its jobs no snapshots.
        let (column, value) = match snapshot {
            Some(snapshot) => (", snapshot", format!(", {}", S::text(snapshot))),
            None => ("", String::new()),
        };
        let insert = format!(
            "INSERT INTO {} (job, part, epoch, row_count, byte_count, digest{column}) VALUES \
             ('{job}', {}, {}, {}, {}, '{:032x}'{value})",
            self.ledger,
            txn.partition.0,
            txn.epoch.0,
            loaded.digest.rows,
            loaded.bytes,
            loaded.digest.sum
        );
        if server.execute(&insert).await? != 1 {
            let what = format!("{txn}: the ledger did not take its row");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        faults::point(Fault::TargetAfterBooks).await
    }

    /// What the target stands for by the job that follows into it; None = no such job's. Not
    /// fenced: for those who only look.
    pub async fn mark<S: Server>(&self, server: &mut S, job: &JobUid) -> Result<Option<Mark>> {
        let sql = format!(
            "SELECT mark FROM {} WHERE job = '{job}' AND lane = 0",
            self.follow
        );
        let rows = match server.query(&sql).await {
            Err(failed) if failed.refusal == Some(Refusal::NoSuchTable) => return Ok(None),
            rows => rows?,
        };
        match rows.first().and_then(|row| row.first()) {
            Some(Some(text)) => crate::connector::changes::mark_of(text).map(Some),
            _ => Ok(None),
        }
    }

    /// Removes everything of `job`, and the tables if no other job uses them.
    pub async fn forget<S: Server>(&self, server: &mut S, job: &JobUid) -> Answer<()> {
        // The fence before the marks: no transaction that writes one can commit after it.
        for table in [&self.ledger, &self.fence, &self.follow] {
            let sql = format!("DELETE FROM {table} WHERE job = '{job}'");
            match server.execute(&sql).await {
                Err(failed) if failed.refusal != Some(Refusal::NoSuchTable) => return Err(failed),
                _ => {}
            }
        }
        server.drop_books(self).await
    }
}

fn claim(row: &[Option<String>]) -> Claim {
    Claim {
        epoch: Epoch(number(row, 0) as u32),
        session: SessionId {
            number: number(row, 1),
            started: number(row, 2),
        },
    }
}

fn number(row: &[Option<String>], at: usize) -> u64 {
    row.get(at)
        .and_then(|cell| cell.as_deref()?.parse().ok())
        .unwrap_or(0)
}
