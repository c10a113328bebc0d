//! Recovery of a partition at a target that lists prepared transactions or sessions: see DESIGN
//! §5.2. Written once for every such engine; what an engine must be able to do is [`Server`].
//!
//! There is one way, and every step of it can be repeated after a crash in its middle: read who
//! holds the fence, end its session, end what is prepared by the decision, only then raise the
//! fence, look at the ledger. An answer proves nothing, the ledger and then the server's list do.
//!
//! | file | what |
//! |---|---|
//! | `books` | fence, ledger and marks |
//! | `writer` | the order of a partition's steps |
//! | `applier` | the order of steps of what follows the source |
//! | `resolve` | the end of a job |
//! | `turn` | the session that makes a job's tables, before the fence knows it |

pub mod applier;
pub mod books;
pub mod resolve;
pub mod turn;
pub mod writer;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::code::{Code, ErrorClass, Failure};
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::id::JobUid;
use common::limits;
use common::task::TaskKind;

use self::books::{Books, Claim, Raised};
use super::{DefineWork, Error, Recovered, Result};
use crate::faults;

/// Between two looks at something that is about to end.
pub const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// A session of the server, for ever: numbers are given again, beginnings are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionId {
    /// 0 = none.
    pub number: u64,
    /// When the session began, or the life of the server that numbered it.
    pub started: u64,
}

/// What recovery must tell from other errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    LockWait,
    DuplicateKey,
    NoSuchTable,
}

/// A failed statement.
#[derive(Clone, Debug)]
pub struct Failed {
    pub refusal: Option<Refusal>,
    pub error: Error,
}

pub type Answer<T> = std::result::Result<T, Failed>;

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        failed.error
    }
}

/// How a prepared transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Rollback,
}

impl Verdict {
    /// What the decision says about `txn`: the one epoch is committed, any other rolled back.
    fn of(txn: &TxnId, decided: Option<Epoch>) -> Verdict {
        match decided == Some(txn.epoch) {
            true => Verdict::Commit,
            false => Verdict::Rollback,
        }
    }

    pub fn verb(self) -> &'static str {
        match self {
            Verdict::Commit => "COMMIT",
            Verdict::Rollback => "ROLLBACK",
        }
    }
}

/// A session at a target's server. Every call has a deadline of its own.
#[async_trait]
pub trait Server: Send {
    /// A text literal.
    fn text(value: &str) -> String;

    /// False once a statement was cut off: nothing can be sent any more.
    fn is_alive(&self) -> bool;

    async fn id(&mut self) -> Answer<SessionId>;

    /// A short answer as text.
    async fn query(&mut self, sql: &str) -> Answer<Vec<Vec<Option<String>>>>;

    /// Returns the rows that were matched or inserted.
    async fn execute(&mut self, sql: &str) -> Answer<u64>;

    /// Ends another session and waits until the server knows it no more. Ok too if it may not be
    /// ended (another user's): the fence holds without it, its transaction may not end.
    async fn kill(&mut self, id: SessionId, deadline: Instant) -> Answer<()>;

    /// Every prepared transaction of Sterna that the server lists.
    async fn list(&mut self) -> Answer<Vec<TxnId>>;

    /// Ends a prepared transaction. False: the server says there is none, or can't end it now.
    async fn end(&mut self, txn: &TxnId, verdict: Verdict) -> Answer<bool>;

    /// Takes the lock of [`turn`] for this session, without waiting.
    async fn try_turn(&mut self, job: &JobUid) -> Answer<bool>;

    /// The session that holds it.
    async fn turn_holder(&mut self, job: &JobUid) -> Answer<Option<SessionId>>;

    /// Drops the bookkeeping if no other job uses it.
    async fn drop_books(&mut self, books: &Books) -> Answer<()>;
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS)
}

/// Waits before the next look, or gives up.
async fn look_again(deadline: Instant, what: impl FnOnce() -> String) -> Result<()> {
    if Instant::now() >= deadline {
        return Err(Error::transient(Code::InDoubt, what()));
    }
    tokio::time::sleep(LOOK_AGAIN).await;
    Ok(())
}

/// Prepared transactions of one partition, of any epoch.
async fn listed<S: Server>(server: &mut S, of: &TxnId) -> Result<Vec<TxnId>> {
    let mut listed = server.list().await?;
    listed.retain(|txn| txn.job == of.job && txn.partition == of.partition);
    Ok(listed)
}

async fn kill<S: Server>(server: &mut S, id: SessionId, deadline: Instant) -> Result<()> {
    if id.number == 0 || id == server.id().await? {
        return Ok(());
    }
    faults::point(Fault::TargetBeforeKill).await?;
    server.kill(id, deadline).await?;
    faults::point(Fault::TargetAfterKill).await
}

async fn end<S: Server>(server: &mut S, txn: &TxnId, verdict: Verdict) -> Result<bool> {
    faults::point(Fault::TargetBeforeEnd).await?;
    let ended = server.end(txn, verdict).await?;
    faults::point(Fault::TargetAfterEnd).await?;
    Ok(ended)
}

/// What one pass of [`clear`] did.
#[derive(Default)]
struct Cleared {
    committed: u32,
    rolled_back: u32,
    /// Nothing older is left, and the fence is raised (or the job's bookkeeping is gone).
    raised: Option<Raised>,
}

/// One pass of recovery: ends everything of the partition that is older than `claim`, then raises
/// its fence. Anything newer says that it is not ours to do.
async fn clear<S: Server>(
    server: &mut S,
    books: &Books,
    txn: &TxnId,
    (claim, decided): (Claim, Option<Epoch>),
    deadline: Instant,
) -> Result<Cleared> {
    let unit = txn.partition.to_string();
    let mut cleared = Cleared::default();
    if let Some(holder) = books.holder(server, &txn.job, &unit).await? {
        if holder.epoch > claim.epoch {
            return Err(Error::fenced(holder.epoch, claim.epoch));
        }
        kill(server, holder.session, deadline).await?;
    }
    for older in listed(server, txn).await? {
        if older.epoch > claim.epoch {
            return Err(Error::fenced(older.epoch, claim.epoch));
        }
        let verdict = Verdict::of(&older, decided);
        match (end(server, &older, verdict).await?, verdict) {
            (true, Verdict::Commit) => cleared.committed += 1,
            (true, Verdict::Rollback) => cleared.rolled_back += 1,
            (false, _) => return Ok(cleared),
        }
    }
    if !listed(server, txn).await?.is_empty() {
        return Ok(cleared);
    }
    faults::point(Fault::TargetBeforeFence).await?;
    match books.raise(server, &txn.job, &unit, claim, false).await? {
        Raised::Higher(epoch) => return Err(Error::fenced(epoch, claim.epoch)),
        // A transaction of an older epoch has modified the row and is about to prepare.
        Raised::Waits => {}
        raised => {
            faults::point(Fault::TargetAfterFence).await?;
            cleared.raised = Some(raised);
        }
    }
    Ok(cleared)
}

/// Makes the partition ours: nothing older is left, and none can come.
async fn take_over<S: Server>(
    server: &mut S,
    books: &Books,
    txn: &TxnId,
    decided: Option<Epoch>,
) -> Result<(Claim, Recovered)> {
    let deadline = deadline();
    let claim = Claim {
        epoch: txn.epoch,
        session: server.id().await?,
    };
    loop {
        let cleared = clear(server, books, txn, (claim, decided), deadline).await?;
        match cleared.raised {
            Some(Raised::Gone) => return Err(books::gone()),
            Some(_) => break,
            None => look_again(deadline, || format!("{txn} waits for an older one")).await?,
        }
    }
    let recovered = match books.committed(server, txn).await? {
        Some(epoch) => Recovered::Committed(epoch),
        None => Recovered::Absent,
    };
    Ok((claim, recovered))
}

/// Finishes T's commit by what the server's tables and list say. False: T is nowhere.
async fn finish<S: Server>(server: &mut S, books: &Books, txn: &TxnId) -> Result<bool> {
    let deadline = deadline();
    let mut nowhere = 0;
    while nowhere < 4 {
        match books.committed(server, txn).await? {
            Some(epoch) if epoch == txn.epoch => return Ok(true),
            Some(epoch) => return Err(Error::fenced(epoch, txn.epoch)),
            None => {}
        }
        // Whoever prepared T may be at work still; once it is gone, the list is the truth.
        let unit = txn.partition.to_string();
        let holder = books.holder(server, &txn.job, &unit).await?;
        if let Some(holder) = holder.filter(|holder| holder.epoch == txn.epoch) {
            kill(server, holder.session, deadline).await?;
        }
        if listed(server, txn).await?.contains(txn) {
            server.end(txn, Verdict::Commit).await?;
            // A lost answer changes nothing here: the ledger is asked again.
            let _ = faults::point(Fault::TargetInDoubt).await;
        } else {
            nowhere += 1;
        }
        look_again(deadline, || format!("{txn} can't be committed")).await?;
    }
    Ok(false)
}

/// Ends T from outside: kills the session that works on it, then rolls back what it prepared.
async fn undo<S: Server>(server: &mut S, at_work: Option<SessionId>, txn: &TxnId) -> Result<()> {
    let deadline = deadline();
    loop {
        if let Some(id) = at_work {
            kill(server, id, deadline).await?;
        }
        if !listed(server, txn).await?.contains(txn) {
            return Ok(());
        }
        server.end(txn, Verdict::Rollback).await?;
        look_again(deadline, || format!("{txn} can't be rolled back")).await?;
    }
}

/// Registers the session of a define task, and ends those of older epochs. True: an earlier owner
/// of the task was here.
pub async fn register<S: Server>(server: &mut S, books: &Books, work: &DefineWork) -> Result<bool> {
    let unit = work.task.to_string();
    let creates = matches!(work.kind, TaskKind::Create);
    work.current.still_ours().await?;
    let enrolled = enroll(server, books, &work.job, &unit, work.epoch, creates).await?;
    let again = enrolled.ok_or_else(books::gone)?;
    if creates && books.has_partitions(server, &work.job).await? {
        let what = "partitions of the job have begun at the target: its tables are made";
        return Err(Error {
            class: ErrorClass::Fenced,
            failure: Failure::new(Code::Internal, what),
        });
    }
    Ok(again)
}

/// Whether the unit had an owner before; None: the job has no bookkeeping any more.
async fn enroll<S: Server>(
    server: &mut S,
    books: &Books,
    job: &JobUid,
    unit: &str,
    epoch: Epoch,
    first: bool,
) -> Result<Option<bool>> {
    let session = server.id().await?;
    let claim = Claim { epoch, session };
    // Register first, kill then: whoever registers later than us finds us and kills us.
    let before = books.holder(server, job, unit).await?;
    match books.raise(server, job, unit, claim, first).await? {
        Raised::Done => {}
        Raised::Gone => return Ok(None),
        Raised::Higher(held) => return Err(Error::fenced(held, epoch)),
        Raised::Waits => {
            let what = format!("the fence of {unit} is locked by another session");
            return Err(Error::transient(Code::TargetRejected, what));
        }
    }
    if let Some(before) = &before {
        kill(server, before.session, deadline()).await?;
    }
    Ok(Some(before.is_some()))
}
