//! The replicated state and the only way to change it.
//!
//! `apply` is pure and total: the same state and entry give the same result on every coordinator,
//! a refused command changes nothing, no command panics. Time comes from the log entry. `apply`
//! has no effects to lose: what is to be done is derived from the state (`schedule`, `decide`,
//! `directives`).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{JobId, Millis, PartitionNo, TaskNo, WorkerId};
use crate::limits::{ENDED_JOBS_MAX, EVENTS_MAX};

mod check;
mod command;
mod event;
mod extent;
mod following;
mod job;
mod lifecycle;
mod partition;
mod proving;
mod tasks;
mod worker;

pub use check::Violation;
pub use command::{Applied, Command, Decision, Entry, Intent, Rejected, WorkerHello};
pub use event::{Event, EventKind};
pub use job::{Decided, Ending, Job, Partition, Phase, SourceProof, Stage, TableTotals};
pub use tasks::{Task, TaskStage};
pub use worker::Worker;

/// Everything the cluster agrees on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    jobs: BTreeMap<JobId, Job>,
    workers: BTreeMap<WorkerId, Worker>,
    next_job: u64,
    next_worker: u32,
    /// Time of the last entry; never goes back, whatever the leader's clock does.
    now: Millis,
    events: VecDeque<Event>,
    next_event: u64,
}

impl State {
    /// Applies one entry; one answer per command, in order.
    pub fn apply_entry(&mut self, entry: Entry) -> Vec<Result<Applied, Rejected>> {
        self.now = self.now.max(entry.at);
        entry
            .commands
            .into_iter()
            .map(|command| self.apply(command))
            .collect()
    }

    /// Applies one command at the time of the current entry.
    fn apply(&mut self, command: Command) -> Result<Applied, Rejected> {
        match command {
            Command::SubmitJob { uid, spec } => self.submit_job(uid, *spec),
            Command::SetIntent { job, intent } => self.set_intent(job, intent),
            Command::Complete { job } => self.complete(job),
            Command::RegisterWorker(hello) => self.register_worker(hello),
            Command::LoseWorker { worker, reason } => self.lose_worker(worker, reason),
            Command::DrainWorker { worker, drain } => self.drain_worker(worker, drain),
            Command::AssignPartition {
                job,
                partition,
                worker,
            } => self.assign_partition(job, partition, worker),
            Command::AssignTask { job, task, worker } => self.assign_task(job, task, worker),
            Command::RecordPrepared { lease, loaded } => self.record_prepared(lease, loaded),
            Command::Decide {
                job,
                partition,
                epoch,
                decision,
            } => self.decide(job, partition, epoch, decision),
            Command::RecordCommitted { lease, committed } => {
                self.record_committed(lease, committed)
            }
            Command::RecordFailed {
                lease,
                class,
                failure,
            } => self.record_failed(lease, class, failure),
            Command::Release { lease } => self.release(lease),
            Command::RecordTask { lease, result } => self.record_task(lease, result),
            Command::AdoptPlan { job, plan } => self.adopt_plan(job, plan),
            Command::RefusePlan { job, failure } => self.refuse_plan(job, failure),
        }
    }

    /// Call after deserializing: indexes aren't part of a snapshot.
    pub fn reindex(&mut self) {
        self.jobs.values_mut().for_each(Job::reindex);
    }

    pub fn now(&self) -> Millis {
        self.now
    }

    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// Jobs that are not ended.
    pub fn active_jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs().filter(|(_, job)| !job.phase.is_ended())
    }

    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// The newest job of that name.
    pub fn job_named(&self, name: &str) -> Option<(JobId, &Job)> {
        self.jobs
            .iter()
            .rev()
            .find(|(_, job)| job.spec.name == name)
            .map(|(id, job)| (*id, job))
    }

    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    pub fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// The registered life of a worker process.
    pub fn worker_of(&self, hello: &WorkerHello) -> Option<WorkerId> {
        let same = |worker: &Worker| {
            worker.hello.name == hello.name && worker.hello.incarnation == hello.incarnation
        };
        self.workers
            .iter()
            .find(|(_, worker)| same(worker))
            .map(|(id, _)| *id)
    }

    /// Slots of all workers that take new work.
    pub fn slots(&self) -> u32 {
        self.workers
            .values()
            .filter(|w| !w.draining)
            .map(|w| w.hello.slots)
            .sum()
    }

    /// Events after `seq`, oldest first.
    pub fn events_after(&self, seq: u64) -> impl Iterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.seq <= seq);
        self.events.range(first..)
    }

    pub(crate) fn job_mut(&mut self, id: JobId) -> Result<&mut Job, Rejected> {
        self.jobs.get_mut(&id).ok_or(Rejected::UnknownJob(id))
    }

    pub(crate) fn log(&mut self, job: Option<JobId>, kind: EventKind) {
        self.next_event += 1;
        self.events.push_back(Event {
            seq: self.next_event,
            at: self.now,
            job,
            kind,
        });
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// Forgets the oldest ended jobs. Nothing of theirs is left in a target: Completed and
    /// Cancelled jobs have none, Failed ones are kept for as long as the user may resume them.
    pub(crate) fn forget_old_jobs(&mut self) {
        let gone = |job: &Job| matches!(job.phase, Phase::Completed | Phase::Cancelled);
        let ended: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| gone(job))
            .map(|(id, _)| *id)
            .collect();
        for id in ended
            .iter()
            .take(ended.len().saturating_sub(ENDED_JOBS_MAX))
        {
            self.jobs.remove(id);
        }
    }
}

/// A unit's name in events.
pub(crate) fn unit_name(partition: Option<PartitionNo>, task: Option<TaskNo>) -> String {
    match (partition, task) {
        (Some(no), _) => no.to_string(),
        (_, Some(no)) => no.to_string(),
        _ => String::new(),
    }
}
