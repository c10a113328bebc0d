//! The driver of two-phase commit: which decisions are due, and what a worker's word means.

use crate::directive::{Ack, Outcome, Report};
use crate::epoch::Unit;
use crate::id::{JobId, WorkerId};
use crate::limits::COMMANDS_PER_ENTRY_MAX;
use crate::plan;
use crate::state::{Command, Decision, Intent, Job, Phase, Stage, State, TaskStage};

/// Decisions that are due: Commit for what is prepared, and the plan of a job that was inspected.
/// `seed` is fresh entropy from the caller, used only for a plan.
pub fn decide(state: &State, seed: u64) -> Vec<Command> {
    let mut commands = Vec::new();
    for (id, job) in state.active_jobs() {
        if job.ending.is_some() {
            continue;
        }
        if job.phase == Phase::Planning && job.intent == Intent::Run {
            commands.extend(make_plan(state, id, job, seed));
        }
        for no in &job.index.prepared {
            if commands.len() >= COMMANDS_PER_ENTRY_MAX {
                return commands;
            }
            let epoch = job.partitions()[no.0 as usize].epoch;
            let decision = Decision::Commit;
            commands.push(Command::Decide {
                job: id,
                partition: *no,
                epoch,
                decision,
            });
        }
    }
    commands
}

fn make_plan(state: &State, id: JobId, job: &Job, seed: u64) -> Option<Command> {
    let catalog = job.catalog.as_deref()?.clone();
    let made = match job.spec.purpose.is_migration() {
        true => plan::plan(catalog, &job.spec, seed, state.slots()),
        false => crate::verify::plan::plan(catalog, &job.spec, seed, state.slots()),
    };
    Some(match made {
        Ok(plan) => Command::AdoptPlan { job: id, plan },
        Err(failure) => Command::RefusePlan { job: id, failure },
    })
}

/// Commands for what a report says that the state doesn't know yet. Reports repeat themselves, so
/// what is recorded already, or is stale, gives none.
pub fn intake(state: &State, report: &Report) -> Vec<Command> {
    match state.worker_of(&report.hello) {
        None => vec![Command::RegisterWorker(report.hello.clone())],
        Some(worker) => report
            .acks
            .iter()
            .filter_map(|ack| news(state, worker, ack))
            .collect(),
    }
}

fn news(state: &State, worker: WorkerId, ack: &Ack) -> Option<Command> {
    let lease = ack.lease;
    let job = state.job(lease.job)?;
    match lease.unit {
        Unit::Partition(no) => {
            let partition = job.partition(no)?;
            if partition.epoch != lease.epoch || partition.stage.worker() != Some(worker) {
                return None;
            }
            match (&ack.outcome, &partition.stage) {
                (Outcome::Prepared(loaded), Stage::Leased { .. }) => {
                    Some(Command::RecordPrepared {
                        lease,
                        loaded: *loaded,
                    })
                }
                (Outcome::Prepared(_), _) => None,
                (Outcome::Committed(committed), _) => Some(Command::RecordCommitted {
                    lease,
                    committed: *committed,
                }),
                (outcome, _) => given_up(lease, outcome),
            }
        }
        Unit::Task(no) => {
            let task = job.task(no)?;
            if task.epoch != lease.epoch || task.stage != (TaskStage::Leased { worker }) {
                return None;
            }
            match &ack.outcome {
                Outcome::Task(result) => Some(Command::RecordTask {
                    lease,
                    result: result.clone(),
                }),
                outcome => given_up(lease, outcome),
            }
        }
    }
}

fn given_up(lease: crate::epoch::Lease, outcome: &Outcome) -> Option<Command> {
    match outcome {
        Outcome::Failed { class, failure } => Some(Command::RecordFailed {
            lease,
            class: *class,
            failure: failure.clone(),
        }),
        Outcome::Released => Some(Command::Release { lease }),
        Outcome::Prepared(_) | Outcome::Committed(_) | Outcome::Task(_) => None,
    }
}
