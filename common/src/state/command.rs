//! Everything that can change the state. One log entry carries the time and a batch of these.

use serde::{Deserialize, Serialize};

use crate::code::{ErrorClass, Failure};
use crate::epoch::{Epoch, Lease};
use crate::id::{JobId, JobUid, Millis, PartitionNo, TaskNo, WorkerId};
use crate::job::JobSpec;
use crate::plan::{Loaded, Plan};
use crate::schema::Catalog;
use crate::task::TaskResult;

/// One entry of the Raft log. Time enters the state here and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Millis,
    pub commands: Vec<Command>,
}

/// What the outcome of a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Commit,
    Abort,
}

/// What the user wants of a job, beside its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    Run,
    /// No new work is handed out; what is in flight ends.
    Pause,
    /// Roll back what is undecided, remove what is ours from the target, keep copied rows.
    Cancel,
}

/// Who a worker is, by its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    pub name: String,
    /// Random at each start of the process: a restarted worker is a new one.
    pub incarnation: u64,
    pub slots: u32,
    pub version: String,
}

/// A change of the state. `apply` is total: each either takes effect or is `Rejected` and changes
/// nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    SubmitJob {
        uid: JobUid,
        spec: Box<JobSpec>,
    },
    SetIntent {
        job: JobId,
        intent: Intent,
    },
    /// A job that follows its source is to end: apply what the log holds, prove the result, let go.
    Complete {
        job: JobId,
    },
    RegisterWorker(WorkerHello),
    /// The worker is gone: every lease it held is free again.
    LoseWorker {
        worker: WorkerId,
        reason: String,
    },
    /// A draining worker keeps what it has and gets nothing new.
    DrainWorker {
        worker: WorkerId,
        drain: bool,
    },

    /// Mints the next epoch and fixes Abort for undecided transactions of older ones.
    AssignPartition {
        job: JobId,
        partition: PartitionNo,
        worker: WorkerId,
    },
    AssignTask {
        job: JobId,
        task: TaskNo,
        worker: WorkerId,
    },

    /// The owner's PrepareAck: T is prepared in the target and can be committed after any crash
    /// (or, for a held transaction, as long as its session lives).
    RecordPrepared {
        lease: Lease,
        loaded: Loaded,
    },
    /// **The commit point.** Logged before any Commit is sent.
    Decide {
        job: JobId,
        partition: PartitionNo,
        epoch: Epoch,
        decision: Decision,
    },
    /// A CommitAck. `committed` is the epoch whose transaction is in the ledger: the lease's own,
    /// or an older one that was decided Commit and that this owner found or finished.
    RecordCommitted {
        lease: Lease,
        committed: Epoch,
    },
    /// The owner gives the unit up; `class` and the attempts so far tell what happens next.
    RecordFailed {
        lease: Lease,
        class: ErrorClass,
        failure: Failure,
    },
    /// The owner gives the unit back unharmed (drain, shutdown): no attempt is counted.
    Release {
        lease: Lease,
    },

    RecordTask {
        lease: Lease,
        result: TaskResult,
    },
    AdoptPlan {
        job: JobId,
        plan: Plan,
    },
    /// Planning found what stands in the way; nothing was changed.
    RefusePlan {
        job: JobId,
        failure: Failure,
    },
}

impl Command {
    /// The catalog a finished inspection brings, for tests and scripts.
    pub fn inspected(lease: Lease, catalog: Catalog) -> Command {
        Command::RecordTask {
            lease,
            result: TaskResult::Inspected(Box::new(catalog)),
        }
    }
}

/// What an accepted command did, as far as the caller needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    Done,
    Job(JobId),
    Worker(WorkerId),
    Lease(Lease),
}

/// Why a command was refused. The state is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    #[error("stale epoch: {held} is held, {presented} was presented")]
    StaleEpoch { held: Epoch, presented: Epoch },
    #[error("there is no {0}")]
    UnknownJob(JobId),
    #[error("there is no unit {0}")]
    UnknownUnit(String),
    #[error("there is no {0}")]
    UnknownWorker(WorkerId),
    #[error("a job named {0:?} is there already")]
    JobExists(String),
    #[error("not possible now: {0}")]
    WrongState(String),
}
