//! Who works on what: pure, stable (a second call on the result plans nothing), and proportional
//! to what changes, not to what exists.

use std::collections::BTreeMap;

use crate::detect::Health;
use crate::id::{JobId, TaskNo, WorkerId};
use crate::limits::{COMMANDS_PER_ENTRY_MAX, Limits};
use crate::state::{Command, Ending, Intent, Job, Phase, State, Task, TaskStage};
use crate::view::ClusterView;

/// Commands that give lost work back, drain, and hand out work to free slots.
pub fn schedule(state: &State, view: &ClusterView, limits: &Limits) -> Vec<Command> {
    let mut commands = lose_and_drain(state, view);
    if !commands.is_empty() {
        // What a lost worker held is free only once that is in the log.
        return commands;
    }
    let mut free = FreeSlots::count(state, view);
    for (id, job) in state.active_jobs() {
        if free.is_empty() || commands.len() >= COMMANDS_PER_ENTRY_MAX {
            break;
        }
        assign_tasks(id, job, view, &mut free, &mut commands);
        assign_partitions(id, job, view, limits, &mut free, &mut commands);
    }
    commands
}

fn lose_and_drain(state: &State, view: &ClusterView) -> Vec<Command> {
    let mut commands = Vec::new();
    for (worker, record) in state.workers() {
        let Some(seen) = view.workers.get(&worker) else {
            continue;
        };
        if seen.health == Health::Lost {
            let reason = "not heard from for a lease".to_owned();
            commands.push(Command::LoseWorker { worker, reason });
        } else if seen.draining && !record.draining {
            commands.push(Command::DrainWorker {
                worker,
                drain: true,
            });
        }
    }
    commands
}

fn assign_tasks(
    id: JobId,
    job: &Job,
    view: &ClusterView,
    free: &mut FreeSlots,
    commands: &mut Vec<Command>,
) {
    let ending = matches!(
        job.ending,
        Some(Ending::Cancelled | Ending::Failed | Ending::Completed)
    );
    if job.intent != Intent::Run && !ending {
        return;
    }
    let turn = Turn::of(job);
    for (no, task) in job.waiting_tasks() {
        if commands.len() >= COMMANDS_PER_ENTRY_MAX {
            return;
        }
        let TaskStage::Waiting { not_before } = task.stage else {
            continue;
        };
        if not_before > view.now || !turn.allows(no, task) {
            continue;
        }
        let endless = task.kind.is_endless();
        let Some(worker) = free.take(endless) else {
            // There may be room for what ends, though none for what doesn't.
            match endless {
                true => continue,
                false => return,
            }
        };
        commands.push(Command::AssignTask {
            job: id,
            task: no,
            worker,
        });
    }
}

/// At a target with one writer (SQLite) two index builds would only wait for each other's lock: the
/// tasks that write go one after the other.
enum Turn {
    Anybody,
    /// Of those that write only this one, or none while one runs.
    Writer(Option<TaskNo>),
}

impl Turn {
    fn of(job: &Job) -> Turn {
        let single = { job.plan.as_ref() }.is_some_and(|plan| plan.target.writers_max == 1);
        if !single || job.only_reads() {
            return Turn::Anybody;
        }
        let writes = |task: &Task| !task.kind.is_at_source();
        if job.leased_tasks().any(|(_, task)| writes(task)) {
            return Turn::Writer(None);
        }
        let first = job.waiting_tasks().find(|(_, task)| writes(task));
        Turn::Writer(first.map(|(no, _)| no))
    }

    fn allows(&self, no: TaskNo, task: &Task) -> bool {
        match self {
            Turn::Anybody => true,
            Turn::Writer(next) => task.kind.is_at_source() || *next == Some(no),
        }
    }
}

fn assign_partitions(
    id: JobId,
    job: &Job,
    view: &ClusterView,
    limits: &Limits,
    free: &mut FreeSlots,
    commands: &mut Vec<Command>,
) {
    if job.phase != Phase::Copying || job.ending.is_some() || job.intent != Intent::Run {
        return;
    }
    let Some(plan) = &job.plan else { return };
    let room = limits.partitions_in_flight_max.min(plan.target.writers_max);
    let mut room = room.saturating_sub(job.in_flight());
    for (not_before, no) in &job.index.waiting {
        if *not_before > view.now || room == 0 || commands.len() >= COMMANDS_PER_ENTRY_MAX {
            return;
        }
        let Some(worker) = free.take(false) else {
            return;
        };
        commands.push(Command::AssignPartition {
            job: id,
            partition: *no,
            worker,
        });
        room -= 1;
    }
}

/// Free slots of live workers; the worker with the most gets the next unit, the smaller id first.
struct FreeSlots {
    by_worker: BTreeMap<WorkerId, Load>,
    /// (free, reversed id) so that the last entry is the one to take.
    order: std::collections::BTreeSet<(u32, std::cmp::Reverse<WorkerId>)>,
}

/// What one worker has to do.
#[derive(Clone, Copy, Debug)]
struct Load {
    slots: u32,
    /// Units that end.
    units: u32,
    /// Tasks that go on until somebody ends them.
    endless: u32,
}

impl Load {
    /// What never ends leaves one slot to what does: else two jobs that follow would keep a small
    /// cluster from ever copying a third.
    fn free(&self) -> u32 {
        let endless = self.endless.min(self.slots.saturating_sub(1));
        self.slots.saturating_sub(self.units + endless)
    }

    fn has_room_for(&self, endless: bool) -> bool {
        self.free() > 0 && (!endless || self.endless < self.slots)
    }
}

impl FreeSlots {
    fn count(state: &State, view: &ClusterView) -> FreeSlots {
        let mut by_worker = BTreeMap::new();
        for (worker, record) in state.workers() {
            let live = view
                .workers
                .get(&worker)
                .is_some_and(|w| w.health == Health::Live);
            if live && !record.draining {
                let load = Load {
                    slots: record.hello.slots,
                    units: 0,
                    endless: 0,
                };
                by_worker.insert(worker, load);
            }
        }
        for (_, job) in state.active_jobs() {
            for (worker, load) in &mut by_worker {
                let held = job.index.by_worker.get(worker);
                load.units += held.map_or(0, |set| set.len() as u32);
                for (no, _) in job.tasks_of_worker(*worker) {
                    match job.task(no).is_some_and(|task| task.kind.is_endless()) {
                        true => load.endless += 1,
                        false => load.units += 1,
                    }
                }
            }
        }
        let order = by_worker
            .iter()
            .filter(|(_, load)| load.free() > 0)
            .map(|(worker, load)| (load.free(), std::cmp::Reverse(*worker)))
            .collect();
        FreeSlots { by_worker, order }
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn take(&mut self, endless: bool) -> Option<WorkerId> {
        let fits = |(_, worker): &&(u32, std::cmp::Reverse<WorkerId>)| {
            let load = self.by_worker.get(&worker.0);
            load.is_some_and(|load| load.has_room_for(endless))
        };
        let place = *self.order.iter().rev().find(fits)?;
        self.order.remove(&place);
        let std::cmp::Reverse(worker) = place.1;
        let load = self.by_worker.get_mut(&worker)?;
        match endless {
            true => load.endless += 1,
            false => load.units += 1,
        }
        if load.free() > 0 {
            self.order.insert((load.free(), std::cmp::Reverse(worker)));
        }
        Some(worker)
    }
}
