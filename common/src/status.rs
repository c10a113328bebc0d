//! What `status`, `jobs`, `node list` and the API answer: stable JSON, made from state and view.

use serde::{Deserialize, Serialize};

use crate::code::Failure;
use crate::epoch::Unit;
use crate::id::{JobId, Millis, WorkerId};
use crate::state::{Intent, Job, Phase, SourceProof, State};
use crate::view::ClusterView;

/// Version of every JSON answer; fields are added, never changed or removed, within one version.
pub const API_VERSION: &str = "v1";

/// One job as people and scripts see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    pub api_version: String,
    pub job: String,
    pub id: JobId,
    pub uid: String,
    pub phase: Phase,
    pub intent: Intent,
    pub source: String,
    pub target: String,
    pub submitted_at_ms: Millis,
    pub phase_since_ms: Millis,
    pub ended_at_ms: Option<Millis>,
    /// Time of this answer, by the answering coordinator's state.
    pub now_ms: Millis,
    pub tables: Vec<TableStatus>,
    pub partitions: PartitionCounts,
    pub tasks: TaskCounts,
    pub rows_copied: u64,
    pub bytes_copied: u64,
    /// Rows of partitions in flight, not committed yet.
    pub rows_in_flight: u64,
    pub rows_estimated: u64,
    pub bytes_estimated: u64,
    /// Every row of the target was read back and was equal.
    pub verified: bool,
    pub source_proof: SourceProof,
    /// What holds the job up most, in one sentence; None = nothing to say.
    pub limited_by: Option<String>,
    pub notes: Vec<String>,
    pub failure: Option<Failure>,
    /// The exit status `clone` and `wait` end with.
    pub exit_code: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    pub name: String,
    pub rows_estimated: u64,
    pub bytes_estimated: u64,
    pub rows_copied: u64,
    pub bytes_copied: u64,
    /// Of partitions in flight.
    pub rows_in_flight: u64,
    pub partitions: u32,
    pub partitions_committed: u32,
    pub indexed: bool,
    pub verified: bool,
    /// `count:sum` of what was copied.
    pub digest: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCounts {
    pub total: u32,
    pub in_flight: u32,
    pub committed: u32,
    /// Handed out again after a loss or failure, and copied again.
    pub redone: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    pub total: u32,
    pub done: u32,
}

/// One worker in `node list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub id: WorkerId,
    pub name: String,
    pub version: String,
    /// `live`, `suspect`, `lost`, `unknown` (no leader's view).
    pub health: String,
    pub draining: bool,
    pub slots: u32,
    pub slots_busy: u32,
    pub memory_bytes: u64,
    pub joined_at_ms: Millis,
}

/// The status of one job; `view` adds what only the leader sees.
pub fn job_status(state: &State, id: JobId, job: &Job, view: Option<&ClusterView>) -> JobStatus {
    let mut tables = tables_of(job);
    let mut busy = crate::directive::Busy::default();
    for progress in view
        .into_iter()
        .flat_map(|v| v.workers.values())
        .flat_map(|w| &w.progress)
    {
        let (lease, progress) = progress;
        if lease.job != id {
            continue;
        }
        busy.source_ms += progress.busy.source_ms;
        busy.target_ms += progress.busy.target_ms;
        busy.decision_ms += progress.busy.decision_ms;
        if let Unit::Partition(no) = lease.unit
            && job
                .partition(no)
                .is_some_and(|p| p.epoch == lease.epoch && p.stage.worker().is_some())
            && let Some(table) = job.table_of(no)
        {
            tables[table.0 as usize].rows_in_flight += progress.rows;
        }
    }
    let tasks = TaskCounts {
        total: job.tasks().count() as u32,
        done: job
            .tasks()
            .filter(|(_, t)| t.stage == crate::state::TaskStage::Done)
            .count() as u32,
    };
    let sum = |field: fn(&TableStatus) -> u64| tables.iter().map(field).sum();
    JobStatus {
        api_version: API_VERSION.to_owned(),
        job: job.spec.name.clone(),
        id,
        uid: job.uid.to_string(),
        phase: job.phase,
        intent: job.intent,
        source: job.spec.source.url.clone(),
        target: job.spec.target.url.clone(),
        submitted_at_ms: job.submitted_at,
        phase_since_ms: job.phase_since,
        ended_at_ms: job.ended_at,
        now_ms: state.now(),
        partitions: PartitionCounts {
            total: job.partitions().len() as u32,
            in_flight: job.in_flight(),
            committed: job.committed(),
            redone: job.redone,
        },
        tasks,
        rows_copied: sum(|t| t.rows_copied),
        bytes_copied: sum(|t| t.bytes_copied),
        rows_in_flight: sum(|t| t.rows_in_flight),
        rows_estimated: sum(|t| t.rows_estimated),
        bytes_estimated: sum(|t| t.bytes_estimated),
        verified: job.phase == Phase::Completed && tables.iter().all(|t| t.verified),
        source_proof: job.source_proof,
        limited_by: limited_by(job, &busy, state),
        notes: job
            .plan
            .as_ref()
            .map(|plan| plan.notes.clone())
            .unwrap_or_default(),
        exit_code: exit_code(job),
        failure: job.failure.clone(),
        tables,
    }
}

fn tables_of(job: &Job) -> Vec<TableStatus> {
    let Some(plan) = &job.plan else {
        return Vec::new();
    };
    let pairs = plan.tables.iter().zip(&job.totals);
    let status = pairs.map(|(table, totals)| TableStatus {
        name: table.source.name.clone(),
        rows_estimated: table.source.rows_estimate,
        bytes_estimated: table.source.bytes_estimate,
        rows_copied: totals.digest.rows,
        bytes_copied: totals.bytes,
        rows_in_flight: 0,
        partitions: totals.partitions,
        partitions_committed: totals.committed,
        indexed: totals.indexed,
        verified: totals.verified,
        digest: totals.digest.to_string(),
    });
    status.collect()
}

fn limited_by(job: &Job, busy: &crate::directive::Busy, state: &State) -> Option<String> {
    if job.phase.is_ended() {
        return None;
    }
    if state.slots() == 0 {
        return Some("no worker: start one with `sterna worker`".to_owned());
    }
    if job.intent == Intent::Pause {
        return Some("paused".to_owned());
    }
    let total = busy.source_ms + busy.target_ms + busy.decision_ms;
    if job.phase != Phase::Copying || total == 0 {
        return None;
    }
    let share = |ms: u64| ms * 100 / total;
    let all = [
        (busy.source_ms, "source read"),
        (busy.target_ms, "target write"),
        (busy.decision_ms, "commit decisions"),
    ];
    let (ms, name) = all.into_iter().max_by_key(|(ms, _)| *ms)?;
    Some(format!("{name} ({} % of the workers' time)", share(ms)))
}

/// What `clone` and `wait` exit with for a job in this state.
pub fn exit_code(job: &Job) -> u8 {
    match (job.phase, &job.failure) {
        (Phase::Failed, Some(failure)) => failure.code.exit(),
        (Phase::Failed, None) => 1,
        (Phase::Cancelled, _) => 7,
        _ => 0,
    }
}
