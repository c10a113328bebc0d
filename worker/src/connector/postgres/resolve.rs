//! The end of a job at the target: nothing prepared, no session at work, nothing that could come
//! late; then, if asked, no bookkeeping.

use std::time::{Duration, Instant};

use common::code::Code;
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::limits;
use common::task::ResolveUnit;

use super::error::LOCK_NOT_AVAILABLE;
use super::fence::{Books, Claim, Raised, SessionId};
use super::prepared::{self, Verdict};
use super::session::{Host, Purpose, Session};
use super::turn;
use crate::connector::{Error, ResolveWork, Result, Role};
use crate::faults;

/// What was ended.
#[derive(Default)]
struct Ended {
    committed: u32,
    rolled_back: u32,
}

/// Runs a resolve task; repeatable, and content with nothing to do.
pub async fn run(host: &Host, work: ResolveWork) -> Result<(u32, u32)> {
    let mut session = host.open(Role::Target, Purpose::Load).await?;
    let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
    // It may be about to make what is looked for next.
    turn::evict(&mut session, &work.job, deadline).await?;
    let books = Books::find(&mut session, host).await?;
    let mut ended = Ended::default();
    if let Some(books) = &books {
        for definer in books.definers(&mut session, &work.job).await? {
            prepared::kill(&mut session, definer, deadline).await?;
        }
        for unit in &work.units {
            settle(&mut session, books, &work, unit, &mut ended).await?;
        }
        faults::point(Fault::ResolveMidway).await?;
    }
    sweep(&mut session, &work, deadline, &mut ended).await?;
    if let (true, Some(books)) = (work.drop_bookkeeping, &books) {
        faults::point(Fault::ResolveBeforeForget).await?;
        books.forget(&mut session, &work.job).await?;
        faults::point(Fault::ResolveAfterForget).await?;
    }
    Ok((ended.committed, ended.rolled_back))
}

/// Ends one partition's transactions by the decision and raises its fence.
async fn settle(
    session: &mut Session,
    books: &Books,
    work: &ResolveWork,
    unit: &ResolveUnit,
    ended: &mut Ended,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
    let name = unit.partition.to_string();
    loop {
        if let Some(holder) = books.holder(session, &work.job, &name).await? {
            prepared::kill(session, holder.session, deadline).await?;
        }
        for txn in prepared::list(session).await? {
            if txn.job == work.job && txn.partition == unit.partition {
                end(session, &txn, unit.decided, ended).await?;
            }
        }
        // Nobody works on it from here on: there is no session to kill.
        let claim = Claim {
            epoch: unit.fence,
            session: SessionId::default(),
        };
        match books.raise(session, &work.job, &name, claim, false).await {
            Ok(Raised::Done | Raised::Gone) => return Ok(()),
            // A later resolve was here before us.
            Ok(Raised::Higher(_)) => return Ok(()),
            Err(failed) if failed.sqlstate == LOCK_NOT_AVAILABLE && Instant::now() < deadline => {
                tokio::time::sleep(prepared::LOOK_AGAIN).await;
            }
            Err(failed) => return Err(failed.into()),
        }
    }
}

/// Rolls back whatever of the job is still prepared: partitions that are committed (by another
/// epoch) or not in the list. Those with a decision were ended above.
async fn sweep(
    session: &mut Session,
    work: &ResolveWork,
    deadline: Instant,
    ended: &mut Ended,
) -> Result<()> {
    loop {
        let mut listed = prepared::list(session).await?;
        listed.retain(|txn| txn.job == work.job);
        if listed.is_empty() {
            return Ok(());
        }
        for txn in &listed {
            let unit = work.units.iter().find(|u| u.partition == txn.partition);
            let decided = unit.and_then(|unit| unit.decided);
            end(session, txn, decided, ended).await?;
        }
        if Instant::now() >= deadline {
            let what = format!("{} transactions of the job can't be ended", listed.len());
            return Err(Error::transient(Code::InDoubt, what));
        }
        tokio::time::sleep(prepared::LOOK_AGAIN).await;
    }
}

async fn end(
    session: &mut Session,
    txn: &TxnId,
    decided: Option<Epoch>,
    ended: &mut Ended,
) -> Result<()> {
    let verdict = match decided == Some(txn.epoch) {
        true => Verdict::Commit,
        false => Verdict::Rollback,
    };
    if prepared::end(session, txn, verdict).await? {
        match verdict {
            Verdict::Commit => ended.committed += 1,
            Verdict::Rollback => ended.rolled_back += 1,
        }
    }
    Ok(())
}
