//! What happened, for people: written by `apply`, so every coordinator has the same list.

use serde::{Deserialize, Serialize};

use crate::code::Failure;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{JobId, Millis, PartitionNo, TaskNo, WorkerId};
use crate::state::{Decision, Intent, Phase};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one; gaps mean that older ones were dropped.
    pub seq: u64,
    pub at: Millis,
    pub job: Option<JobId>,
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    JobSubmitted {
        name: String,
    },
    PhaseChanged {
        from: Phase,
        to: Phase,
    },
    IntentChanged {
        intent: Intent,
    },
    /// The user wants a job that follows its source to end.
    CompletionAsked,
    /// The source keeps its log from here on.
    Secured {
        position: String,
    },
    /// The target has everything up to here.
    Followed {
        position: String,
        transactions: u64,
        rows: u64,
    },
    JobFailed {
        failure: Failure,
    },
    WorkerJoined {
        worker: WorkerId,
        name: String,
        slots: u32,
    },
    WorkerLost {
        worker: WorkerId,
        name: String,
        reason: String,
        leases: u32,
    },
    WorkerDraining {
        worker: WorkerId,
        drain: bool,
    },
    TaskAssigned {
        task: TaskNo,
        kind: String,
        epoch: Epoch,
        worker: WorkerId,
    },
    TaskDone {
        task: TaskNo,
        kind: String,
        epoch: Epoch,
    },
    /// T is named: nothing was written yet.
    Assigned {
        partition: PartitionNo,
        epoch: Epoch,
        worker: WorkerId,
    },
    Prepared {
        partition: PartitionNo,
        epoch: Epoch,
        rows: u64,
        digest: Digest,
    },
    Decided {
        partition: PartitionNo,
        epoch: Epoch,
        decision: Decision,
    },
    Committed {
        partition: PartitionNo,
        epoch: Epoch,
        by: Epoch,
    },
    Released {
        unit: String,
        epoch: Epoch,
    },
    Retry {
        unit: String,
        epoch: Epoch,
        attempt: u16,
        failure: Failure,
    },
}
