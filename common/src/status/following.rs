//! What people and scripts see of a job whose source keeps living.

use serde::{Deserialize, Serialize};

use crate::change::{ChangeCounts, FollowMode, FollowProgress};
use crate::directive::Progress;
use crate::epoch::Lease;
use crate::id::{JobId, Millis};
use crate::state::{Job, Phase, Task, TaskStage};
use crate::task::{FollowTo, TaskKind};
use crate::view::{ChangeRates, ClusterView, FollowSeen};

/// Where following stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowStage {
    /// The source isn't asked to keep its log yet, or is being asked.
    Securing,
    /// It keeps its log; rows are copied.
    Secured,
    /// What was written while copying is being replayed.
    Replaying,
    /// Changes are applied as they come.
    Following,
    /// What the log held when the job was completed is being applied.
    Finishing,
    /// The target stands for a position and is not moved any more, or not now.
    Standing,
}

/// Part of a [`crate::status::JobStatus`]. Figures of a running task are of this moment and None
/// where no task runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FollowStatus {
    pub mode: FollowMode,
    pub stage: FollowStage,
    /// P0.
    pub secured_position: Option<String>,
    /// What the target stands for, as last heard.
    pub position: Option<String>,
    /// Age of the oldest change that isn't applied.
    pub lag_ms: Option<u64>,
    /// Of the source's log, before us.
    pub lag_bytes: Option<u64>,
    /// What the source may still write before it removes what is needed; None = no bound, or not
    /// known.
    pub headroom_bytes: Option<u64>,
    pub headroom_ms: Option<u64>,
    /// Since the running task began.
    pub read: ChangeCounts,
    pub applied: ChangeCounts,
    pub read_per_second: ChangeRates,
    pub applied_per_second: ChangeRates,
    /// The target shows whole source transactions.
    pub caught_up: bool,
    pub caught_up_since_ms: Option<Millis>,
    /// `sterna complete` was asked for.
    pub completing: bool,
    pub warning: Option<String>,
}

/// None for a job that doesn't follow.
pub fn follow_status(id: JobId, job: &Job, view: Option<&ClusterView>) -> Option<FollowStatus> {
    let mode = job.plan.as_ref()?.follow;
    if mode == FollowMode::Off {
        return None;
    }
    let running = running(id, job);
    let (progress, seen) = match (running, view) {
        (Some(lease), Some(view)) => (progress_of(view, lease), view.following.get(&lease)),
        _ => (None, None),
    };
    let (read_per_second, applied_per_second) = seen.map(FollowSeen::rates).unwrap_or_default();
    let recorded = job.followed.as_ref().map(|mark| mark.position.text.clone());
    let said = progress.map(|p| p.position.clone());
    Some(FollowStatus {
        mode,
        stage: stage(job),
        secured_position: job.secured.as_ref().map(|p0| p0.position.text.clone()),
        position: said.filter(|said| !said.is_empty()).or(recorded),
        lag_ms: progress.map(|p| p.lag_ms),
        lag_bytes: progress.map(|p| p.log.behind_bytes),
        headroom_bytes: progress.and_then(|p| p.log.headroom_bytes),
        headroom_ms: progress.and_then(|p| p.log.headroom_ms),
        read: progress.map(|p| p.read).unwrap_or_default(),
        applied: progress.map(|p| p.applied).unwrap_or_default(),
        read_per_second,
        applied_per_second,
        caught_up: progress.is_some_and(|p| p.caught_up),
        caught_up_since_ms: seen.and_then(|seen| seen.caught_up_since),
        completing: job.complete,
        warning: progress.and_then(|p| p.warning.clone()),
    })
}

/// The follow task of a job that isn't done.
fn open_task(job: &Job) -> Option<(crate::id::TaskNo, &Task)> {
    job.tasks().find(|(_, task)| {
        let open = !matches!(task.stage, TaskStage::Done | TaskStage::Dropped);
        open && matches!(task.kind, TaskKind::Follow { .. })
    })
}

fn running(id: JobId, job: &Job) -> Option<Lease> {
    let (no, task) = open_task(job)?;
    let held = matches!(task.stage, TaskStage::Leased { .. });
    held.then_some(Lease {
        job: id,
        unit: crate::epoch::Unit::Task(no),
        epoch: task.epoch,
    })
}

/// What its worker says of a follow task.
pub fn progress_of(view: &ClusterView, lease: Lease) -> Option<&FollowProgress> {
    let of_workers = view.workers.values().flat_map(|worker| &worker.progress);
    let said: Option<&Progress> = of_workers
        .filter(|(said, _)| **said == lease)
        .map(|(_, progress)| progress)
        .find(|progress| progress.follow.is_some());
    said?.follow.as_deref()
}

fn stage(job: &Job) -> FollowStage {
    let to = open_task(job).map(|(_, task)| match &task.kind {
        TaskKind::Follow { to, .. } => *to,
        _ => FollowTo::Open,
    });
    match (to, &job.secured) {
        (Some(FollowTo::EndOfCopy), _) => FollowStage::Replaying,
        (Some(FollowTo::Open), _) => FollowStage::Following,
        (Some(FollowTo::Now), _) => FollowStage::Finishing,
        (None, None) => FollowStage::Securing,
        (None, Some(_)) if job.phase <= Phase::Copying => FollowStage::Secured,
        (None, Some(_)) => FollowStage::Standing,
    }
}

/// What holds following up, if anything is known.
pub(super) fn limited_by(job: &Job, follow: Option<&FollowStatus>) -> Option<String> {
    let follow = follow.filter(|_| !job.phase.is_ended())?;
    if let Some((_, task)) = open_task(job)
        && let (TaskStage::Waiting { .. }, Some(failure)) = (&task.stage, &task.last_failure)
    {
        return Some(format!("following failed and is tried again: {failure}"));
    }
    follow.warning.clone()
}
