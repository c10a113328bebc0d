//! What `status`, `jobs`, `node list` and the API answer: stable JSON, made from state and view.

use serde::{Deserialize, Serialize};

mod following;
mod proving;

pub use self::following::{FollowStage, FollowStatus, follow_status};
use crate::code::Failure;
use crate::cut::{AcceptedLoss, Cut, accepted};
use crate::detect::Health;
use crate::epoch::{Epoch, TxnId, Unit};
use crate::id::{JobId, Millis, PartitionNo, WorkerId};
use crate::state::{Event, Intent, Job, Phase, SourceProof, Stage, State};
use crate::verify::{Counts, Difference, SchemaDifference, TableRange, TableVerdict};
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
    /// Of a job whose source's changes are applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Box<FollowStatus>>,
    /// Of a job that compares or repairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Box<VerifyStatus>>,
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
    /// What it is called in the target.
    #[serde(default)]
    pub target: String,
    /// How it was cut into partitions; None = an older coordinator answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Losses the user accepted for its columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<AcceptedLoss>,
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
    /// Not verified, because the source was written to beyond what the target stands for.
    #[serde(default)]
    pub written_since: bool,
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

/// Answer of `node list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkersStatus {
    pub api_version: String,
    pub workers: Vec<WorkerStatus>,
}

/// What a job that compares or repairs has found so far; whole once the job is Completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// By table, as [`JobStatus::tables`].
    pub tables: Vec<TableVerdict>,
    pub schema: Vec<SchemaDifference>,
    /// Ranges with differences, with what is needed to repair them.
    pub differing: Vec<DifferingStatus>,
    /// Rows that differ and aren't told in `differing`: the lists are bounded, the counts aren't.
    pub untold: u64,
    /// The job left ranges out (`--sample`).
    pub sampled: bool,
    pub dry_run: bool,
}

/// One range that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferingStatus {
    #[serde(flatten)]
    pub range: TableRange,
    pub counts: Counts,
    pub listed: Vec<Difference>,
}

/// Answer of `jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobsStatus {
    pub api_version: String,
    pub jobs: Vec<JobLine>,
}

/// One job in `jobs`, newest last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobLine {
    pub job: String,
    pub id: JobId,
    pub phase: Phase,
    pub intent: Intent,
    pub source: String,
    pub target: String,
    pub submitted_at_ms: Millis,
    pub ended_at_ms: Option<Millis>,
    pub partitions: PartitionCounts,
    pub rows_copied: u64,
    pub rows_estimated: u64,
    pub exit_code: u8,
}

/// Answer of `operator raft list-peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersStatus {
    pub api_version: String,
    pub peers: Vec<PeerLine>,
}

/// One coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerLine {
    pub name: String,
    pub address: String,
    /// `leader`, `follower`, `learner`, `unreachable`.
    pub state: String,
    pub voter: bool,
    pub term: u64,
    pub last_log: Option<u64>,
    pub applied: Option<u64>,
    pub last_contact_ms: Option<u64>,
    pub version: String,
}

/// Answer of `operator txn list`: transactions that are, or may be, prepared in a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionsStatus {
    pub api_version: String,
    pub transactions: Vec<TransactionLine>,
}

/// One transaction T.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionLine {
    pub job: String,
    /// T's name in the target.
    pub t: String,
    pub partition: PartitionNo,
    pub epoch: Epoch,
    /// `prepared` (no decision yet), `committing` (the decision is Commit, its owner finishes it),
    /// `recovering` (the decision is Commit, a later owner looks for it).
    pub state: String,
    pub worker: Option<WorkerId>,
    pub rows: u64,
}

/// Every job the cluster remembers.
pub fn jobs_status(state: &State) -> JobsStatus {
    let line = |(id, job): (JobId, &Job)| JobLine {
        job: job.spec.name.clone(),
        id,
        phase: job.phase,
        intent: job.intent,
        source: job.spec.source.url.clone(),
        target: job.spec.target.url.clone(),
        submitted_at_ms: job.submitted_at,
        ended_at_ms: job.ended_at,
        partitions: partition_counts(job),
        rows_copied: job.totals.iter().map(|totals| totals.digest.rows).sum(),
        rows_estimated: job.plan.as_ref().map_or(0, |plan| {
            plan.tables.iter().map(|t| t.source.rows_estimate).sum()
        }),
        exit_code: exit_code(job),
    };
    JobsStatus {
        api_version: API_VERSION.to_owned(),
        jobs: state.jobs().map(line).collect(),
    }
}

/// Every registered worker; `view` is what the leader sees of them.
pub fn workers_status(state: &State, view: Option<&ClusterView>) -> WorkersStatus {
    let line = |(id, worker): (WorkerId, &crate::state::Worker)| {
        let seen = view.and_then(|view| view.workers.get(&id));
        let health = match seen.map(|seen| seen.health) {
            Some(Health::Live) => "live",
            Some(Health::Suspect) => "suspect",
            Some(Health::Lost) => "lost",
            None => "unknown",
        };
        let held =
            |job: &Job| job.partitions_of_worker(id).count() + job.tasks_of_worker(id).count();
        WorkerStatus {
            id,
            name: worker.hello.name.clone(),
            version: worker.hello.version.clone(),
            health: health.to_owned(),
            draining: worker.draining,
            slots: worker.hello.slots,
            slots_busy: state.active_jobs().map(|(_, job)| held(job)).sum::<usize>() as u32,
            memory_bytes: seen.map_or(0, |seen| seen.memory_bytes),
            joined_at_ms: worker.joined_at,
        }
    };
    WorkersStatus {
        api_version: API_VERSION.to_owned(),
        workers: state.workers().map(line).collect(),
    }
}

/// Every transaction whose end isn't recorded. Walks all partitions: asked for by people only.
pub fn transactions_status(state: &State) -> TransactionsStatus {
    let mut transactions = Vec::new();
    for (_, job) in state.active_jobs() {
        for (no, partition) in (0u32..).map(PartitionNo).zip(job.partitions()) {
            let (epoch, state, loaded) = match &partition.stage {
                Stage::Prepared { loaded, .. } => (partition.epoch, "prepared", loaded),
                Stage::Committing { decided, .. } => (decided.txn, "committing", &decided.loaded),
                Stage::Leased {
                    decided: Some(decided),
                    ..
                } => (decided.txn, "recovering", &decided.loaded),
                _ => continue,
            };
            let t = TxnId {
                job: job.uid.clone(),
                partition: no,
                epoch,
            };
            transactions.push(TransactionLine {
                job: job.spec.name.clone(),
                t: t.to_string(),
                partition: no,
                epoch,
                state: state.to_owned(),
                worker: partition.stage.worker(),
                rows: loaded.digest.rows,
            });
        }
    }
    TransactionsStatus {
        api_version: API_VERSION.to_owned(),
        transactions,
    }
}

/// One event as a flat JSON object: `{"seq", "at_ms", "job", "event": "prepared", ...}` with the
/// fields of its kind beside these.
pub fn event_line(state: &State, event: &Event) -> serde_json::Value {
    use serde_json::Value;
    let job = event.job.map(|id| match state.job(id) {
        Some(job) => job.spec.name.clone(),
        None => id.to_string(),
    });
    let kind = serde_json::to_value(&event.kind).unwrap_or(Value::Null);
    let (name, mut line) = match kind {
        Value::Object(kind) => match kind.into_iter().next() {
            Some((name, Value::Object(fields))) => (name, fields),
            Some((name, _)) => (name, serde_json::Map::new()),
            None => Default::default(),
        },
        Value::String(name) => (name, serde_json::Map::new()),
        _ => Default::default(),
    };
    if let crate::state::EventKind::Prepared { digest, .. } = &event.kind {
        line.insert("digest".to_owned(), digest.to_string().into());
    }
    line.insert("event".to_owned(), name.into());
    line.insert("seq".to_owned(), event.seq.into());
    line.insert("at_ms".to_owned(), event.at.0.into());
    line.insert("job".to_owned(), job.into());
    Value::Object(line)
}

fn partition_counts(job: &Job) -> PartitionCounts {
    PartitionCounts {
        total: job.partitions().len() as u32,
        in_flight: job.in_flight(),
        committed: job.committed(),
        redone: job.redone,
    }
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
    let follow = follow_status(id, job, view).map(Box::new);
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
        // The log's time stands still while nothing is decided.
        now_ms: view.map_or(state.now(), |view| view.now.max(state.now())),
        partitions: partition_counts(job),
        tasks,
        rows_copied: sum(|t| t.rows_copied),
        bytes_copied: sum(|t| t.bytes_copied),
        rows_in_flight: sum(|t| t.rows_in_flight),
        rows_estimated: sum(|t| t.rows_estimated),
        bytes_estimated: sum(|t| t.bytes_estimated),
        verified: job.phase == Phase::Completed && tables.iter().all(|t| t.verified),
        source_proof: job.source_proof,
        limited_by: following::limited_by(job, follow.as_deref())
            .or_else(|| limited_by(job, follow.as_deref(), &busy, state)),
        notes: notes(job, &tables),
        follow,
        verify: proving::verify_status(job).map(Box::new),
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
        name: table.source.full_name(),
        target: table.target.full_name(),
        cut: Some(Cut::of(table, &job.spec)),
        accepted: accepted(&table.columns),
        rows_estimated: table.source.rows_estimate,
        bytes_estimated: table.source.bytes_estimate,
        rows_copied: totals.digest.rows,
        bytes_copied: totals.bytes,
        rows_in_flight: 0,
        partitions: totals.partitions,
        partitions_committed: totals.committed,
        indexed: totals.indexed,
        verified: totals.verified,
        written_since: totals.written_since,
        digest: totals.digest.to_string(),
    });
    status.collect()
}

/// What the plan says, and what came of it since.
fn notes(job: &Job, tables: &[TableStatus]) -> Vec<String> {
    let planned = job.plan.as_ref().map(|plan| plan.notes.clone());
    let mut notes = planned.unwrap_or_default();
    let written = tables.iter().filter(|table| table.written_since);
    notes.extend(written.map(|table| {
        format!(
            "{}: not verified: it was written to at the source after the position the target \
             stands for",
            table.name
        )
    }));
    notes
}

fn limited_by(
    job: &Job,
    follow: Option<&FollowStatus>,
    busy: &crate::directive::Busy,
    state: &State,
) -> Option<String> {
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
    // Whoever is in sync waits for the source to have something to say.
    let idle = follow.is_some_and(|follow| follow.caught_up);
    if !matches!(job.phase, Phase::Copying | Phase::Following) || total == 0 || idle {
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
        (Phase::Completed, _) => proving::exit_code(job),
        _ => 0,
    }
}
