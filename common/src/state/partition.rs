//! Two-phase commit of a partition: assign, prepared, decided, committed. See `crate::epoch` for
//! the rule these functions keep.

use crate::code::{ErrorClass, Failure};
use crate::epoch::{Epoch, Lease, Unit};
use crate::id::{JobId, Millis, PartitionNo, WorkerId};
use crate::plan::Loaded;
use crate::retry;
use crate::state::{
    Applied, Decided, Decision, EventKind, Intent, Job, Phase, Rejected, Stage, State, TaskStage,
    unit_name,
};
use crate::task::TaskKind;

impl State {
    pub(super) fn assign_partition(
        &mut self,
        id: JobId,
        no: PartitionNo,
        worker: WorkerId,
    ) -> Result<Applied, Rejected> {
        self.check_takes_work(worker)?;
        let job = self.job_mut(id)?;
        check_runs(job, Phase::Copying)?;
        let partition = job
            .partition(no)
            .ok_or_else(|| Rejected::UnknownUnit(no.to_string()))?;
        let before = partition.epoch;
        let epoch = before.next();
        // An older epoch can't be undecided from here on: Commit is recorded, or it is Abort.
        let (decided, aborted) = match &partition.stage {
            Stage::Waiting => (None, before > Epoch(0)),
            Stage::Committing {
                worker: None,
                decided,
            } => (Some(*decided), false),
            stage => return Err(Rejected::WrongState(format!("{no} is {stage:?}"))),
        };
        job.partitions[no.0 as usize].epoch = epoch;
        job.restage(no, Stage::Leased { worker, decided }, Millis(0));
        if aborted {
            job.redone += 1;
            let kind = EventKind::Decided {
                partition: no,
                epoch: before,
                decision: Decision::Abort,
            };
            self.log(Some(id), kind);
        }
        self.log(
            Some(id),
            EventKind::Assigned {
                partition: no,
                epoch,
                worker,
            },
        );
        Ok(Applied::Lease(Lease {
            job: id,
            unit: Unit::Partition(no),
            epoch,
        }))
    }

    pub(super) fn record_prepared(
        &mut self,
        lease: Lease,
        loaded: Loaded,
    ) -> Result<Applied, Rejected> {
        let (job, no) = self.held_partition(lease)?;
        let Stage::Leased { worker, .. } = job.partitions[no.0 as usize].stage else {
            return Err(Rejected::WrongState(format!("{no} is prepared already")));
        };
        // With an older epoch decided Commit, the owner has found it absent and fenced for ever
        // (a held transaction that died): T replaces it.
        job.restage(
            no,
            Stage::Prepared {
                worker: Some(worker),
                loaded,
            },
            Millis(0),
        );
        job.partitions[no.0 as usize].attempts = 0;
        let kind = EventKind::Prepared {
            partition: no,
            epoch: lease.epoch,
            rows: loaded.digest.rows,
            digest: loaded.digest,
        };
        self.log(Some(lease.job), kind);
        Ok(Applied::Done)
    }

    pub(super) fn decide(
        &mut self,
        id: JobId,
        no: PartitionNo,
        epoch: Epoch,
        decision: Decision,
    ) -> Result<Applied, Rejected> {
        let now = self.now;
        let job = self.job_mut(id)?;
        let partition = job
            .partition(no)
            .ok_or_else(|| Rejected::UnknownUnit(no.to_string()))?;
        if partition.epoch != epoch {
            return Err(Rejected::StaleEpoch {
                held: partition.epoch,
                presented: epoch,
            });
        }
        let Stage::Prepared { worker, loaded } = partition.stage else {
            return Err(Rejected::WrongState(format!("{no} is not prepared")));
        };
        match decision {
            Decision::Commit => {
                let decided = Decided { txn: epoch, loaded };
                job.restage(no, Stage::Committing { worker, decided }, Millis(0));
            }
            Decision::Abort => job.restage(no, Stage::Waiting, now),
        }
        self.log(
            Some(id),
            EventKind::Decided {
                partition: no,
                epoch,
                decision,
            },
        );
        Ok(Applied::Done)
    }

    pub(super) fn record_committed(
        &mut self,
        lease: Lease,
        committed: Epoch,
    ) -> Result<Applied, Rejected> {
        let (job, no) = self.held_partition(lease)?;
        let Decided { txn, loaded } = match &job.partitions[no.0 as usize].stage {
            Stage::Committing { decided, .. }
            | Stage::Leased {
                decided: Some(decided),
                ..
            } => *decided,
            _ => return Err(Rejected::WrongState(format!("{no} has no decision yet"))),
        };
        if txn != committed {
            let what = format!("{txn} was decided Commit, {committed} is in the ledger");
            return Err(Rejected::WrongState(what));
        }
        job.restage(no, Stage::Committed { txn, loaded }, Millis(0));
        job.partitions[no.0 as usize].attempts = 0;
        let table = job.table_of(no).expect("partitions have a table");
        let totals = &mut job.totals[table.0 as usize];
        totals.committed += 1;
        totals.bytes += loaded.bytes;
        totals.digest += loaded.digest;
        job.add_key(table);
        let kind = EventKind::Committed {
            partition: no,
            epoch: txn,
            by: lease.epoch,
        };
        self.log(Some(lease.job), kind);
        self.advance(lease.job);
        Ok(Applied::Done)
    }

    pub(super) fn record_failed(
        &mut self,
        lease: Lease,
        class: ErrorClass,
        failure: Failure,
    ) -> Result<Applied, Rejected> {
        let mut attempts_max = crate::limits::ATTEMPTS_MAX;
        let now = self.now;
        let (attempt, unit) = match lease.unit {
            Unit::Partition(no) => {
                let (job, _) = self.held_partition(lease)?;
                let attempt = job.partitions[no.0 as usize].attempts.saturating_add(1);
                job.partitions[no.0 as usize].attempts = attempt;
                let not_before = now.plus(retry::wait_ms(attempt, u64::from(no.0)));
                job.give_up(no, not_before);
                (attempt, unit_name(Some(no), None))
            }
            Unit::Task(no) => {
                let job = self.held_task(lease)?;
                let task = &mut job.tasks[no.0 as usize];
                if matches!(task.kind, TaskKind::Follow { .. }) {
                    attempts_max = crate::limits::FOLLOW_ATTEMPTS_MAX;
                }
                if task.has_run_steadily(now) {
                    task.attempts = 0;
                }
                task.attempts = task.attempts.saturating_add(1);
                let not_before = now.plus(retry::wait_ms(task.attempts, u64::from(no.0)));
                task.last_failure = Some(failure.clone());
                let attempts = task.attempts;
                job.restage_task(no, TaskStage::Waiting { not_before });
                (attempts, unit_name(None, Some(no)))
            }
        };
        let kind = EventKind::Retry {
            unit,
            epoch: lease.epoch,
            attempt,
            failure: failure.clone(),
        };
        self.log(Some(lease.job), kind);
        // An owner whose lease is the newest and who is fenced all the same met an epoch that this log
        // never gave out: somebody edited the fence. Going on for ever would hide that.
        let stop = match class {
            ErrorClass::Permanent => true,
            ErrorClass::Transient | ErrorClass::Fenced => attempt >= attempts_max,
        };
        if stop {
            let failure = self.named(lease, failure);
            self.fail(lease.job, failure);
        }
        Ok(Applied::Done)
    }

    pub(super) fn release(&mut self, lease: Lease) -> Result<Applied, Rejected> {
        let now = self.now;
        match lease.unit {
            Unit::Partition(_) => {
                let (job, no) = self.held_partition(lease)?;
                job.give_up(no, now);
            }
            Unit::Task(no) => {
                let job = self.held_task(lease)?;
                job.restage_task(no, TaskStage::Waiting { not_before: now });
            }
        }
        let unit = lease.unit.to_string();
        self.log(
            Some(lease.job),
            EventKind::Released {
                unit,
                epoch: lease.epoch,
            },
        );
        Ok(Applied::Done)
    }

    /// The partition of a lease, if the lease is the current one.
    fn held_partition(&mut self, lease: Lease) -> Result<(&mut Job, PartitionNo), Rejected> {
        let Unit::Partition(no) = lease.unit else {
            return Err(Rejected::UnknownUnit(lease.unit.to_string()));
        };
        let job = self.job_mut(lease.job)?;
        let partition = job
            .partition(no)
            .ok_or_else(|| Rejected::UnknownUnit(no.to_string()))?;
        if partition.epoch != lease.epoch || partition.stage.worker().is_none() {
            return Err(Rejected::StaleEpoch {
                held: partition.epoch,
                presented: lease.epoch,
            });
        }
        Ok((job, no))
    }

    pub(super) fn check_takes_work(&self, worker: WorkerId) -> Result<(), Rejected> {
        match self.workers.get(&worker) {
            None => Err(Rejected::UnknownWorker(worker)),
            Some(record) if record.draining => {
                Err(Rejected::WrongState(format!("{worker} drains")))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Job {
    /// The owner is gone by its own word; what was decided stays decided.
    pub(super) fn give_up(&mut self, no: PartitionNo, not_before: Millis) {
        let stage = match self.partitions[no.0 as usize].stage.clone() {
            Stage::Committing { decided, .. }
            | Stage::Leased {
                decided: Some(decided),
                ..
            } => Stage::Committing {
                worker: None,
                decided,
            },
            _ => Stage::Waiting,
        };
        self.restage(no, stage, not_before);
    }
}

/// New work is handed out only to a job that wants it and is where the work belongs.
pub(super) fn check_runs(job: &Job, phase: Phase) -> Result<(), Rejected> {
    if job.phase != phase || job.ending.is_some() || job.intent != Intent::Run {
        return Err(Rejected::WrongState(format!(
            "the job is in {} with intent {:?}",
            job.phase, job.intent
        )));
    }
    Ok(())
}
