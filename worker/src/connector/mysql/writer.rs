//! One partition's transaction T in the target: an XA branch, loaded by LOAD DATA LOCAL from
//! memory. See DESIGN §5.2 for the order of `begin`, which is the whole of recovery.
//!
//! LOAD DATA LOCAL reports what it changed or skipped as warnings only, even in strict mode, and
//! MariaDB prepares after a failed statement (both measured): rows and warnings are checked after
//! every load, and any error poisons the writer.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::code::{Code, ErrorClass};
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::limits;
use common::plan::{Loaded, TablePlan};
use common::schema::CellForm;
use common::value::RowBatch;

use super::error::{LOCK_WAIT_TIMEOUT, NO_SUCH_TABLE};
use super::fence::{Books, Claim, Raised, gone};
use super::load::Load;
use super::session::{Host, Purpose, Session};
use super::xa::{self, Verdict};
use crate::connector::{Error, Recovered, Result, Role, TargetWriter};
use crate::faults;

/// How far T is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was done by this writer.
    Fresh,
    /// XA START was answered.
    Open,
    /// XA PREPARE was answered.
    Prepared,
    /// Something failed: only rollback may follow.
    Poisoned,
    Ended,
}

/// See [`TargetWriter`].
pub struct Writer {
    host: Host,
    txn: TxnId,
    load: Load,
    stage: Stage,
    session: Option<Session>,
    /// Our session as recorded in the fence: 0 before `begin`.
    claim: Option<Claim>,
    books: Option<Books>,
    rows: u64,
}

impl Writer {
    pub fn new(host: Host, txn: TxnId, table: &TablePlan, form: CellForm) -> Writer {
        let load = Load::new(&host.database, &table.target, form);
        Writer {
            host,
            txn,
            load,
            stage: Stage::Fresh,
            session: None,
            claim: None,
            books: None,
            rows: 0,
        }
    }

    fn unit(&self) -> String {
        self.txn.partition.to_string()
    }

    async fn connect(&self) -> Result<(Session, Option<Books>)> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        let books = Books::find(&mut session, &self.host.database).await?;
        Ok((session, books))
    }

    /// One pass of recovery; None = something of an older epoch is still ending: look again.
    async fn take_over(
        &self,
        session: &mut Session,
        books: &Books,
        claim: Claim,
        decided: Option<Epoch>,
        deadline: Instant,
    ) -> Result<Option<Recovered>> {
        let (job, unit) = (&self.txn.job, self.unit());
        if let Some(holder) = books.holder(session, job, &unit).await? {
            if holder.epoch > claim.epoch {
                return Err(Error::fenced(holder.epoch, claim.epoch));
            }
            if xa::same_life(holder.server_start, claim.server_start) {
                faults::point(Fault::TargetBeforeKill).await?;
                xa::kill(session, holder.session, deadline).await?;
                faults::point(Fault::TargetAfterKill).await?;
            }
        }
        let mut left = false;
        for older in self.listed(session).await? {
            if older.epoch > claim.epoch {
                return Err(Error::fenced(older.epoch, claim.epoch));
            }
            let verdict = match decided == Some(older.epoch) {
                true => Verdict::Commit,
                false => Verdict::Rollback,
            };
            faults::point(Fault::TargetBeforeEnd).await?;
            left |= !xa::end(session, &older, verdict).await?;
            faults::point(Fault::TargetAfterEnd).await?;
        }
        if left || !self.listed(session).await?.is_empty() {
            return Ok(None);
        }
        faults::point(Fault::TargetBeforeFence).await?;
        match books.raise(session, job, &unit, claim, false).await {
            Ok(Raised::Done) => {}
            Ok(Raised::Higher(epoch)) => return Err(Error::fenced(epoch, claim.epoch)),
            Ok(Raised::Gone) => return Err(gone()),
            // A transaction of an older epoch has modified the row and is about to prepare.
            Err(failed) if failed.number == LOCK_WAIT_TIMEOUT => return Ok(None),
            Err(failed) => return Err(failed.into()),
        }
        faults::point(Fault::TargetAfterFence).await?;
        Ok(Some(match books.committed(session, &self.txn).await? {
            Some(epoch) => Recovered::Committed(epoch),
            None => Recovered::Absent,
        }))
    }

    /// Prepared transactions of this partition, of any epoch.
    async fn listed(&self, session: &mut Session) -> Result<Vec<TxnId>> {
        let mut listed = xa::list(session).await?;
        listed.retain(|txn| txn.job == self.txn.job && txn.partition == self.txn.partition);
        Ok(listed)
    }

    /// Waits before the next pass, or gives up.
    async fn look_again(&self, deadline: Instant, what: &str) -> Result<()> {
        if Instant::now() >= deadline {
            let what = format!("{}: {} {what}", self.host.name, self.txn);
            return Err(Error::transient(Code::InDoubt, what));
        }
        tokio::time::sleep(xa::LOOK_AGAIN).await;
        Ok(())
    }

    /// The session of T, or the error of a call out of order.
    fn open_session(&mut self) -> Result<&mut Session> {
        match (&mut self.session, self.stage) {
            (Some(session), Stage::Open) => Ok(session),
            _ => {
                let what = format!("{} is not open: a step before failed", self.txn);
                Err(Error::transient(Code::Internal, what))
            }
        }
    }

    /// The last statements of T.
    async fn seal(&mut self, loaded: Loaded) -> Result<()> {
        if self.rows != loaded.digest.rows {
            let what = format!(
                "{}: the target took {} rows of {}",
                self.txn, self.rows, loaded.digest.rows
            );
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        let (txn, unit) = (self.txn.clone(), self.unit());
        let Some(books) = self.books.clone() else {
            return Err(gone());
        };
        let session = self.open_session()?;
        faults::point(Fault::TargetBeforeBooks).await?;
        let update = format!(
            "UPDATE {} SET n = n + 1 WHERE job = '{}' AND unit = '{unit}' AND epoch = {}",
            books.fence, txn.job, txn.epoch.0
        );
        let touched = match session.run(&update).await {
            // The bookkeeping was removed: the job has ended.
            Err(failed) if failed.number == NO_SUCH_TABLE => return Err(gone()),
            touched => touched?,
        };
        if touched.affected != 1 {
            let holder = books.holder(session, &txn.job, &unit).await?;
            return Err(holder.map_or_else(gone, |held| Error::fenced(held.epoch, txn.epoch)));
        }
        let insert = format!(
            "INSERT INTO {} (job, part, epoch, row_count, byte_count, digest) VALUES \
             ('{}', {}, {}, {}, {}, '{:032x}')",
            books.ledger,
            txn.job,
            txn.partition.0,
            txn.epoch.0,
            loaded.digest.rows,
            loaded.bytes,
            loaded.digest.sum
        );
        session.run(&insert).await?;
        faults::point(Fault::TargetAfterBooks).await?;
        session.run(&format!("XA END {}", xa::xid(&txn))).await?;
        let prepare = format!("XA PREPARE {}", xa::xid(&txn));
        session
            .run_within(&prepare, limits::BEGIN_DEADLINE_MS)
            .await?;
        Ok(())
    }

    /// Finishes T's commit by what the server's tables and list say, see [`xa`].
    async fn finish(&mut self) -> Result<()> {
        let deadline = deadline();
        let (mut session, books) = self.connect().await?;
        let Some(books) = books else {
            return Err(gone());
        };
        let unit = self.unit();
        let mut nowhere = 0;
        loop {
            match books.committed(&mut session, &self.txn).await? {
                Some(epoch) if epoch == self.txn.epoch => return Ok(()),
                Some(epoch) => return Err(Error::fenced(epoch, self.txn.epoch)),
                None => {}
            }
            // Whoever prepared T may be at work still; once it is gone, the list is the truth.
            let holder = books.holder(&mut session, &self.txn.job, &unit).await?;
            let start = xa::server_start(&mut session).await?;
            if let Some(holder) = holder.filter(|holder| {
                holder.epoch == self.txn.epoch && xa::same_life(holder.server_start, start)
            }) {
                xa::kill(&mut session, holder.session, deadline).await?;
            }
            if self.listed(&mut session).await?.contains(&self.txn) {
                xa::end(&mut session, &self.txn, Verdict::Commit).await?;
                // A lost answer changes nothing here: the ledger is asked again.
                let _ = faults::point(Fault::TargetInDoubt).await;
            } else {
                nowhere += 1;
            }
            if nowhere == 4 {
                let what = format!("{} is neither committed nor prepared", self.txn);
                return Err(Error::transient(Code::InDoubt, what));
            }
            self.look_again(deadline, "can't be committed").await?;
        }
    }

    /// Ends T on the session that opened it; false = that isn't possible.
    async fn undo_here(&mut self) -> bool {
        let Some(mut session) = self.session.take().filter(Session::is_alive) else {
            return false;
        };
        let xid = xa::xid(&self.txn);
        // An error means that it ended already; what counts is the answer of ROLLBACK.
        let _ = session.run(&format!("XA END {xid}")).await;
        let rollback = format!("XA ROLLBACK {xid}");
        session
            .run_within(&rollback, limits::BEGIN_DEADLINE_MS)
            .await
            .is_ok()
    }

    /// Ends T from outside: kills the session that works on it, then rolls back what it prepared.
    async fn undo_outside(&mut self) -> Result<()> {
        let deadline = deadline();
        let (mut session, books) = self.connect().await?;
        let start = xa::server_start(&mut session).await?;
        let mut at_work = self.claim.map(|claim| (claim.session, claim.server_start));
        if let (None, Some(books)) = (at_work, books) {
            let holder = books
                .holder(&mut session, &self.txn.job, &self.unit())
                .await?;
            at_work = holder
                .filter(|holder| holder.epoch == self.txn.epoch)
                .map(|holder| (holder.session, holder.server_start));
        }
        loop {
            if let Some((id, _)) = at_work.filter(|(_, life)| xa::same_life(*life, start)) {
                xa::kill(&mut session, id, deadline).await?;
            }
            if !self.listed(&mut session).await?.contains(&self.txn) {
                return Ok(());
            }
            xa::end(&mut session, &self.txn, Verdict::Rollback).await?;
            self.look_again(deadline, "can't be rolled back").await?;
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS)
}

#[async_trait]
impl TargetWriter for Writer {
    async fn begin(&mut self, decided: Option<Epoch>) -> Result<Recovered> {
        let deadline = deadline();
        self.stage = Stage::Poisoned;
        let (mut session, books) = self.connect().await?;
        let books = books.ok_or_else(gone)?;
        let claim = Claim {
            epoch: self.txn.epoch,
            session: session.facts.connection,
            server_start: xa::server_start(&mut session).await?,
        };
        let recovered = loop {
            let pass = self.take_over(&mut session, &books, claim, decided, deadline);
            match pass.await? {
                Some(recovered) => break recovered,
                None => {
                    self.look_again(deadline, "waits for an older transaction")
                        .await?;
                }
            }
        };
        self.claim = Some(claim);
        if recovered == Recovered::Absent {
            let start = format!("XA START {}", xa::xid(&self.txn));
            session.run(&start).await?;
            self.stage = Stage::Open;
        } else {
            self.stage = Stage::Ended;
        }
        self.session = Some(session);
        self.books = Some(books);
        Ok(recovered)
    }

    async fn load(&mut self, batch: RowBatch) -> Result<()> {
        let rows = batch.rows() as u64;
        self.open_session()?;
        // Poisoned until every check has passed, also when this future is dropped half way.
        self.stage = Stage::Poisoned;
        let Some(session) = &mut self.session else {
            return Err(gone());
        };
        self.load.run(session, batch).await?;
        self.rows += rows;
        self.stage = Stage::Open;
        Ok(())
    }

    async fn prepare(&mut self, loaded: Loaded) -> Result<()> {
        let sealed = self.seal(loaded).await;
        self.stage = match sealed {
            Ok(()) => Stage::Prepared,
            Err(_) => Stage::Poisoned,
        };
        sealed
    }

    async fn commit(&mut self) -> Result<()> {
        match self.stage {
            Stage::Prepared | Stage::Fresh | Stage::Ended => {}
            Stage::Open | Stage::Poisoned => {
                let what = format!("{} was not prepared by this writer", self.txn);
                return Err(Error::transient(Code::Internal, what));
            }
        }
        if self.stage == Stage::Prepared
            && let Some(mut session) = self.session.take()
        {
            let ended = xa::end(&mut session, &self.txn, Verdict::Commit).await;
            let answer = faults::point(Fault::TargetInDoubt).await;
            if matches!(ended, Ok(true)) && answer.is_ok() {
                self.stage = Stage::Ended;
                return Ok(());
            }
        }
        self.finish().await?;
        self.stage = Stage::Ended;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        if !self.undo_here().await {
            match self.undo_outside().await {
                Err(error) if error.class == ErrorClass::Fenced => {}
                undone => undone?,
            }
        }
        self.stage = Stage::Ended;
        Ok(())
    }
}
