//! One partition's transaction in an SQLite file: `BEGIN IMMEDIATE`, rows by multi-row INSERT,
//! fence and ledger, held open until the decision, COMMIT. SQLite can't prepare: a transaction
//! whose process died is gone, and the partition is copied again under the next epoch.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use common::code::Code;
use common::epoch::{Epoch, TxnId, Unit};
use common::fault::Fault;
use common::limits;
use common::plan::{Loaded, TablePlan};
use common::value::RowBatch;
use tokio::time::Instant;

use super::fence;
use super::insert::Insert;
use super::session::{Access, Session};
use crate::connector::{Error, Recovered, Result, Role, TargetWriter};
use crate::faults;

/// How far the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This writer has opened nothing.
    Idle,
    Loading,
    Prepared,
    /// COMMIT was answered, or the ledger says so.
    Committed,
    /// An error came; only `rollback` may follow.
    Poisoned,
}

/// See [`TargetWriter`]. Dropping it closes its connection, and with that ends the transaction.
pub struct Writer {
    path: PathBuf,
    txn: TxnId,
    unit: String,
    insert: Insert,
    session: Option<Session>,
    stage: Stage,
    rows: u64,
    snapshot: Option<String>,
}

impl Writer {
    pub fn new(path: PathBuf, txn: TxnId, table: &TablePlan) -> Writer {
        Writer {
            path,
            unit: Unit::Partition(txn.partition).to_string(),
            txn,
            insert: Insert::new(table),
            session: None,
            stage: Stage::Idle,
            rows: 0,
            snapshot: None,
        }
    }

    fn expect_stage(&self, stage: Stage, call: &str) -> Result<()> {
        if self.stage == stage {
            return Ok(());
        }
        let what = format!("{}: {call} in stage {:?}", self.txn, self.stage);
        Err(Error::permanent(Code::Internal, what))
    }

    async fn open(&self) -> Result<Session> {
        Session::open(&self.path, Role::Target, Access::Write, 2).await
    }

    /// Raises the fence for good, then opens T: should T be rolled back, older epochs stay out.
    async fn try_begin(&self, session: &mut Session) -> Result<Recovered> {
        let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
        for last in [false, true] {
            // The only transaction an older epoch can have is one that is held open by a process
            // that is still alive; its write lock is what is waited for here.
            let wait = deadline.saturating_duration_since(Instant::now());
            session.begin_write(wait.as_millis() as u64).await?;
            self.check_job(session).await?;
            if let Some(epoch) = fence::committed(session, &self.txn).await? {
                return Ok(Recovered::Committed(epoch));
            }
            if !last {
                faults::point(Fault::TargetBeforeFence).await?;
            }
            fence::raise(session, &self.txn.job, &self.unit, self.txn.epoch).await?;
            if !last {
                session.commit().await?;
                faults::point(Fault::TargetAfterFence).await?;
            }
        }
        Ok(Recovered::Absent)
    }

    /// A worker that comes after the job's end must not begin anew.
    async fn check_job(&self, session: &mut Session) -> Result<()> {
        if fence::exists(session).await? && fence::knows(session, &self.txn.job).await? {
            return Ok(());
        }
        let what = format!(
            "{}: the job's fence is gone; the job has ended here",
            self.path.display()
        );
        Err(Error::permanent(Code::TargetRejected, what))
    }

    async fn try_load(&mut self, batch: RowBatch) -> Result<u64> {
        let rows = self.insert.values(&batch)?;
        // A row of 64 MiB would otherwise be in memory once more while SQLite takes it in.
        drop(batch);
        let Some(session) = &mut self.session else {
            return Err(Error::permanent(Code::Internal, "no open transaction"));
        };
        self.insert.run(session, rows).await
    }

    async fn try_prepare(&mut self, loaded: &Loaded) -> Result<()> {
        if self.rows != loaded.digest.rows {
            let what = format!(
                "{}: {} rows were read, SQLite took {}",
                self.txn, loaded.digest.rows, self.rows
            );
            return Err(Error::permanent(Code::ValueChanged, what));
        }
        let Some(session) = &mut self.session else {
            return Err(Error::permanent(Code::Internal, "no open transaction"));
        };
        faults::point(Fault::TargetBeforeBooks).await?;
        fence::count(session, &self.txn.job, &self.unit, self.txn.epoch).await?;
        fence::record(session, &self.txn, loaded, self.snapshot.as_deref()).await?;
        faults::point(Fault::TargetAfterBooks).await
    }

    /// What the file itself says: whether T's ledger row is there.
    async fn look(&self) -> Result<bool> {
        let mut session = self.open().await?;
        let found = match fence::exists(&mut session).await {
            Ok(true) => fence::committed(&mut session, &self.txn).await,
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        session.close().await;
        Ok(found? == Some(self.txn.epoch))
    }
}

#[async_trait]
impl TargetWriter for Writer {
    async fn begin(&mut self, _decided: Option<Epoch>) -> Result<Recovered> {
        self.expect_stage(Stage::Idle, "begin")?;
        let mut session = self.open().await?;
        let recovered = self.try_begin(&mut session).await;
        match recovered {
            Ok(Recovered::Absent) => {
                self.session = Some(session);
                self.stage = Stage::Loading;
            }
            _ => {
                // Closing rolls back; an error of ROLLBACK itself would say nothing new.
                let _ = session.rollback().await;
                session.close().await;
            }
        }
        recovered
    }

    async fn load(&mut self, batch: RowBatch) -> Result<()> {
        self.expect_stage(Stage::Loading, "load")?;
        self.stage = Stage::Poisoned;
        self.rows += self.try_load(batch).await?;
        self.stage = Stage::Loading;
        Ok(())
    }

    fn note_snapshot(&mut self, snapshot: String) {
        self.snapshot = Some(snapshot);
    }

    async fn prepare(&mut self, loaded: Loaded) -> Result<()> {
        self.expect_stage(Stage::Loading, "prepare")?;
        self.stage = Stage::Poisoned;
        self.try_prepare(&loaded).await?;
        self.stage = Stage::Prepared;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        match self.stage {
            Stage::Committed => return Ok(()),
            Stage::Idle => {}
            Stage::Loading | Stage::Poisoned => self.expect_stage(Stage::Prepared, "commit")?,
            Stage::Prepared => {
                let Some(session) = &mut self.session else {
                    return Err(Error::permanent(Code::Internal, "no open transaction"));
                };
                let committed = session.commit().await;
                let answer = faults::point(Fault::TargetInDoubt).await;
                if let Err(error) = committed.and(answer) {
                    // Whether it came through is asked of the file, once nobody can still do it.
                    self.rollback().await?;
                    self.stage = Stage::Idle;
                    if !self.look().await? {
                        return Err(error);
                    }
                }
                self.stage = Stage::Committed;
                if let Some(session) = self.session.take() {
                    session.close().await;
                }
                return Ok(());
            }
        }
        if self.look().await? {
            self.stage = Stage::Committed;
            return Ok(());
        }
        let what = format!(
            "{}: its transaction was held open by a process that is gone; it must be copied again",
            self.txn
        );
        Err(Error::transient(Code::TargetRejected, what))
    }

    async fn rollback(&mut self) -> Result<()> {
        if let Some(mut session) = self.session.take() {
            // Closing does it as well, so the answer doesn't matter.
            let _ = session.rollback().await;
            session.close().await;
        }
        if self.stage != Stage::Committed {
            self.stage = Stage::Poisoned;
        }
        Ok(())
    }
}
