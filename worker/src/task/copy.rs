//! A partition: recover older transactions, read, load, prepare, wait for the decision, commit.
//!
//! Invariants: nothing is read before `begin` raised the fence; after a writer's error only
//! `rollback` follows; once `PrepareAck` was said, a transaction that survives its session is
//! rolled back only by a worker that gives the unit back in the same breath (see [`Stop`]).

use std::sync::Arc;
use std::time::Duration;

use common::change::FollowMode;
use common::code::{Code, ErrorClass};
use common::directive::Outcome;
use common::epoch::{Epoch, Unit};
use common::fault::Fault;
use common::plan::{Loaded, PartitionSpec};
use common::value::RowBatch;
use common::{limits, retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::connector::{Error, ReadRequest, Recovered, Result, SourceReader, TargetWriter};
use crate::faults;
use crate::meter::Wait;
use crate::metrics::Side;
use crate::task::fingerprint::Fingerprint;
use crate::task::shaped;
use crate::task::{Ended, Stop, TaskContext, failed, stopped};

/// How far a partition got before it was decided.
enum Voted {
    /// The ledger has an older epoch's row.
    Committed(Epoch),
    Prepared(Loaded),
    Stopped,
}

/// Copies one partition under its lease.
pub async fn run(ctx: &TaskContext, spec: PartitionSpec, decided: Option<Epoch>) -> Ended {
    let mut writer = match open_writer(ctx, spec.table).await {
        Ok(writer) => writer,
        Err(error) => return failed(error),
    };
    match prepare(ctx, &mut *writer, spec, decided).await {
        Ok(Voted::Committed(epoch)) => TaskContext::committed(epoch),
        Ok(Voted::Prepared(loaded)) => {
            ctx.say_prepared(loaded).await;
            match faults::point(Fault::WorkerAfterAck).await {
                Ok(()) => decide(ctx, writer).await,
                // Given back in the same breath, as in `decide`.
                Err(error) => give_up(ctx, &mut *writer, error).await,
            }
        }
        Ok(Voted::Stopped) => {
            roll_back(ctx, &mut *writer).await;
            Ended::Said(Outcome::Released)
        }
        Err(error) => give_up(ctx, &mut *writer, error).await,
    }
}

async fn give_up(ctx: &TaskContext, writer: &mut dyn TargetWriter, error: Error) -> Ended {
    roll_back(ctx, writer).await;
    failed(error)
}

/// Commits what an earlier run of this lease prepared and left.
pub async fn finish(ctx: &TaskContext) -> Ended {
    let table = match table_of(ctx) {
        Ok(table) => table,
        Err(error) => return failed(error),
    };
    match open_writer(ctx, table).await {
        Ok(mut writer) => commit(ctx, &mut *writer).await,
        Err(error) => failed(error),
    }
}

fn table_of(ctx: &TaskContext) -> Result<common::id::TableNo> {
    let missing = || {
        let what = format!("the plan has no {}", ctx.lease.unit);
        Error::permanent(Code::Internal, what)
    };
    let Unit::Partition(no) = ctx.lease.unit else {
        return Err(missing());
    };
    ctx.job.table_of(no).ok_or_else(missing)
}

async fn open_writer(
    ctx: &TaskContext,
    table: common::id::TableNo,
) -> Result<Box<dyn TargetWriter>> {
    let table = ctx.table(table)?;
    let target = ctx.target()?;
    let opening = target.writer(ctx.txn()?, table);
    ctx.meter.timed(Wait::Target, opening).await
}

async fn prepare(
    ctx: &TaskContext,
    writer: &mut dyn TargetWriter,
    spec: PartitionSpec,
    decided: Option<Epoch>,
) -> Result<Voted> {
    faults::point(Fault::WorkerBeforeBegin).await?;
    let beginning = writer.begin(decided);
    match ctx.meter.timed(Wait::Target, beginning).await? {
        Recovered::Committed(epoch) => return Ok(Voted::Committed(epoch)),
        Recovered::Absent => {}
    }
    faults::point(Fault::WorkerAfterBegin).await?;
    let Some(loaded) = load(ctx, writer, spec).await? else {
        return Ok(Voted::Stopped);
    };
    faults::point(Fault::WorkerBeforePrepare).await?;
    let preparing = writer.prepare(loaded);
    ctx.meter.timed(Wait::Target, preparing).await?;
    faults::point(Fault::WorkerAfterPrepare).await?;
    Ok(Voted::Prepared(loaded))
}

/// A batch and the memory it was allowed.
type Weighed = (RowBatch, OwnedSemaphorePermit);

/// Reads and loads at the same time; None = told to stop.
async fn load(
    ctx: &TaskContext,
    writer: &mut dyn TargetWriter,
    spec: PartitionSpec,
) -> Result<Option<Loaded>> {
    let table = ctx.table(spec.table)?;
    let fingerprint = Fingerprint::new(table.rows(), table.form);
    let mut request = ReadRequest::source(&table, spec.columns, spec.ranges);
    request.pinned = ctx.plan()?.follow != FollowMode::Off && table.change_key().is_empty();
    let transform = shaped::transform(ctx, &table)?;
    let metrics = Arc::clone(&ctx.shared);
    let left_out = move |rows| metrics.metrics.add_rows(Side::LeftOut, rows, 0);
    let source = ctx.source()?;
    let opening = async move { shaped::read(&*source, request, transform, left_out).await };
    let (sender, mut batches) = mpsc::channel(limits::BATCH_QUEUE);
    let mut reading = JoinSet::new();
    reading.spawn(read(opening, fingerprint, sender));
    let passed = pass_on(ctx, writer, &mut batches).await;
    drop(batches);
    match passed {
        Ok(true) => {}
        Ok(false) => {
            reading.shutdown().await;
            return Ok(None);
        }
        Err(error) => {
            reading.shutdown().await;
            return Err(error);
        }
    }
    match reading.join_next().await {
        Some(Ok(read)) => {
            let (loaded, snapshot) = read?;
            if let Some(snapshot) = snapshot {
                writer.note_snapshot(snapshot);
            }
            Ok(Some(loaded))
        }
        _ => Err(Error::transient(Code::Internal, "the reader was cut short")),
    }
}

/// Loads every batch; false = told to stop.
async fn pass_on(
    ctx: &TaskContext,
    writer: &mut dyn TargetWriter,
    batches: &mut mpsc::Receiver<Weighed>,
) -> Result<bool> {
    let mut word = ctx.word.clone();
    loop {
        let waiting = Instant::now();
        let next = tokio::select! {
            biased;
            () = stopped(&mut word) => return Ok(false),
            next = batches.recv() => next,
        };
        ctx.meter.add_wait(Wait::Source, waiting.elapsed());
        let Some((batch, permit)) = next else {
            return Ok(true);
        };
        let (rows, bytes) = (batch.rows() as u64, batch.bytes() as u64);
        ctx.shared.metrics.add_rows(Side::Read, rows, bytes);
        // Not interrupted: a batch is short, and a statement cut off half way can't be rolled back.
        ctx.meter.timed(Wait::Target, writer.load(batch)).await?;
        drop(permit);
        ctx.meter.add_rows(rows, bytes);
        ctx.shared.metrics.add_rows(Side::Written, rows, bytes);
        faults::point(Fault::WorkerMidLoad).await?;
    }
}

/// Reads the ranges into `batches` and returns what was read, whole. Memory: the permit for one
/// ordinary batch is taken before it is read, the rest of a large one's before it is handed on, so
/// that a huge one is in flight alone.
async fn read(
    opening: impl Future<Output = Result<Box<dyn SourceReader>>>,
    mut fingerprint: Fingerprint,
    batches: mpsc::Sender<Weighed>,
) -> Result<(Loaded, Option<String>)> {
    let budget = Arc::new(Semaphore::new(limits::BATCHES_IN_FLIGHT));
    let mut reader = opening.await?;
    loop {
        let mut permit = acquire(&budget, 1).await?;
        let Some(batch) = reader.next().await? else {
            return Ok((fingerprint.finish(), reader.snapshot()));
        };
        let weight = (batch.bytes() / limits::BATCH_BYTES).min(limits::BATCHES_IN_FLIGHT);
        if weight > 1 {
            permit.merge(acquire(&budget, weight - 1).await?);
        }
        let (added, batch) = fingerprint.add(batch).await?;
        fingerprint = added;
        if batches.send((batch, permit)).await.is_err() {
            let what = "the loader ended before the reader";
            return Err(Error::transient(Code::Internal, what));
        }
        faults::point(Fault::WorkerMidRead).await?;
    }
}

async fn acquire(budget: &Arc<Semaphore>, batches: usize) -> Result<OwnedSemaphorePermit> {
    let acquired = Arc::clone(budget).acquire_many_owned(batches as u32).await;
    acquired.map_err(|_| Error::transient(Code::Internal, "the memory budget is closed"))
}

/// T is prepared and said to be: waits for the decision or for the end.
async fn decide(ctx: &TaskContext, mut writer: Box<dyn TargetWriter>) -> Ended {
    let mut word = ctx.word.clone();
    let told = word.wait_for(|word| word.commit || word.stop.is_some());
    let told = match ctx.meter.timed(Wait::Decision, told).await {
        Ok(told) => *told,
        // The runner is gone with the process's last work: as if no leader were heard.
        Err(_) => super::Word {
            commit: false,
            stop: Some(Stop::Away),
        },
    };
    if told.commit {
        return commit(ctx, &mut *writer).await;
    }
    let durable = ctx.plan().is_ok_and(|plan| plan.target.durable_prepare);
    if told.stop == Some(Stop::Away) && durable {
        return Ended::Left;
    }
    if told.stop == Some(Stop::Shutdown) {
        let patience = Duration::from_millis(limits::STOP_DECISION_MS);
        let decision = word.wait_for(|word| word.commit);
        if matches!(timeout(patience, decision).await, Ok(Ok(_))) {
            return commit(ctx, &mut *writer).await;
        }
    }
    // Given back in the same breath: if the decision falls meanwhile, the next owner finds nothing
    // in the ledger and copies again.
    roll_back(ctx, &mut *writer).await;
    Ended::Said(Outcome::Released)
}

/// The decision is in the log: commits, and tries again while that may help.
async fn commit(ctx: &TaskContext, writer: &mut dyn TargetWriter) -> Ended {
    let deadline = Instant::now() + Duration::from_millis(limits::COMMIT_DEADLINE_MS);
    let durable = ctx.plan().is_ok_and(|plan| plan.target.durable_prepare);
    let mut word = ctx.word.clone();
    let mut attempt = 0;
    loop {
        let committing = commit_once(writer);
        let error = match ctx.meter.timed(Wait::Target, committing).await {
            Ok(()) => return TaskContext::committed(ctx.lease.epoch),
            Err(error) => error,
        };
        attempt += 1;
        let seed = match ctx.lease.unit {
            Unit::Partition(no) => u64::from(no.0),
            Unit::Task(no) => u64::from(no.0),
        };
        let wait = Duration::from_millis(retry::wait_ms(attempt, seed));
        // What the target held open and no longer has is copied again: no patience brings it back.
        let lost = !durable && error.failure.code == Code::TargetRejected;
        if error.class != ErrorClass::Transient || lost || Instant::now() + wait > deadline {
            return failed(error);
        }
        tracing::info!(lease = %ctx.lease, attempt, %error, "commit is tried again");
        tokio::select! {
            biased;
            () = stopped(&mut word) => return failed(error),
            () = sleep(wait) => {}
        }
    }
}

async fn commit_once(writer: &mut dyn TargetWriter) -> Result<()> {
    faults::point(Fault::WorkerBeforeCommit).await?;
    writer.commit().await?;
    faults::point(Fault::WorkerAfterCommit).await
}

/// Best effort: what can't be rolled back dies with the session, or is ended by the next owner.
async fn roll_back(ctx: &TaskContext, writer: &mut dyn TargetWriter) {
    if let Err(error) = ctx.meter.timed(Wait::Target, roll_back_once(writer)).await {
        tracing::warn!(lease = %ctx.lease, %error, "rollback failed");
    }
}

async fn roll_back_once(writer: &mut dyn TargetWriter) -> Result<()> {
    faults::point(Fault::WorkerBeforeRollback).await?;
    writer.rollback().await?;
    faults::point(Fault::WorkerAfterRollback).await
}
