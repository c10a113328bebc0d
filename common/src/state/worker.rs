//! Workers: registered, draining, lost.

use serde::{Deserialize, Serialize};

use crate::id::{JobId, Millis, PartitionNo, TaskNo, WorkerId};
use crate::state::{Applied, EventKind, Rejected, Stage, State, TaskStage, WorkerHello};

/// One life of one worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub hello: WorkerHello,
    pub joined_at: Millis,
    pub draining: bool,
}

impl State {
    pub(super) fn register_worker(&mut self, hello: WorkerHello) -> Result<Applied, Rejected> {
        if let Some(known) = self.worker_of(&hello) {
            return Ok(Applied::Worker(known));
        }
        let before: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.hello.name == hello.name)
            .map(|(id, _)| *id)
            .collect();
        for id in before {
            self.lose_worker(id, "restarted".to_owned())?;
        }
        self.next_worker += 1;
        let id = WorkerId(self.next_worker);
        let joined = EventKind::WorkerJoined {
            worker: id,
            name: hello.name.clone(),
            slots: hello.slots,
        };
        self.workers.insert(
            id,
            Worker {
                hello,
                joined_at: self.now,
                draining: false,
            },
        );
        self.log(None, joined);
        Ok(Applied::Worker(id))
    }

    pub(super) fn drain_worker(
        &mut self,
        worker: WorkerId,
        drain: bool,
    ) -> Result<Applied, Rejected> {
        let record = self
            .workers
            .get_mut(&worker)
            .ok_or(Rejected::UnknownWorker(worker))?;
        if record.draining != drain {
            record.draining = drain;
            self.log(None, EventKind::WorkerDraining { worker, drain });
            let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
            for id in jobs.into_iter().filter(|_| drain) {
                self.take_back_follow(id, Some(worker));
            }
        }
        Ok(Applied::Done)
    }

    pub(super) fn lose_worker(
        &mut self,
        worker: WorkerId,
        reason: String,
    ) -> Result<Applied, Rejected> {
        let lost = self
            .workers
            .remove(&worker)
            .ok_or(Rejected::UnknownWorker(worker))?;
        let mut leases = 0;
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in jobs {
            leases += self.free_leases(id, worker);
        }
        let name = lost.hello.name;
        self.log(
            None,
            EventKind::WorkerLost {
                worker,
                name,
                reason,
                leases,
            },
        );
        Ok(Applied::Done)
    }

    /// Takes every lease of `worker` away. What is prepared for good (or decided) stays so,
    /// without an owner; a held transaction died with its session and is copied again.
    fn free_leases(&mut self, id: JobId, worker: WorkerId) -> u32 {
        let now = self.now;
        let job = self.jobs.get_mut(&id).expect("ids come from the map");
        let durable = job
            .plan
            .as_ref()
            .is_some_and(|plan| plan.target.durable_prepare);
        let held: Vec<PartitionNo> = job.partitions_of_worker(worker).map(|(no, _)| no).collect();
        for no in &held {
            match job.partitions[no.0 as usize].stage.clone() {
                Stage::Prepared { loaded, .. } if durable => {
                    job.restage(
                        *no,
                        Stage::Prepared {
                            worker: None,
                            loaded,
                        },
                        now,
                    );
                }
                // What was begun goes first: its transaction may hold locks in the target until a
                // next owner ends it, and nobody should wait for a lost worker's share twice.
                _ => job.give_up(*no, Millis(0)),
            }
        }
        let tasks: Vec<TaskNo> = job.tasks_of_worker(worker).map(|(no, _)| no).collect();
        for no in &tasks {
            job.restage_task(*no, TaskStage::Waiting { not_before: now });
        }
        (held.len() + tasks.len()) as u32
    }
}
