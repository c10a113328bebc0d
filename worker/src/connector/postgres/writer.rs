//! One partition's transaction T in the target, loaded by COPY. See DESIGN §5.2 for the order of
//! `begin`, which is the whole of recovery.
//!
//! Where the server has prepared transactions T is prepared and anybody may commit it; where it has
//! none (`max_prepared_transactions = 0`) T is held open until the decision, and lost with its
//! session. Any error poisons the writer: a failed transaction would answer PREPARE and COMMIT
//! with success.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::code::{Code, ErrorClass};
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::limits;
use common::plan::{Loaded, TablePlan};
use common::value::RowBatch;

use super::copytext::{Encoder, Field};
use super::error::{LOCK_NOT_AVAILABLE, UNDEFINED_TABLE};
use super::fence::{Books, Claim, Raised, SessionId, gone};
use super::prepared::{self, Verdict};
use super::quote::{idents, qualified, text};
use super::session::{Host, Purpose, Session};
use super::types;
use crate::connector::{Error, Recovered, Result, Role, TargetWriter};
use crate::faults;

/// How far T is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was done by this writer.
    Fresh,
    /// BEGIN was answered.
    Open,
    /// T was prepared, or is held complete on its session.
    Prepared,
    /// Something failed: only rollback may follow.
    Poisoned,
    Ended,
}

/// Into which table, and how.
struct Load {
    table: String,
    /// Quoted, with its schema.
    relation: String,
    fields: Vec<Field>,
    copy: String,
}

/// See [`TargetWriter`].
pub struct Writer {
    host: Host,
    txn: TxnId,
    load: Load,
    stage: Stage,
    session: Option<Session>,
    /// Our session as recorded in the fence: None before `begin`.
    claim: Option<Claim>,
    books: Option<Books>,
    rows: u64,
}

impl Load {
    fn new(host: &Host, plan: &TablePlan) -> Load {
        let rows = plan.rows().copied_columns();
        let fields: Vec<Field> = plan
            .target
            .copied_columns()
            .zip(rows)
            .map(|(column, row)| Field {
                name: column.name.clone(),
                shape: types::shape(column, &row.canonical, plan.form),
            })
            .collect();
        let names = idents(fields.iter().map(|field| field.name.as_str()));
        let relation = qualified(
            host.schema_of(plan.target.schema.as_deref()),
            &plan.target.name,
        );
        // An empty list of columns is no syntax.
        let list = match names.is_empty() {
            true => String::new(),
            false => format!(" ({names})"),
        };
        Load {
            table: plan.target.full_name(),
            copy: format!("COPY {relation}{list} FROM STDIN"),
            relation,
            fields,
        }
    }

    /// Turns the table's own triggers and foreign keys off for this session, if we may: a trigger
    /// would change rows, a foreign key ask for an order of tables. Not where a unique key can be
    /// deferred: it is checked by a trigger too, and would be off with them (measured).
    async fn quiet(&self, session: &mut Session) {
        let relation = text(&self.relation);
        let sql = format!(
            "SELECT set_config('session_replication_role', 'replica', false) WHERE NOT EXISTS \
             (SELECT FROM pg_constraint WHERE condeferrable AND contype IN ('p', 'u', 'x') AND \
             conrelid IN (SELECT relid FROM pg_partition_tree({relation}::regclass) UNION ALL \
             SELECT {relation}::regclass))"
        );
        // Without the right to say so, they act as they are defined.
        let _ = session.run(&sql).await;
    }

    /// Loads the batch, all of it or an error.
    async fn run(&self, session: &mut Session, batch: &RowBatch) -> Result<()> {
        if batch.columns() != self.fields.len() {
            let (given, wanted) = (batch.columns(), self.fields.len());
            let what = format!("table {}: {given} cells for {wanted} columns", self.table);
            return Err(Error::permanent(Code::Internal, what));
        }
        let encoder = Encoder::new(&self.table, &self.fields, batch);
        let copied = session.copy_in(&self.copy, encoder).await;
        let taken = copied.map_err(|mut error| {
            let what = &mut error.failure.what;
            *what = format!("table {}: {what}", self.table);
            error
        })?;
        if taken != batch.rows() as u64 {
            let (table, rows) = (&self.table, batch.rows());
            let what = format!("table {table}: the target took {taken} rows of {rows}");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        Ok(())
    }
}

impl Writer {
    pub fn new(host: Host, txn: TxnId, table: &TablePlan) -> Writer {
        let load = Load::new(&host, table);
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
        let books = Books::find(&mut session, &self.host).await?;
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
            faults::point(Fault::TargetBeforeKill).await?;
            prepared::kill(session, holder.session, deadline).await?;
            faults::point(Fault::TargetAfterKill).await?;
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
            left |= !prepared::end(session, &older, verdict).await?;
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
            Err(failed) if failed.sqlstate == LOCK_NOT_AVAILABLE => return Ok(None),
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
        let mut listed = prepared::list(session).await?;
        listed.retain(|txn| txn.job == self.txn.job && txn.partition == self.txn.partition);
        Ok(listed)
    }

    /// Waits before the next pass, or gives up.
    async fn look_again(&self, deadline: Instant, what: &str) -> Result<()> {
        if Instant::now() >= deadline {
            let what = format!("{}: {} {what}", self.host.name, self.txn);
            return Err(Error::transient(Code::InDoubt, what));
        }
        tokio::time::sleep(prepared::LOOK_AGAIN).await;
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
        // What is deferred to the commit is checked while the answer still decides something.
        let check = "SET CONSTRAINTS ALL IMMEDIATE";
        session
            .run_within(check, limits::TRANSFER_DEADLINE_MS)
            .await?;
        let update = format!(
            "UPDATE {} SET n = n + 1 WHERE job = '{}' AND unit = '{unit}' AND epoch = {}",
            books.fence, txn.job, txn.epoch.0
        );
        let touched = match session.run(&update).await {
            // The bookkeeping was removed: the job has ended.
            Err(failed) if failed.sqlstate == UNDEFINED_TABLE => return Err(gone()),
            touched => touched?,
        };
        if touched != 1 {
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
        if session.run(&insert).await? != 1 {
            let what = format!("{txn}: the ledger did not take its row");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        faults::point(Fault::TargetAfterBooks).await?;
        if durable(session) {
            let prepare = format!("PREPARE TRANSACTION {}", prepared::gid(&txn));
            session
                .run_within(&prepare, limits::BEGIN_DEADLINE_MS)
                .await?;
            if !prepared::list(session).await?.contains(&txn) {
                let what = format!("{txn}: the target rolled it back instead of preparing it");
                return Err(Error::transient(Code::TargetRejected, what));
            }
        }
        Ok(())
    }

    /// Commits T on the session that prepared or holds it. False: what became of it must be looked
    /// up.
    async fn commit_here(&self, mut session: Session) -> bool {
        if durable(&session) {
            let ended = prepared::end(&mut session, &self.txn, Verdict::Commit).await;
            let answer = faults::point(Fault::TargetInDoubt).await;
            return matches!(ended, Ok(true)) && answer.is_ok();
        }
        let commit = session.run_within("COMMIT", limits::BEGIN_DEADLINE_MS);
        let (committed, answer) = (commit.await, faults::point(Fault::TargetInDoubt).await);
        if committed.is_err() || answer.is_err() {
            return false;
        }
        let Some(books) = &self.books else {
            return false;
        };
        let committed = books.committed(&mut session, &self.txn).await;
        matches!(committed, Ok(Some(epoch)) if epoch == self.txn.epoch)
    }

    /// Finishes T's commit by what the server's tables and list say, see [`prepared`].
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
            if let Some(holder) = holder.filter(|holder| holder.epoch == self.txn.epoch) {
                prepared::kill(&mut session, holder.session, deadline).await?;
            }
            if self.listed(&mut session).await?.contains(&self.txn) {
                prepared::end(&mut session, &self.txn, Verdict::Commit).await?;
                // A lost answer changes nothing here: the ledger is asked again.
                let _ = faults::point(Fault::TargetInDoubt).await;
            } else {
                nowhere += 1;
            }
            if nowhere == 4 {
                return Err(self.nowhere(&session));
            }
            self.look_again(deadline, "can't be committed").await?;
        }
    }

    fn nowhere(&self, session: &Session) -> Error {
        if durable(session) {
            let what = format!("{} is neither committed nor prepared", self.txn);
            return Error::transient(Code::InDoubt, what);
        }
        let what = format!(
            "{}: its transaction was held open by a session that is gone; it must be copied \
             again (max_prepared_transactions is 0)",
            self.txn
        );
        Error::transient(Code::TargetRejected, what)
    }

    /// Ends T on the session that opened it; false = that isn't possible.
    async fn undo_here(&mut self) -> bool {
        let Some(mut session) = self.session.take().filter(Session::is_alive) else {
            return false;
        };
        let rollback = session.run_within("ROLLBACK", limits::BEGIN_DEADLINE_MS);
        if rollback.await.is_err() {
            return false;
        }
        match prepared::list(&mut session).await {
            Ok(listed) if !listed.contains(&self.txn) => true,
            Ok(_) => {
                let ended = prepared::end(&mut session, &self.txn, Verdict::Rollback).await;
                matches!(ended, Ok(true))
            }
            Err(_) => false,
        }
    }

    /// Ends T from outside: kills the session that works on it, then rolls back what it prepared.
    async fn undo_outside(&mut self) -> Result<()> {
        let deadline = deadline();
        let (mut session, books) = self.connect().await?;
        let mut at_work = self.claim.map(|claim| claim.session);
        if let (None, Some(books)) = (at_work, books) {
            let unit = self.unit();
            let holder = books.holder(&mut session, &self.txn.job, &unit).await?;
            at_work = holder
                .filter(|holder| holder.epoch == self.txn.epoch)
                .map(|holder| holder.session);
        }
        loop {
            if let Some(id) = at_work {
                prepared::kill(&mut session, id, deadline).await?;
            }
            if !self.listed(&mut session).await?.contains(&self.txn) {
                return Ok(());
            }
            prepared::end(&mut session, &self.txn, Verdict::Rollback).await?;
            self.look_again(deadline, "can't be rolled back").await?;
        }
    }
}

/// The server has prepared transactions.
fn durable(session: &Session) -> bool {
    session.facts.max_prepared_transactions > 0
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
            session: SessionId {
                pid: session.facts.pid,
                started: session.facts.started,
            },
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
            self.load.quiet(&mut session).await;
            session.run("BEGIN").await?;
            self.stage = Stage::Open;
        } else {
            self.stage = Stage::Ended;
        }
        self.session = Some(session);
        self.books = Some(books);
        Ok(recovered)
    }

    async fn load(&mut self, batch: RowBatch) -> Result<()> {
        self.open_session()?;
        // Poisoned until every check has passed, also when this future is dropped half way.
        self.stage = Stage::Poisoned;
        let Some(session) = &mut self.session else {
            return Err(gone());
        };
        self.load.run(session, &batch).await?;
        self.rows += batch.rows() as u64;
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
            && let Some(session) = self.session.take()
            && self.commit_here(session).await
        {
            self.stage = Stage::Ended;
            return Ok(());
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
