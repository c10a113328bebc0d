//! The end of a job at the target: nothing prepared, no session at work, nothing that could come
//! late; then, if asked, no bookkeeping.

use std::time::{Duration, Instant};

use common::code::Code;
use common::epoch::{Epoch, TxnId};
use common::fault::Fault;
use common::limits;
use common::task::ResolveUnit;

use super::error::LOCK_WAIT_TIMEOUT;
use super::fence::{Books, Claim, Raised};
use super::quote::text;
use super::session::{Host, Purpose, Session};
use super::turn;
use super::xa::{self, Verdict};
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
    let books = Books::find(&mut session, &host.database).await?;
    let mut ended = Ended::default();
    if let Some(books) = &books {
        stop_definers(&mut session, books, &work, deadline).await?;
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

/// Kills the sessions of the job's define tasks and lets no older one register again.
async fn stop_definers(
    session: &mut Session,
    books: &Books,
    work: &ResolveWork,
    deadline: Instant,
) -> Result<()> {
    let rows = session
        .rows(&format!(
            "SELECT session, server_start FROM {} WHERE job = '{}' AND unit LIKE {}",
            books.fence,
            work.job,
            text("t%")
        ))
        .await?;
    let start = xa::server_start(session).await?;
    for row in rows {
        let number = |at: usize| -> u64 {
            let cell = row.get(at).and_then(|cell| cell.as_deref()?.parse().ok());
            cell.unwrap_or(0)
        };
        if xa::same_life(number(1), start) {
            xa::kill(session, number(0), deadline).await?;
        }
    }
    Ok(())
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
    let start = xa::server_start(session).await?;
    loop {
        if let Some(holder) = books.holder(session, &work.job, &name).await?
            && xa::same_life(holder.server_start, start)
        {
            xa::kill(session, holder.session, deadline).await?;
        }
        for txn in xa::list(session).await? {
            if txn.job == work.job && txn.partition == unit.partition {
                end(session, &txn, unit.decided, ended).await?;
            }
        }
        // Nobody works on it from here on: there is no session to kill.
        let claim = Claim {
            epoch: unit.fence,
            session: 0,
            server_start: 0,
        };
        match books.raise(session, &work.job, &name, claim, false).await {
            Ok(Raised::Done | Raised::Gone) => return Ok(()),
            // A later resolve was here before us.
            Ok(Raised::Higher(_)) => return Ok(()),
            Err(failed) if failed.number == LOCK_WAIT_TIMEOUT && Instant::now() < deadline => {
                tokio::time::sleep(xa::LOOK_AGAIN).await;
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
        let mut listed = xa::list(session).await?;
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
        tokio::time::sleep(xa::LOOK_AGAIN).await;
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
    if xa::end(session, txn, verdict).await? {
        match verdict {
            Verdict::Commit => ended.committed += 1,
            Verdict::Rollback => ended.rolled_back += 1,
        }
    }
    Ok(())
}
