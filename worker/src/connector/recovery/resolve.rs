//! The end of a job at the target: nothing prepared, no session at work, nothing that could come
//! late; then, if asked, no bookkeeping.
//!
//! A resolver may itself be a zombie, woken after the job was resumed. So it is registered like
//! any task, to be killed by the next one, and leaves alone what is newer than its own fences.

use common::epoch::{Epoch, TxnId};
use common::fault::Fault;

use super::books::{Books, Claim};
use super::{Cleared, Server, SessionId, Verdict, clear, deadline, end, enroll, kill, look_again};
use crate::connector::{Error, ResolveWork, Result};
use crate::faults;

/// Runs a resolve task; repeatable, and content with nothing to do. Returns how many transactions
/// it committed and rolled back.
pub async fn run<S: Server>(
    mut server: S,
    books: Option<Books>,
    work: ResolveWork,
) -> Result<(u32, u32)> {
    let mut ended = Cleared::default();
    if let Some(books) = &books {
        let claim = Claim {
            epoch: work.epoch,
            session: server.id().await?,
        };
        let unit = work.task.to_string();
        enroll(&mut server, books, (&work.job, &unit), claim, false).await?;
        for task in books.tasks(&mut server, &work.job).await? {
            kill(&mut server, task.session, deadline()).await?;
        }
        settle(&mut server, books, &work, &mut ended).await?;
    }
    faults::point(Fault::ResolveMidway).await?;
    sweep(&mut server, books.as_ref(), &work, &mut ended).await?;
    if let (true, Some(books)) = (work.drop_bookkeeping, &books) {
        faults::point(Fault::ResolveBeforeForget).await?;
        books.forget(&mut server, &work.job).await?;
        faults::point(Fault::ResolveAfterForget).await?;
    }
    Ok((ended.committed, ended.rolled_back))
}

/// Ends every partition's transactions by the decision and raises its fence.
async fn settle<S: Server>(
    server: &mut S,
    books: &Books,
    work: &ResolveWork,
    ended: &mut Cleared,
) -> Result<()> {
    for unit in &work.units {
        let deadline = deadline();
        let txn = TxnId {
            job: work.job.clone(),
            partition: unit.partition,
            epoch: unit.fence,
        };
        // Nobody works on it from here on: there is no session to kill.
        let claim = Claim {
            epoch: unit.fence,
            session: SessionId::default(),
        };
        loop {
            let cleared = clear(server, books, &txn, (claim, unit.decided), deadline).await?;
            ended.committed += cleared.committed;
            ended.rolled_back += cleared.rolled_back;
            if cleared.raised.is_some() {
                break;
            }
            look_again(deadline, || format!("{txn} waits for an older one")).await?;
        }
    }
    Ok(())
}

/// Rolls back whatever of the job is still prepared: partitions that are committed, by another
/// epoch. Those with a decision were ended above.
async fn sweep<S: Server>(
    server: &mut S,
    books: Option<&Books>,
    work: &ResolveWork,
    ended: &mut Cleared,
) -> Result<()> {
    let deadline = deadline();
    loop {
        let mut listed = server.list().await?;
        listed.retain(|txn| txn.job == work.job);
        let Some(first) = listed.first().map(TxnId::to_string) else {
            return Ok(());
        };
        for txn in &listed {
            let decided = check_is_older(server, books, work, txn).await?;
            let verdict = Verdict::of(txn, decided);
            match (end(server, txn, verdict).await?, verdict) {
                (true, Verdict::Commit) => ended.committed += 1,
                (true, Verdict::Rollback) => ended.rolled_back += 1,
                (false, _) => {}
            }
        }
        let all = listed.len();
        look_again(deadline, || {
            format!("{all} transactions, {first} first, can't be ended")
        })
        .await?;
    }
}

/// An error if the transaction may be a newer owner's; else the decision about its partition.
async fn check_is_older<S: Server>(
    server: &mut S,
    books: Option<&Books>,
    work: &ResolveWork,
    txn: &TxnId,
) -> Result<Option<Epoch>> {
    let mut units = work.units.iter();
    match (units.find(|unit| unit.partition == txn.partition), books) {
        (Some(unit), _) if txn.epoch <= unit.fence => Ok(unit.decided),
        (Some(unit), _) => Err(Error::fenced(txn.epoch, unit.fence)),
        // Nobody can be at work without bookkeeping.
        (None, None) => Ok(None),
        (None, Some(books)) => match books.committed(server, txn).await? {
            Some(_) => Ok(None),
            None => Err(Error::fenced(txn.epoch, Epoch(0))),
        },
    }
}
