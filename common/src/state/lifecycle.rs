//! A job's way through its phases. Each phase has tasks (or partitions); when the last is done,
//! `advance` takes the next step. Steps are taken here and nowhere else.

use std::sync::Arc;

use crate::code::{Code, Failure};
use crate::digest::Digest;
use crate::epoch::{Epoch, Lease, Unit};
use crate::id::{JobId, JobUid, TableNo, TaskNo, WorkerId};
use crate::job::JobSpec;
use crate::plan::Plan;
use crate::state::partition::check_runs;
use crate::state::{
    Applied, Ending, EventKind, Intent, Job, Partition, Phase, Rejected, SourceProof, Stage, State,
    TableTotals, TaskStage,
};
use crate::task::{ResolveUnit, Settled, TaskKind, TaskResult};

impl State {
    pub(super) fn submit_job(&mut self, uid: JobUid, spec: JobSpec) -> Result<Applied, Rejected> {
        // The same request again, its answer was lost: the same job.
        if let Some((id, _)) = self.jobs().find(|(_, job)| job.uid == uid) {
            return Ok(Applied::Job(id));
        }
        if let Some((_, job)) = self.job_named(&spec.name)
            && !matches!(job.phase, Phase::Completed | Phase::Cancelled)
        {
            return Err(Rejected::JobExists(spec.name));
        }
        self.next_job += 1;
        let id = JobId(self.next_job);
        let name = spec.name.clone();
        let mut job = Job::new(uid, spec, self.now);
        job.add_task(TaskKind::Inspect { slots: 0 });
        self.jobs.insert(id, job);
        self.log(Some(id), EventKind::JobSubmitted { name });
        Ok(Applied::Job(id))
    }

    pub(super) fn set_intent(&mut self, id: JobId, intent: Intent) -> Result<Applied, Rejected> {
        let job = self.job_mut(id)?;
        match (intent, job.phase) {
            (_, Phase::Completed | Phase::Cancelled) => {
                return Err(Rejected::WrongState(format!("the job is {}", job.phase)));
            }
            (Intent::Pause, Phase::Failed) => {
                return Err(Rejected::WrongState("the job is Failed".to_owned()));
            }
            (Intent::Run | Intent::Pause, _) if job.intent == Intent::Cancel => {
                return Err(Rejected::WrongState(
                    "the job is being cancelled".to_owned(),
                ));
            }
            (Intent::Run, _) if job.ending.is_some() => {
                return Err(Rejected::WrongState("the job is still stopping".to_owned()));
            }
            _ => {}
        }
        let failed = job.phase == Phase::Failed;
        if job.intent != intent {
            job.intent = intent;
            self.log(Some(id), EventKind::IntentChanged { intent });
        }
        match intent {
            Intent::Run if failed => self.resume(id),
            Intent::Cancel => self.end(id, Ending::Cancelled),
            Intent::Pause => self.take_back_follow(id, None),
            Intent::Run => {}
        }
        Ok(Applied::Done)
    }

    pub(super) fn assign_task(
        &mut self,
        id: JobId,
        no: TaskNo,
        worker: WorkerId,
    ) -> Result<Applied, Rejected> {
        self.check_takes_work(worker)?;
        let now = self.now;
        let job = self.job_mut(id)?;
        let task = job
            .task(no)
            .ok_or_else(|| Rejected::UnknownUnit(no.to_string()))?;
        // The end of a job is work too, whatever the user's intent.
        let ends = matches!(task.kind, TaskKind::Resolve { .. } | TaskKind::Release);
        if job.ending.is_none() || !ends {
            check_runs(job, job.phase)?;
        }
        let task = &mut job.tasks[no.0 as usize];
        if !matches!(task.stage, TaskStage::Waiting { .. }) {
            return Err(Rejected::WrongState(format!("{no} is {:?}", task.stage)));
        }
        task.epoch = task.epoch.next();
        task.assigned_at = now;
        let (epoch, kind) = (task.epoch, task.kind.name().to_owned());
        job.restage_task(no, TaskStage::Leased { worker });
        self.log(
            Some(id),
            EventKind::TaskAssigned {
                task: no,
                kind,
                epoch,
                worker,
            },
        );
        Ok(Applied::Lease(Lease {
            job: id,
            unit: Unit::Task(no),
            epoch,
        }))
    }

    /// The job of a task's lease, if the lease is the current one.
    pub(super) fn held_task(&mut self, lease: Lease) -> Result<&mut Job, Rejected> {
        let Unit::Task(no) = lease.unit else {
            return Err(Rejected::UnknownUnit(lease.unit.to_string()));
        };
        let job = self.job_mut(lease.job)?;
        let task = job
            .task(no)
            .ok_or_else(|| Rejected::UnknownUnit(no.to_string()))?;
        if task.epoch != lease.epoch || !matches!(task.stage, TaskStage::Leased { .. }) {
            return Err(Rejected::StaleEpoch {
                held: task.epoch,
                presented: lease.epoch,
            });
        }
        Ok(job)
    }

    pub(super) fn record_task(
        &mut self,
        lease: Lease,
        result: TaskResult,
    ) -> Result<Applied, Rejected> {
        let job = self.held_task(lease)?;
        let Unit::Task(no) = lease.unit else {
            unreachable!("held_task checked the unit")
        };
        let kind = job.tasks[no.0 as usize].kind.clone();
        let outcome = job.take_result(&kind, result)?;
        job.restage_task(no, TaskStage::Done);
        let done = EventKind::TaskDone {
            task: no,
            kind: kind.name().to_owned(),
            epoch: lease.epoch,
        };
        self.log(Some(lease.job), done);
        self.log_position(lease.job, &kind);
        match outcome {
            Ok(()) => self.advance(lease.job),
            Err(failure) => self.fail(lease.job, failure),
        }
        Ok(Applied::Done)
    }

    pub(super) fn adopt_plan(&mut self, id: JobId, plan: Plan) -> Result<Applied, Rejected> {
        let job = self.job_mut(id)?;
        check_runs(job, Phase::Planning)?;
        let tables = plan.tables.len();
        job.plan = Some(Arc::new(plan));
        job.totals = vec![TableTotals::default(); tables];
        if !job.spec.purpose.is_migration() {
            self.begin_proving(id);
            return Ok(Applied::Done);
        }
        let layout = job.layout();
        job.partitions = vec![Partition::default(); layout.len()];
        for (table, _, _) in &layout {
            job.totals[table.0 as usize].partitions += 1;
        }
        job.catalog = None;
        job.reindex();
        job.add_task(TaskKind::Create);
        job.add_secure();
        self.enter(id, Phase::Creating);
        Ok(Applied::Done)
    }

    pub(super) fn refuse_plan(&mut self, id: JobId, failure: Failure) -> Result<Applied, Rejected> {
        let job = self.job_mut(id)?;
        check_runs(job, Phase::Planning)?;
        self.fail(id, failure);
        Ok(Applied::Done)
    }

    pub(super) fn enter(&mut self, id: JobId, to: Phase) {
        let now = self.now;
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        let from = std::mem::replace(&mut job.phase, to);
        job.phase_since = now;
        if to.is_ended() {
            job.ended_at = Some(now);
        }
        self.log(Some(id), EventKind::PhaseChanged { from, to });
        if to.is_ended() {
            self.forget_old_jobs();
        }
    }

    /// Takes the next step of a job, if its present one is done. Loops, because a phase may have
    /// nothing to do.
    pub(super) fn advance(&mut self, id: JobId) {
        loop {
            let job = self.jobs.get_mut(&id).expect("callers hold the id");
            if job.phase.is_ended() || !job.step_is_done() {
                return;
            }
            if let Some(ending) = job.ending.take() {
                let phase = match ending {
                    Ending::Completed => Phase::Completed,
                    Ending::Failed => Phase::Failed,
                    Ending::Cancelled => Phase::Cancelled,
                };
                return self.enter(id, phase);
            }
            let phase = job.phase;
            match phase {
                Phase::Checking => return self.enter(id, Phase::Planning),
                Phase::Creating if !job.spec.purpose.is_migration() => {
                    job.add_proving();
                    self.enter(id, Phase::Repairing);
                }
                Phase::Creating => self.enter(id, Phase::Copying),
                Phase::Copying => match job.source_proof {
                    SourceProof::Open if job.is_followed() => {
                        if job.add_replay() {
                            return;
                        }
                        job.source_proof = SourceProof::Replayed;
                    }
                    SourceProof::Open if !job.has_settled() => {
                        let mark = job.mark.clone();
                        job.add_task(TaskKind::Settle { mark });
                        return;
                    }
                    // Every table was read again and was equal.
                    SourceProof::Open => job.source_proof = SourceProof::Reread,
                    _ => {
                        job.add_indexes();
                        self.enter(id, Phase::Indexing);
                    }
                },
                Phase::Indexing if job.add_foreign_keys() => {}
                // Triggers would fire on what is applied: not before the end.
                Phase::Indexing if job.is_to_stay() => self.enter(id, Phase::Following),
                Phase::Indexing if job.add_objects() => {}
                Phase::Following if job.add_following() => {}
                Phase::Indexing | Phase::Following => {
                    job.add_proofs();
                    self.enter(id, Phase::Verifying);
                }
                Phase::Verifying | Phase::Repairing => {
                    self.end(id, Ending::Completed);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Stops a job by an error. Before anything was changed at the target that is all; later a
    /// resolve task ends what is open there.
    pub(super) fn fail(&mut self, id: JobId, failure: Failure) {
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        if job.ending.is_some() {
            // The cleaning itself fails for good: say so, the next resume or cancel tries again.
            job.failure = Some(failure.clone());
            job.failed_in.get_or_insert(job.phase);
            job.drop_tasks();
            job.ending = None;
            job.intent = Intent::Run;
            self.log(Some(id), EventKind::JobFailed { failure });
            return self.enter(id, Phase::Failed);
        }
        job.failed_in = Some(job.phase);
        job.failure = Some(failure.clone());
        self.log(Some(id), EventKind::JobFailed { failure });
        self.end(id, Ending::Failed);
    }

    /// Begins a job's end: takes back every lease, mints epochs that no zombie holds, and has the
    /// target cleaned under them.
    fn end(&mut self, id: JobId, ending: Ending) {
        let now = self.now;
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        if ending == Ending::Cancelled && job.ending == Some(Ending::Cancelled) {
            return;
        }
        let touched = job.plan.is_some() && !job.only_reads();
        if ending == Ending::Cancelled && job.phase == Phase::Failed {
            job.phase = job.failed_in.unwrap_or(Phase::Checking);
        }
        job.drop_tasks();
        let mut units = Vec::new();
        for no in (0..job.partitions.len() as u32).map(crate::id::PartitionNo) {
            let partition = &job.partitions[no.0 as usize];
            if partition.epoch == Epoch(0) || matches!(partition.stage, Stage::Committed { .. }) {
                continue;
            }
            job.give_up(no, now);
            let partition = &mut job.partitions[no.0 as usize];
            partition.epoch = partition.epoch.next();
            let decided = match &partition.stage {
                Stage::Committing { decided, .. } => Some(decided.txn),
                _ => None,
            };
            units.push(ResolveUnit {
                partition: no,
                fence: partition.epoch,
                decided,
            });
        }
        if touched {
            job.ending = Some(ending);
            let drop_bookkeeping = ending != Ending::Failed;
            if drop_bookkeeping && job.has_secured() {
                job.add_task(TaskKind::Release);
            }
            job.add_task(TaskKind::Resolve {
                units,
                drop_bookkeeping,
            });
            return;
        }
        let phase = match ending {
            Ending::Completed => Phase::Completed,
            Ending::Failed => Phase::Failed,
            Ending::Cancelled => Phase::Cancelled,
        };
        self.enter(id, phase);
    }

    /// A failed job goes on in the phase it failed in.
    fn resume(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        let phase = job.failed_in.take().unwrap_or(Phase::Checking);
        job.failure = None;
        job.ended_at = None;
        for partition in &mut job.partitions {
            partition.attempts = 0;
        }
        job.drop_tasks();
        let (phase, task) = match phase {
            Phase::Checking | Phase::Planning => {
                (Phase::Checking, Some(TaskKind::Inspect { slots: 0 }))
            }
            Phase::Creating => (Phase::Creating, Some(TaskKind::Create)),
            other => (other, None),
        };
        match phase {
            // The answer of before the stop may be out of date.
            Phase::Copying => {
                job.source_proof = SourceProof::Open;
                (0..job.totals.len() as u32).for_each(|table| job.add_key(TableNo(table)));
            }
            Phase::Creating => job.add_secure(),
            Phase::Indexing => job.add_indexes(),
            Phase::Verifying if job.spec.purpose.is_migration() => job.add_proofs(),
            Phase::Verifying | Phase::Repairing => job.add_proving(),
            _ => {}
        }
        if let Some(task) = task {
            job.add_task(task);
        }
        self.enter(id, phase);
        self.advance(id);
    }
}

impl Job {
    /// Takes in what a task found. `Err(Rejected)` if the result doesn't fit the task, `Ok(Err)`
    /// if it fits and stops the job.
    fn take_result(
        &mut self,
        kind: &TaskKind,
        result: TaskResult,
    ) -> Result<Result<(), Failure>, Rejected> {
        match (kind, result) {
            (TaskKind::Inspect { .. }, TaskResult::Inspected(catalog)) => {
                self.mark = catalog.mark.clone();
                self.catalog = Some(catalog);
            }
            (TaskKind::Settle { .. }, TaskResult::Settled(settled)) => match settled {
                Settled::Unmoved => self.source_proof = SourceProof::Unmoved,
                Settled::Unknown if self.spec.allow_changing_source => {
                    self.source_proof = SourceProof::Waived;
                }
                Settled::Unknown => self.add_verify(true),
            },
            (
                TaskKind::Verify {
                    table,
                    at_source,
                    expected,
                    ..
                },
                TaskResult::Digested(found),
            ) => {
                if found != *expected {
                    return Ok(Err(self.difference(*table, *at_source, *expected, found)));
                }
                let totals = &mut self.totals[table.0 as usize];
                totals.unread = totals.unread.saturating_sub(1);
                totals.verified |= !at_source && totals.unread == 0;
            }
            (TaskKind::Index { table }, TaskResult::Done) => {
                self.totals[table.0 as usize].indexed = true;
            }
            (
                TaskKind::Create
                | TaskKind::Key { .. }
                | TaskKind::ForeignKeys { .. }
                | TaskKind::Objects
                | TaskKind::Release,
                TaskResult::Done,
            ) => {}
            (TaskKind::Secure, TaskResult::Secured(secured)) => self.secured = Some(secured),
            (TaskKind::Follow { .. }, TaskResult::Followed(mark)) => {
                return Ok(self.take_mark(*mark));
            }
            (TaskKind::Compare { table, .. }, TaskResult::Compared(compared)) => {
                return Ok(self.take_compared(*table, compared));
            }
            (TaskKind::Examine { range, .. }, TaskResult::Examined(found)) => {
                self.take_examined(*range, *found);
            }
            (TaskKind::Repair { range, .. }, TaskResult::Repaired(done)) => {
                self.take_repaired(*range, *done);
            }
            (TaskKind::Resolve { .. }, TaskResult::Resolved { .. }) => {}
            (kind, result) => {
                let what = format!("{result:?} is no answer to {}", kind.name());
                return Err(Rejected::WrongState(what));
            }
        }
        Ok(Ok(()))
    }

    fn difference(
        &self,
        table: TableNo,
        at_source: bool,
        expected: Digest,
        found: Digest,
    ) -> Failure {
        let plan = self.plan.as_ref().expect("verifying follows planning");
        let name = plan.table(table).source.full_name();
        if at_source {
            let what = format!(
                "table {name}: {} rows were copied, {} are there now, and their contents differ",
                expected.rows, found.rows
            );
            return Failure::new(Code::SourceChanged, what);
        }
        let what = format!(
            "table {name}: {} rows were copied, {} rows are at the target (digests {expected} and \
             {found})",
            expected.rows, found.rows
        );
        Failure::new(Code::Differences, what)
    }
}
