//! What a worker should be doing, derived from the state; and what it must start and stop to get
//! there. Level-triggered on both sides: a lost message costs one tick.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::FollowProgress;
use crate::code::{ErrorClass, Failure};
use crate::epoch::{Epoch, Lease};
use crate::id::{JobId, JobUid, PartitionNo, TableNo, WorkerId};
use crate::plan::{Loaded, PartitionSpec};
use crate::state::{Intent, Stage, State, WorkerHello};
use crate::task::{TaskKind, TaskResult};

/// One unit of a worker's wanted set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    pub lease: Lease,
    /// Name of the job in the target; with `lease.job` it keys the cached [`JobContext`].
    pub uid: JobUid,
    pub order: Order,
}

/// What to do with the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// `Prepare(T, V, x)`: recover older transactions of the partition (`decided` is the only
    /// older epoch whose decision is Commit, every other one is Abort), load x, prepare T.
    Prepare {
        spec: PartitionSpec,
        decided: Option<Epoch>,
    },
    /// `Commit(T, V, x)`: the decision is in the log.
    Commit,
    /// Run a task.
    Run { task: TaskKind },
}

/// What a worker needs to know of a job, fetched once and cached by (job uid, revision).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobContext {
    pub uid: JobUid,
    pub spec: crate::job::JobSpec,
    /// None before planning has ended. Without bounds: orders carry what is needed of them.
    pub plan: Option<crate::plan::Plan>,
    /// How many partitions each table has, in order.
    pub partitions: Vec<u32>,
}

impl JobContext {
    /// The table a partition belongs to.
    pub fn table_of(&self, partition: PartitionNo) -> Option<TableNo> {
        let mut until = 0;
        let table = self.partitions.iter().position(|count| {
            until += count;
            partition.0 < until
        })?;
        Some(TableNo(table as u32))
    }
}

/// A worker's word about a unit, repeated in every report until the directives move on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub lease: Lease,
    pub outcome: Outcome,
}

/// What came of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// `PrepareAck(T, V, x)`.
    Prepared(Loaded),
    /// `CommitAck(T, V, x)`: the ledger has the row of this epoch.
    Committed(Epoch),
    Task(TaskResult),
    Failed {
        class: ErrorClass,
        failure: Failure,
    },
    /// Given back unharmed: the worker drains or stops.
    Released,
}

/// How far a running unit is: shown to people, never part of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub lease: Lease,
    pub rows: u64,
    pub bytes: u64,
    /// What the unit waits for most, see [`Busy`].
    pub busy: Busy,
    /// Of a follow task.
    pub follow: Option<Box<FollowProgress>>,
}

/// Where a unit's time goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Milliseconds spent waiting for the source, for the target, and for a decision.
    pub source_ms: u64,
    pub target_ms: u64,
    pub decision_ms: u64,
}

/// Everything a worker says at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub hello: WorkerHello,
    /// It asks for no new work: it is about to stop.
    pub draining: bool,
    pub running: Vec<Lease>,
    pub acks: Vec<Ack>,
    pub progress: Vec<Progress>,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Grows with every report of one incarnation, from 1.
    pub seq: u64,
}

/// Everything the leader wants of a worker at once: the whole set, not a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directives {
    /// Raft term of the leader: an older one is ignored.
    pub term: u64,
    pub worker: WorkerId,
    pub wanted: Vec<Directive>,
    /// How long the worker may go on without hearing a leader.
    pub self_stop_ms: u64,
    /// [`Report::seq`] of the newest report of this worker that the leader has taken in; 0 = none
    /// yet. With `keep_ms` it says until when the leader can't have given its work away.
    pub heard: u64,
    /// See [`crate::limits::Limits::keep_ms`].
    pub keep_ms: u64,
}

/// The wanted set of one worker.
pub fn directives(state: &State, worker: WorkerId) -> Vec<Directive> {
    let mut wanted = Vec::new();
    for (job_id, job) in state.active_jobs() {
        for (no, epoch) in job.partitions_of_worker(worker) {
            let partition = job.partition(no).expect("indexed partitions exist");
            let lease = Lease {
                job: job_id,
                unit: crate::epoch::Unit::Partition(no),
                epoch,
            };
            let order = match &partition.stage {
                Stage::Leased { decided, .. } => Order::Prepare {
                    spec: job
                        .partition_spec(no)
                        .expect("a leased partition has a plan"),
                    decided: decided.map(|decided| decided.txn),
                },
                // Prepared: nothing to do but to hold on until the decision is logged.
                Stage::Prepared { .. } => Order::Prepare {
                    spec: job
                        .partition_spec(no)
                        .expect("a prepared partition has a plan"),
                    decided: None,
                },
                Stage::Committing { .. } => Order::Commit,
                Stage::Waiting | Stage::Committed { .. } => continue,
            };
            wanted.push(Directive {
                lease,
                uid: job.uid.clone(),
                order,
            });
        }
        for (no, epoch) in job.tasks_of_worker(worker) {
            let lease = Lease {
                job: job_id,
                unit: crate::epoch::Unit::Task(no),
                epoch,
            };
            let mut task = job.task(no).expect("indexed tasks exist").kind.clone();
            match &mut task {
                TaskKind::Inspect { slots } => *slots = state.slots(),
                TaskKind::Examine { range, spec, pace } => {
                    *spec = job.partition_spec(crate::id::PartitionNo(*range));
                    *pace = job.pace(state.slots());
                }
                TaskKind::Repair { range, spec } => *spec = job.range(*range).map(Box::new),
                TaskKind::Verify { part, spec, .. } => {
                    *spec = part.and_then(|part| job.spec_of(part)).map(Box::new);
                }
                _ => {}
            }
            wanted.push(Directive {
                lease,
                uid: job.uid.clone(),
                order: Order::Run { task },
            });
        }
    }
    wanted
}

/// What the wanted set of a worker is about, without building it: equal outlines mean equal
/// directives (but for what a worker ignores in a unit that runs). The flag is "commit".
pub fn outline(state: &State, worker: WorkerId) -> Vec<(Lease, bool)> {
    let mut outline = Vec::new();
    for (job_id, job) in state.active_jobs() {
        for (no, epoch) in job.partitions_of_worker(worker) {
            let partition = job.partition(no).expect("indexed partitions exist");
            let lease = Lease {
                job: job_id,
                unit: crate::epoch::Unit::Partition(no),
                epoch,
            };
            outline.push((lease, matches!(partition.stage, Stage::Committing { .. })));
        }
        for (no, epoch) in job.tasks_of_worker(worker) {
            let lease = Lease {
                job: job_id,
                unit: crate::epoch::Unit::Task(no),
                epoch,
            };
            outline.push((lease, false));
        }
    }
    outline
}

/// The difference between what runs and what should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    pub start: Vec<Directive>,
    /// Units whose transaction was decided: tell the running task.
    pub commit: Vec<Lease>,
    /// Units that are no longer ours.
    pub stop: Vec<Lease>,
}

/// Compares what runs with what is wanted.
pub fn reconcile(running: &BTreeMap<Lease, ()>, wanted: &[Directive]) -> Reconciliation {
    let mut steps = Reconciliation::default();
    for directive in wanted {
        match (&directive.order, running.contains_key(&directive.lease)) {
            (Order::Commit, true) => steps.commit.push(directive.lease),
            (_, true) => {}
            (_, false) => steps.start.push(directive.clone()),
        }
    }
    for lease in running.keys() {
        if !wanted.iter().any(|directive| directive.lease == *lease) {
            steps.stop.push(*lease);
        }
    }
    steps
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start")?;
        for directive in &self.start {
            write!(f, " {}", directive.lease)?;
        }
        write!(f, "; commit")?;
        for lease in &self.commit {
            write!(f, " {lease}")?;
        }
        write!(f, "; stop")?;
        for lease in &self.stop {
            write!(f, " {lease}")?;
        }
        Ok(())
    }
}

/// Which job a lease's context is cached under.
pub type ContextKey = (JobId, JobUid, bool);

/// A job that isn't to run new work.
pub fn is_paused(intent: Intent) -> bool {
    intent != Intent::Run
}
