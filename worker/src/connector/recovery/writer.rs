//! A partition's transaction T, step by step: what may follow what, and what is done when an answer
//! is an error or doesn't come. The engine's own `writer` knows the statements.

use async_trait::async_trait;
use common::code::Code;
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::plan::Loaded;
use common::value::RowBatch;

use super::books::{Books, Claim, gone};
use super::{Server, finish, take_over, undo};
use crate::connector::{Error, Recovered, Result, TargetWriter};
use crate::faults;

/// What an engine does in T. Every step is all or an error.
#[async_trait]
pub trait Loader: Send + Sync {
    type Session: Server;

    /// A new session, and the bookkeeping if it is there.
    async fn connect(&self) -> Result<(Self::Session, Option<Books>)>;

    async fn open(&self, session: &mut Self::Session, txn: &TxnId) -> Result<()>;

    async fn load(&self, session: &mut Self::Session, batch: RowBatch) -> Result<()>;

    /// The last moment for what the engine would only refuse at the end.
    async fn check(&self, session: &mut Self::Session) -> Result<()>;

    /// Makes T durable; or leaves it open and complete, where the engine can't.
    async fn prepare(&self, session: &mut Self::Session, txn: &TxnId) -> Result<()>;

    /// Commits on the session that prepared. False: what became of T must be looked up.
    async fn commit(&self, session: &mut Self::Session, books: &Books, txn: &TxnId) -> bool;

    /// Ends T on the session that opened it. False: that isn't possible.
    async fn rollback(&self, session: &mut Self::Session, txn: &TxnId) -> bool;

    /// T was complete and is neither committed nor prepared.
    fn lost(&self, session: &Self::Session, txn: &TxnId) -> Error;
}

/// How far T is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was done by this writer.
    Fresh,
    Open,
    /// T was prepared, or is held complete on its session.
    Prepared,
    /// Something failed: only rollback may follow.
    Poisoned,
    Ended,
}

/// See [`TargetWriter`].
pub struct Writer<L: Loader> {
    loader: L,
    txn: TxnId,
    stage: Stage,
    session: Option<L::Session>,
    /// Our session as recorded in the fence: None before `begin`.
    claim: Option<Claim>,
    books: Option<Books>,
    rows: u64,
    snapshot: Option<String>,
}

impl<L: Loader> Writer<L> {
    pub fn new(loader: L, txn: TxnId) -> Writer<L> {
        Writer {
            loader,
            txn,
            stage: Stage::Fresh,
            session: None,
            claim: None,
            books: None,
            rows: 0,
            snapshot: None,
        }
    }

    /// A step of an open T: poisoned until the step has passed every check, also
    /// when its future is dropped half way.
    fn step(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.stage, Stage::Poisoned) == Stage::Open {
            return Ok(());
        }
        let what = format!("{} is not open: a step before failed", self.txn);
        Err(Error::transient(Code::Internal, what))
    }

    /// Ends T from outside.
    async fn undo(&mut self) -> Result<()> {
        let (mut session, books) = self.loader.connect().await?;
        let mut at_work = self.claim;
        if let (None, Some(books)) = (at_work, books) {
            let unit = self.txn.partition.to_string();
            let holder = books.holder(&mut session, &self.txn.job, &unit).await?;
            at_work = holder.filter(|holder| holder.epoch == self.txn.epoch);
        }
        undo(&mut session, at_work.map(|claim| claim.session), &self.txn).await
    }
}

#[async_trait]
impl<L: Loader> TargetWriter for Writer<L> {
    async fn begin(&mut self, decided: Option<Epoch>) -> Result<Recovered> {
        self.stage = Stage::Poisoned;
        let (mut session, books) = self.loader.connect().await?;
        let books = books.ok_or_else(gone)?;
        let (claim, recovered) = take_over(&mut session, &books, &self.txn, decided).await?;
        self.claim = Some(claim);
        self.stage = match recovered {
            Recovered::Absent => {
                self.loader.open(&mut session, &self.txn).await?;
                Stage::Open
            }
            Recovered::Committed(_) => Stage::Ended,
        };
        self.session = Some(session);
        self.books = Some(books);
        Ok(recovered)
    }

    async fn load(&mut self, batch: RowBatch) -> Result<()> {
        let rows = batch.rows() as u64;
        self.step()?;
        let Some(session) = &mut self.session else {
            return Err(gone());
        };
        self.loader.load(session, batch).await?;
        self.rows += rows;
        self.stage = Stage::Open;
        Ok(())
    }

    fn note_snapshot(&mut self, snapshot: String) {
        self.snapshot = Some(snapshot);
    }

    async fn prepare(&mut self, loaded: Loaded) -> Result<()> {
        self.step()?;
        if self.rows != loaded.digest.rows {
            let (txn, taken, read) = (&self.txn, self.rows, loaded.digest.rows);
            let what = format!("{txn}: the target took {taken} rows of {read}");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        let (Some(session), Some(books)) = (&mut self.session, &self.books) else {
            return Err(gone());
        };
        self.loader.check(session).await?;
        let snapshot = self.snapshot.as_deref();
        books.write(session, &self.txn, &loaded, snapshot).await?;
        self.loader.prepare(session, &self.txn).await?;
        self.stage = Stage::Prepared;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        if matches!(self.stage, Stage::Open | Stage::Poisoned) {
            let what = format!("{} was not prepared by this writer", self.txn);
            return Err(Error::transient(Code::Internal, what));
        }
        if let (Stage::Prepared, Some(mut session), Some(books)) =
            (self.stage, self.session.take(), &self.books)
        {
            let answer = self.loader.commit(&mut session, books, &self.txn).await;
            if faults::point(Fault::TargetInDoubt).await.is_ok() && answer {
                self.stage = Stage::Ended;
                return Ok(());
            }
        }
        let (mut session, books) = self.loader.connect().await?;
        let books = books.ok_or_else(gone)?;
        if !finish(&mut session, &books, &self.txn).await? {
            return Err(self.loader.lost(&session, &self.txn));
        }
        self.stage = Stage::Ended;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        let undone = match self.session.take().filter(Server::is_alive) {
            Some(mut session) => self.loader.rollback(&mut session, &self.txn).await,
            None => false,
        };
        if !undone {
            self.undo().await?;
        }
        self.stage = Stage::Ended;
        Ok(())
    }
}
