//! The units of work: one file per task, each a straight line from the lease to what came of it.
//! Here: what a unit is given, how it is told to commit or stop, and which file runs it.

mod compare;
mod copy;
mod create;
mod examine;
mod fingerprint;
mod follow;
mod foreign_keys;
mod index;
pub(crate) mod inspect;
mod objects;
mod release;
mod repair;
mod resolve;
mod secure;
mod settle;
mod shaped;
mod verify;

use std::sync::Arc;

use common::code::{Code, ErrorClass, Failure};
use common::directive::{Directive, JobContext, Order, Outcome};
use common::epoch::{Epoch, Lease, TxnId, Unit};
use common::fault::Fault;
use common::plan::{Loaded, Plan, TablePlan};
use common::schema::SchemaObject;
use common::task::{TaskKind, TaskResult};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::connector::{self, Connector, DefineWork, Error, Result};
use crate::context::Contexts;
use crate::faults;
use crate::fresh::Freshness;
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::secret::Secrets;

/// What all units of a worker share.
pub struct Shared {
    pub contexts: Contexts,
    pub secrets: Secrets,
    pub metrics: Metrics,
    /// Whether the leader can have given our leases away.
    pub fresh: Freshness,
}

/// Why a unit must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The lease is no longer ours, or no leader is heard. What is prepared for good is not ours
    /// to roll back: its decision may be Commit by now.
    Away,
    /// The worker ends: what is undecided is rolled back and given back.
    Shutdown,
}

/// What a running unit is told; it only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The decision is in the log.
    pub commit: bool,
    pub stop: Option<Stop>,
}

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Said(Outcome),
    /// T stays prepared in the target, for whoever is told to end it.
    Left,
}

/// Everything a unit is started with.
pub struct UnitInput {
    pub directive: Directive,
    pub shared: Arc<Shared>,
    pub meter: Arc<Meter>,
    pub word: watch::Receiver<Word>,
    /// Says that T is prepared while the unit goes on to wait for the decision.
    pub prepared: mpsc::Sender<(Lease, Loaded)>,
}

/// What a task works with.
pub struct TaskContext {
    pub lease: Lease,
    pub job: Arc<JobContext>,
    pub shared: Arc<Shared>,
    pub meter: Arc<Meter>,
    word: watch::Receiver<Word>,
    prepared: mpsc::Sender<(Lease, Loaded)>,
}

/// Runs one unit to its end. Never fails: what goes wrong is an outcome.
pub fn run(input: UnitInput) -> BoxFuture<'static, Ended> {
    async move {
        let planned = match &input.directive.order {
            Order::Prepare { .. } | Order::Commit => true,
            Order::Run { task } => needs_plan(task),
        };
        let lease = input.directive.lease;
        let mut word = input.word.clone();
        let fetching = async {
            let contexts = &input.shared.contexts;
            let job = contexts
                .get(lease.job, &input.directive.uid, planned)
                .await?;
            faults::point(Fault::WorkerAfterContext).await?;
            Ok(job)
        };
        let fetched = tokio::select! {
            biased;
            () = stopped(&mut word) => return Ended::Said(Outcome::Released),
            fetched = fetching => fetched,
        };
        let job = match fetched {
            Ok(job) => job,
            Err(error) => return failed(error),
        };
        let ctx = TaskContext {
            lease,
            job,
            shared: input.shared,
            meter: input.meter,
            word: input.word,
            prepared: input.prepared,
        };
        match input.directive.order {
            Order::Prepare { spec, decided } => copy::run(&ctx, spec, decided).await,
            Order::Commit => copy::finish(&ctx).await,
            Order::Run { task } => run_task(&ctx, task).await,
        }
    }
    .boxed()
}

async fn run_task(ctx: &TaskContext, kind: TaskKind) -> Ended {
    let mut word = ctx.word.clone();
    let work = async {
        faults::point(Fault::WorkerBeforeTask).await?;
        let result = dispatch(ctx, kind).await?;
        faults::point(Fault::WorkerAfterTask).await?;
        Ok(result)
    };
    // A task is repeatable: dropped half way, the next owner runs it again.
    tokio::select! {
        biased;
        () = stopped(&mut word) => Ended::Said(Outcome::Released),
        result = work => match result {
            Ok(result) => Ended::Said(Outcome::Task(result)),
            Err(error) => failed(error),
        },
    }
}

async fn dispatch(ctx: &TaskContext, kind: TaskKind) -> Result<TaskResult> {
    match kind {
        TaskKind::Inspect { slots } => inspect::run(ctx, slots).boxed().await,
        TaskKind::Create => create::run(ctx).await,
        TaskKind::Secure => secure::run(ctx).await,
        TaskKind::Follow { from, to } => follow::run(ctx, from, to).boxed().await,
        TaskKind::Release => release::run(ctx).await,
        TaskKind::Settle { mark } => settle::run(ctx, mark).await,
        TaskKind::Key { .. } => ctx.define(kind).await,
        TaskKind::Index { table } => index::run(ctx, table).await,
        TaskKind::ForeignKeys { table } => foreign_keys::run(ctx, table).await,
        TaskKind::Objects => objects::run(ctx).await,
        TaskKind::Verify {
            table,
            at_source,
            spec,
            ..
        } => {
            let spec = spec.map(|spec| *spec);
            verify::run(ctx, table, at_source, spec).boxed().await
        }
        TaskKind::Compare { table, at } => compare::run(ctx, table, at).boxed().await,
        TaskKind::Examine { spec, pace, .. } => examine::run(ctx, spec, pace).boxed().await,
        TaskKind::Repair { range, spec } => repair::run(ctx, range, spec).boxed().await,
        TaskKind::Resolve {
            units,
            drop_bookkeeping,
        } => resolve::run(ctx, units, drop_bookkeeping).await,
    }
}

fn needs_plan(kind: &TaskKind) -> bool {
    match kind {
        TaskKind::Inspect { .. } | TaskKind::Resolve { .. } | TaskKind::Release => false,
        TaskKind::Create
        | TaskKind::Secure
        | TaskKind::Follow { .. }
        | TaskKind::Settle { .. }
        | TaskKind::Key { .. }
        | TaskKind::Index { .. }
        | TaskKind::ForeignKeys { .. }
        | TaskKind::Objects
        | TaskKind::Verify { .. }
        | TaskKind::Compare { .. }
        | TaskKind::Examine { .. }
        | TaskKind::Repair { .. } => true,
    }
}

fn failed(error: Error) -> Ended {
    let Error { class, failure } = error;
    Ended::Said(Outcome::Failed { class, failure })
}

/// A unit that was lost inside this process.
pub fn broken(what: impl Into<String>) -> Ended {
    Ended::Said(Outcome::Failed {
        class: ErrorClass::Transient,
        failure: Failure::new(Code::Internal, what),
    })
}

/// Resolves when the unit must stop, whatever the reason; a runner that is gone is one.
pub async fn stopped(word: &mut watch::Receiver<Word>) {
    // An error means that the sender is gone.
    let _ = word.wait_for(|word| word.stop.is_some()).await;
}

impl TaskContext {
    pub fn source(&self) -> Result<Box<dyn Connector>> {
        connector::open(&self.job.spec.source, &self.shared.secrets)
    }

    pub fn target(&self) -> Result<Box<dyn Connector>> {
        connector::open(&self.job.spec.target, &self.shared.secrets)
    }

    pub fn plan(&self) -> Result<&Plan> {
        let missing = || Error::transient(Code::Internal, "the job has no plan yet");
        self.job.plan.as_ref().ok_or_else(missing)
    }

    /// One table of the plan.
    pub fn table(&self, no: common::id::TableNo) -> Result<TablePlan> {
        let missing = || Error::permanent(Code::Internal, format!("the plan has no {no}"));
        let table = self.plan()?.tables.get(no.0 as usize);
        table.cloned().ok_or_else(missing)
    }

    /// Says whether the lease is still ours, see [`connector::Current`].
    fn current(&self) -> connector::Current {
        self.shared.fresh.of(self.word.clone())
    }

    /// T of this unit, if it is a partition.
    pub fn txn(&self) -> Result<TxnId> {
        match self.lease.unit {
            Unit::Partition(partition) => Ok(TxnId {
                job: self.job.uid.clone(),
                partition,
                epoch: self.lease.epoch,
            }),
            Unit::Task(no) => {
                let what = format!("{no} was ordered to copy");
                Err(Error::permanent(Code::Internal, what))
            }
        }
    }

    /// Runs a create, index or foreign-key task at the target.
    async fn define(&self, kind: TaskKind) -> Result<TaskResult> {
        let objects = self.plan()?.objects.clone();
        self.define_with(kind, objects).await
    }

    /// The same, with the plan's objects as they are at the source by now.
    async fn define_with(&self, kind: TaskKind, objects: Vec<SchemaObject>) -> Result<TaskResult> {
        let Unit::Task(task) = self.lease.unit else {
            let what = format!("{} was ordered to run a task", self.lease.unit);
            return Err(Error::permanent(Code::Internal, what));
        };
        let plan = self.plan()?;
        let work = DefineWork {
            job: self.job.uid.clone(),
            task,
            epoch: self.lease.epoch,
            kind,
            spec: self.job.spec.clone(),
            tables: plan.tables.clone(),
            objects,
            current: self.current(),
        };
        self.target()?.define(work).await?;
        Ok(TaskResult::Done)
    }

    /// Says `PrepareAck`; the unit goes on.
    async fn say_prepared(&self, loaded: Loaded) {
        // The runner is gone only when the whole worker is.
        let _ = self.prepared.send((self.lease, loaded)).await;
    }

    fn committed(epoch: Epoch) -> Ended {
        Ended::Said(Outcome::Committed(epoch))
    }
}
