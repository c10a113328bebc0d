//! Changes into a target, transaction by transaction: who may write, in what order, and how far it
//! is. The engine's own `apply` knows how rows get in.
//!
//! Exactly once: rows and marks are one transaction, which ends with an update of the fence row
//! that must still carry our epoch **and** our session. After any doubt the caller opens another
//! applier; its `begin` raises the fence, waits until the session before it is gone, and only then
//! reads the marks: nothing can be committed any more that they don't show.

use async_trait::async_trait;
use common::code::Code;
use common::fault::Fault;
use common::id::PartitionNo;
use common::plan::TablePlan;

use super::books::{Books, Claim, Raised, gone};
use super::{Answer, Refusal, Server, deadline, kill, look_again};
use crate::connector::changes::{ApplyWork, Marks, TargetApplier};
use crate::connector::{Error, Result};
use crate::faults;
use common::change::net::NetChanges;

/// Cells of the keys of rows that a patch didn't find.
pub type Keys = Vec<Vec<Vec<u8>>>;

/// What an engine does with changes.
#[async_trait]
pub trait Engine: Send + Sync {
    type Session: Server;

    /// Opens a transaction; also as the first of several statements.
    const BEGIN: &'static str;

    /// A new session, and the bookkeeping if it is there.
    async fn connect(&self) -> Result<(Self::Session, Option<Books>)>;

    /// Settles the session, once it is ours to write.
    async fn settle(&mut self, session: &mut Self::Session) -> Result<()>;

    /// Applies the changes in the open transaction; `begin` goes before the first statement.
    async fn apply(
        &mut self,
        session: &mut Self::Session,
        begin: &str,
        changes: NetChanges,
    ) -> Result<Keys>;

    /// Runs several statements in one go; the rows each of them matched or inserted.
    async fn run_all(&self, session: &mut Self::Session, sql: &str) -> Answer<Vec<u64>>;

    /// See [`TargetApplier::alter`]. Gives the session back.
    async fn alter(
        &mut self,
        session: Self::Session,
        before: Option<&TablePlan>,
        table: &TablePlan,
    ) -> Result<Self::Session>;
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before `begin`.
    Fresh,
    Ready,
    /// A transaction is open.
    Open,
    /// Something failed, or was cut off half way.
    Poisoned,
}

/// See [`TargetApplier`].
pub struct Applier<E: Engine> {
    engine: E,
    work: ApplyWork,
    stage: Stage,
    /// Session, bookkeeping and what stands in its fence row.
    at: Option<(E::Session, Books, Claim)>,
}

impl<E: Engine> Applier<E> {
    pub fn new(engine: E, work: ApplyWork) -> Applier<E> {
        Applier {
            engine,
            work,
            stage: Stage::Fresh,
            at: None,
        }
    }

    /// Takes the stage if it is one of these; until the step has passed all checks, the applier is
    /// poisoned, also when its future is dropped half way.
    fn step(&mut self, from: &[Stage]) -> Result<Stage> {
        let stage = std::mem::replace(&mut self.stage, Stage::Poisoned);
        if from.contains(&stage) {
            return Ok(stage);
        }
        let what = format!(
            "lane {} of {}: a step before failed",
            self.work.lane, self.work.job
        );
        Err(Error::transient(Code::Internal, what))
    }
}

/// Makes the lane ours. Ends the older session first if it holds the row: the transaction that has
/// modified it is about to commit, or hangs.
async fn enroll<S: Server>(server: &mut S, books: &Books, work: &ApplyWork) -> Result<Claim> {
    let (deadline, unit) = (deadline(), work.unit());
    let claim = Claim {
        epoch: work.fence(),
        session: server.id().await?,
    };
    loop {
        let before = books.holder(server, &work.job, &unit).await?;
        if let Some(held) = before.filter(|held| held.epoch > claim.epoch) {
            return Err(Error::fenced(held.epoch, claim.epoch));
        }
        let raised = books.raise(server, &work.job, &unit, claim, false).await?;
        if let Some(before) = before {
            kill(server, before.session, deadline).await?;
        }
        match raised {
            Raised::Done => return Ok(claim),
            Raised::Higher(held) => return Err(Error::fenced(held, claim.epoch)),
            Raised::Gone => return Err(gone()),
            Raised::Waits => {
                look_again(deadline, || format!("the fence of {unit} is locked")).await?;
            }
        }
    }
}

async fn read_marks<S: Server>(server: &mut S, books: &Books, work: &ApplyWork) -> Answer<Marks> {
    let (job, mut marks) = (&work.job, Marks::default());
    let lanes = format!(
        "SELECT lane, mark FROM {} WHERE job = '{job}'",
        books.follow
    );
    for row in server.query(&lanes).await? {
        if let [Some(lane), Some(mark)] = row.as_slice() {
            let lane = lane.parse().unwrap_or_default();
            marks.lanes.insert(lane, mark.clone());
        }
    }
    let snapshots = format!(
        "SELECT part, snapshot FROM {} WHERE job = '{job}' AND snapshot IS NOT NULL",
        books.ledger
    );
    for row in server.query(&snapshots).await? {
        if let [Some(part), Some(snapshot)] = row.as_slice() {
            let part = PartitionNo(part.parse().unwrap_or_default());
            marks.snapshots.insert(part, snapshot.clone());
        }
    }
    Ok(marks)
}

#[async_trait]
impl<E: Engine> TargetApplier for Applier<E> {
    async fn begin(&mut self) -> Result<Marks> {
        self.step(&[Stage::Fresh, Stage::Ready])?;
        let (mut session, books) = self.engine.connect().await?;
        let books = books.ok_or_else(gone)?;
        let claim = enroll(&mut session, &books, &self.work).await?;
        let marks = match read_marks(&mut session, &books, &self.work).await {
            Err(failed) if failed.refusal == Some(Refusal::NoSuchTable) => return Err(gone()),
            marks => marks?,
        };
        self.engine.settle(&mut session).await?;
        self.at = Some((session, books, claim));
        self.stage = Stage::Ready;
        Ok(marks)
    }

    async fn apply(&mut self, changes: NetChanges) -> Result<Keys> {
        let begin = match self.step(&[Stage::Ready, Stage::Open])? {
            Stage::Open => String::new(),
            _ => format!("{}; ", E::BEGIN),
        };
        let Some((session, ..)) = &mut self.at else {
            return Err(gone());
        };
        let missed = self.engine.apply(session, &begin, changes).await?;
        self.stage = Stage::Open;
        Ok(missed)
    }

    async fn commit(&mut self, marks: &[(u32, String)]) -> Result<()> {
        let begin = match self.step(&[Stage::Ready, Stage::Open])? {
            Stage::Open => String::new(),
            _ => format!("{}; ", E::BEGIN),
        };
        let Some((session, books, claim)) = &mut self.at else {
            return Err(gone());
        };
        faults::point(Fault::TargetBeforeBooks).await?;
        let (job, unit) = (&self.work.job, self.work.unit());
        let mut sql = format!(
            "{begin}UPDATE {} SET n = n + 1 WHERE job = '{job}' AND unit = '{unit}' AND \
             epoch = {} AND session = {} AND session_start = {}",
            books.fence, claim.epoch.0, claim.session.number, claim.session.started
        );
        for (lane, mark) in marks {
            sql.push_str(&format!(
                "; UPDATE {} SET mark = {} WHERE job = '{job}' AND lane = {lane}",
                books.follow,
                E::Session::text(mark)
            ));
        }
        let counts = match self.engine.run_all(session, &sql).await {
            Err(failed) if failed.refusal == Some(Refusal::NoSuchTable) => return Err(gone()),
            counts => counts?,
        };
        let counts = counts.get(usize::from(!begin.is_empty())..).unwrap_or(&[]);
        if counts.first() != Some(&1) {
            let held = books.holder(session, job, &unit).await?.ok_or_else(gone)?;
            if held.epoch > claim.epoch {
                return Err(Error::fenced(held.epoch, claim.epoch));
            }
            let what = format!("{unit} of {job} has another session now");
            return Err(Error::transient(Code::InDoubt, what));
        }
        for (at, (lane, mark)) in marks.iter().enumerate() {
            if counts.get(at + 1) == Some(&1) {
                continue;
            }
            let insert = format!(
                "INSERT INTO {} (job, lane, mark) VALUES ('{job}', {lane}, {})",
                books.follow,
                E::Session::text(mark)
            );
            if session.execute(&insert).await? != 1 {
                let what = format!("{unit} of {job}: the mark was not taken");
                return Err(Error::permanent(Code::TargetRejected, what));
            }
        }
        faults::point(Fault::TargetAfterBooks).await?;
        session.execute("COMMIT").await?;
        faults::point(Fault::TargetInDoubt).await?;
        self.stage = Stage::Ready;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        if let (Stage::Open, Some((session, ..))) =
            (self.step(&[Stage::Ready, Stage::Open])?, &mut self.at)
        {
            session.execute("ROLLBACK").await?;
        }
        self.stage = Stage::Ready;
        Ok(())
    }

    async fn alter(&mut self, before: Option<&TablePlan>, table: &TablePlan) -> Result<()> {
        self.step(&[Stage::Ready])?;
        let Some((session, books, claim)) = self.at.take() else {
            return Err(gone());
        };
        self.work.current.still_ours().await?;
        let session = self.engine.alter(session, before, table).await?;
        self.at = Some((session, books, claim));
        self.stage = Stage::Ready;
        Ok(())
    }
}
