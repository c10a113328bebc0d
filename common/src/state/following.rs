//! A job whose source keeps living: P0 is secured beside the creation of the tables, what was
//! written meanwhile is replayed after copying, and a job that stays goes on until it is completed.
//! Where the target is stands in the target; the state only shows it.

use crate::change::{FollowMode, Mark, Secured};
use crate::code::{Code, Failure};
use crate::epoch::{Lease, Unit};
use crate::id::{JobId, Millis, TableNo, TaskNo, WorkerId};
use crate::limits::FOLLOW_STEADY_MS;
use crate::state::{Applied, EventKind, Intent, Job, Phase, Rejected, State, Task, TaskStage};
use crate::task::{Compared, FollowTo, TaskKind};

impl State {
    /// Ends the following of a job; remembered where it isn't there yet.
    pub(super) fn complete(&mut self, id: JobId) -> Result<Applied, Rejected> {
        let job = self.job_mut(id)?;
        let refused = |what: String| Err(Rejected::WrongState(what));
        if job.phase.is_ended() {
            return refused(format!("the job is {}", job.phase));
        }
        if job.intent == Intent::Cancel || job.ending.is_some() {
            return refused("the job is ending".to_owned());
        }
        let follow = job
            .plan
            .as_ref()
            .map_or(job.spec.follow, |plan| plan.follow);
        if follow != FollowMode::Live {
            return refused("the job doesn't follow its source: it ends by itself".to_owned());
        }
        if job.complete {
            return Ok(Applied::Done);
        }
        job.complete = true;
        let endless: Vec<TaskNo> = { job.tasks() }
            .filter(|(_, task)| task.kind.is_endless())
            .map(|(no, _)| no)
            .collect();
        for no in endless {
            job.restage_task(no, TaskStage::Dropped);
        }
        self.log(Some(id), EventKind::CompletionAsked);
        if self.jobs[&id].phase == Phase::Following {
            self.advance(id);
        }
        Ok(Applied::Done)
    }

    /// A paused job follows no more: its task waits, its position is in the target.
    /// With `of`, only from that worker: it would never be done with one that has no end.
    pub(super) fn take_back_follow(&mut self, id: JobId, of: Option<WorkerId>) {
        let now = self.now;
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        let mut released = Vec::new();
        for no in job.index.tasks.iter().collect::<Vec<_>>() {
            let task = &job.tasks[no.0 as usize];
            let held = match task.stage {
                TaskStage::Leased { worker } => of.is_none_or(|of| of == worker),
                _ => false,
            };
            if held && matches!(task.kind, TaskKind::Follow { .. }) {
                released.push((no.to_string(), task.epoch));
                job.restage_task(no, TaskStage::Waiting { not_before: now });
            }
        }
        for (unit, epoch) in released {
            self.log(Some(id), EventKind::Released { unit, epoch });
        }
    }

    /// Tells people where a task of following got to.
    pub(super) fn log_position(&mut self, id: JobId, kind: &TaskKind) {
        let job = &self.jobs[&id];
        let event = match (kind, &job.secured, &job.followed) {
            (TaskKind::Secure, Some(secured), _) => EventKind::Secured {
                position: secured.position.text.clone(),
            },
            (TaskKind::Follow { .. }, _, Some(mark)) => EventKind::Followed {
                position: mark.position.text.clone(),
                transactions: mark.counts.transactions,
                rows: mark.counts.rows(),
            },
            _ => return,
        };
        self.log(Some(id), event);
    }

    /// What a job is stopped by: of a release it says what stays behind.
    pub(super) fn named(&self, lease: Lease, mut failure: Failure) -> Failure {
        let Unit::Task(no) = lease.unit else {
            return failure;
        };
        let Some(job) = self.jobs.get(&lease.job) else {
            return failure;
        };
        if job
            .task(no)
            .is_some_and(|task| task.kind == TaskKind::Release)
        {
            failure.what = format!(
                "what following made at the source for job {} (uid {}) is still there: {}",
                job.spec.name, job.uid, failure.what
            );
            failure = failure.fix(format!(
                "sterna cancel -j {}: tries again, once the source can be reached",
                job.spec.name
            ));
        }
        failure
    }
}

impl Task {
    /// A task that goes on for days may fail now and then; it isn't failing for that.
    pub(super) fn has_run_steadily(&self, now: Millis) -> bool {
        let ran_ms = now.since(self.assigned_at);
        matches!(self.kind, TaskKind::Follow { .. }) && ran_ms >= FOLLOW_STEADY_MS
    }
}

impl Job {
    /// Changes made at the source while the job runs are applied at the target.
    pub fn is_followed(&self) -> bool {
        let off = FollowMode::Off;
        self.plan.as_ref().is_some_and(|plan| plan.follow != off)
    }

    /// It goes on following when all is copied, until it is completed. With nothing to copy it does
    /// so in any case: there is no other replay.
    pub(super) fn is_to_stay(&self) -> bool {
        let live = FollowMode::Live;
        let live = self.plan.as_ref().is_some_and(|plan| plan.follow == live);
        live && (!self.complete || self.spec.from.is_some())
    }

    /// The source was asked to keep something for us, whatever came of it.
    pub(super) fn has_secured(&self) -> bool {
        self.tasks.iter().any(|task| task.kind == TaskKind::Secure)
    }

    /// A source that keeps its log for us already isn't asked again.
    pub(super) fn add_secure(&mut self) {
        if self.is_followed() && self.secured.is_none() {
            self.add_task(TaskKind::Secure);
        }
    }

    /// Rows that were brought by others have their keys.
    pub(super) fn add_indexes(&mut self) {
        if self.spec.from.is_none() {
            self.add_for_tables(|table| TaskKind::Index { table });
        }
    }

    /// What was written while copying. False if it was replayed, or nothing was copied.
    pub(super) fn add_replay(&mut self) -> bool {
        if self.spec.from.is_some() || self.has_follow(FollowTo::EndOfCopy) {
            return false;
        }
        self.add_follow(FollowTo::EndOfCopy)
    }

    /// The next task of a job that follows: on and on, then up to now, then what had to wait for
    /// that. False if all of it is done.
    pub(super) fn add_following(&mut self) -> bool {
        if !self.complete {
            return self.add_follow(FollowTo::Open);
        }
        if !self.has_follow(FollowTo::Now) {
            return self.add_follow(FollowTo::Now);
        }
        if self.spec.from.is_some() {
            return false;
        }
        let last = self.live_tasks().last();
        match last.map(|task| &task.kind) {
            // The next numbers of keys that are counted up have moved since they were first set.
            Some(TaskKind::Follow { .. }) => {
                self.add_indexes();
                true
            }
            _ => self.add_objects(),
        }
    }

    fn has_follow(&self, to: FollowTo) -> bool {
        self.live_tasks()
            .any(|task| matches!(&task.kind, TaskKind::Follow { to: found, .. } if *found == to))
    }

    fn add_follow(&mut self, to: FollowTo) -> bool {
        let from = self.secured.clone().expect("P0 is secured before copying");
        self.add_task(TaskKind::Follow { from, to });
        true
    }

    /// Reads back every table: one that wasn't written to since its copy has the copied digest;
    /// the others are compared with the source as it is now.
    pub(super) fn add_proofs(&mut self) {
        if !self.is_verifiable() {
            return;
        }
        for totals in &mut self.totals {
            totals.written_since = false;
        }
        let (Some(mark), Some(secured)) = (&self.followed, &self.secured) else {
            return self.add_verify(false);
        };
        let at = Secured {
            position: mark.position.clone(),
            identity: secured.identity.clone(),
        };
        let touched = mark.touched.clone();
        for table in (0..self.totals.len() as u32).map(TableNo) {
            let copied = self.spec.from.is_none() && !touched.contains(&table);
            match copied {
                true => self.add_verify_of(table, false),
                false => self.add_task(TaskKind::Compare {
                    table,
                    at: at.clone(),
                }),
            }
        }
    }

    /// position_monotonic: a target that says it is behind where it was has lost something.
    pub(super) fn take_mark(&mut self, mark: Mark) -> Result<(), Failure> {
        if let Some(before) = &self.followed
            && mark.position.order < before.position.order
        {
            let what = format!(
                "the target stood for {} and now says {}",
                before.position, mark.position
            );
            return Err(Failure::new(Code::Internal, what));
        }
        self.followed = Some(mark);
        Ok(())
    }

    /// Equal is proven. A difference is one only if the source stood still beyond the position.
    pub(super) fn take_compared(
        &mut self,
        table: TableNo,
        compared: Compared,
    ) -> Result<(), Failure> {
        let totals = &mut self.totals[table.0 as usize];
        if compared.at_source == compared.at_target {
            totals.verified = true;
            return Ok(());
        }
        if compared.written_since {
            totals.written_since = true;
            return Ok(());
        }
        let plan = self.plan.as_ref().expect("verifying follows planning");
        let what = format!(
            "table {}: {} rows are at the source, {} at the target, after its changes were \
             applied (digests {} and {})",
            plan.table(table).source.full_name(),
            compared.at_source.rows,
            compared.at_target.rows,
            compared.at_source,
            compared.at_target,
        );
        Err(Failure::new(Code::Differences, what))
    }
}
