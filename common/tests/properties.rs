//! Properties of the core under any order of events: invariants hold after every command, a stale
//! epoch changes nothing, `schedule` is stable, and once faults stop every job ends.

mod model;

use common::change::{FollowMode, LogFacts};
use common::code::{Code, ErrorClass, Failure};
use common::detect::Health;
use common::epoch::{Epoch, Lease, Unit};
use common::id::WorkerId;
use common::job::{JobSpec, Purpose, TargetMode};
use common::schedule::schedule;
use common::state::{Command, Intent, Phase, Stage, State, TaskStage};
use common::task::TaskKind;
use common::verify::{RepairOptions, TableRange, VerifyOptions};
use model::{JOB, Model};
use proptest::prelude::*;

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
enum Happening {
    Turn,
    Join,
    Silence(usize),
    Pass(u64),
    Prepared(usize),
    Committed(usize),
    Failed(usize, ErrorClass),
    Released(usize),
    TaskDone(usize, bool),
    TaskFailed(usize),
    Stale(usize, u32),
    Intent(bool),
    Complete,
    Written(u32),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Turn),
        1 => Just(Happening::Join),
        1 => (0usize..8).prop_map(Happening::Silence),
        1 => (0u64..3_000).prop_map(Happening::Pass),
        4 => (0usize..8).prop_map(Happening::Prepared),
        4 => (0usize..8).prop_map(Happening::Committed),
        1 => (0usize..8).prop_map(|n| Happening::Failed(n, ErrorClass::Transient)),
        1 => (0usize..8).prop_map(|n| Happening::Failed(n, ErrorClass::Fenced)),
        1 => (0usize..8).prop_map(Happening::Released),
        4 => (0usize..8, any::<bool>()).prop_map(|(n, unmoved)| Happening::TaskDone(n, unmoved)),
        1 => (0usize..8).prop_map(Happening::TaskFailed),
        2 => (0usize..8, 0u32..3).prop_map(|(n, back)| Happening::Stale(n, back)),
        1 => any::<bool>().prop_map(Happening::Intent),
        1 => Just(Happening::Complete),
        1 => (0u32..2).prop_map(Happening::Written),
    ]
}

/// What a job may do about changes: nothing, up to the end of copying, for good, from a position.
fn following() -> impl Strategy<Value = fn(Model) -> Model> {
    prop_oneof![
        Just((|model| model) as fn(Model) -> Model),
        Just((|model| follows(model, |_| {})) as fn(Model) -> Model),
        Just((|model| follows(model, |spec| spec.follow = FollowMode::Live)) as fn(Model) -> Model),
        Just(
            (|model| follows(model, |spec| {
                spec.follow = FollowMode::Live;
                spec.from = Some("log:1".to_owned());
            })) as fn(Model) -> Model
        ),
        Just(
            (|model| proves(model, |spec| {
                spec.purpose = Purpose::Verify(VerifyOptions::default());
            })) as fn(Model) -> Model
        ),
        Just((|model| proves(model, repairs)) as fn(Model) -> Model),
    ]
}

/// Jobs that compare and repair end as those that copy do.
fn proves(model: Model, asked: fn(&mut JobSpec)) -> Model {
    Model { asked, ..model }
}

fn repairs(spec: &mut JobSpec) {
    let range = |table: &str| TableRange {
        table: table.to_owned(),
        columns: Vec::new(),
        ranges: Vec::new(),
        keys: Vec::new(),
    };
    spec.target_mode = TargetMode::Append;
    spec.purpose = Purpose::Repair(RepairOptions {
        dry_run: false,
        only: Vec::new(),
        ranges: vec![range("orders"), range("users")],
    });
}

fn follows(model: Model, asked: fn(&mut JobSpec)) -> Model {
    let log = Some(LogFacts::Usable);
    Model {
        log,
        asked,
        ..model
    }
}

fn pick<T: Clone>(items: &[T], n: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[n % items.len()].clone())
}

fn happen(model: &mut Model, what: Happening) {
    let command = match what {
        Happening::Turn => return drop(model.turn()),
        Happening::Join => {
            model.join("again", 2);
            return;
        }
        Happening::Silence(n) => {
            let workers: Vec<WorkerId> = model.view.workers.keys().copied().collect();
            if let Some(worker) = pick(&workers, n) {
                model.set_health(worker, Health::Lost);
            }
            return;
        }
        Happening::Written(table) => {
            model.log_end += 1;
            return model.touched.push(table);
        }
        Happening::Pass(ms) => return model.view.now = model.view.now.plus(ms),
        Happening::Stale(n, back) => return a_stale_word_changes_nothing(model, n, back),
        said => said_by_somebody(model, said),
    };
    // Accepted or refused: the invariants are checked either way.
    if let Some(command) = command {
        drop(model.apply(command));
    }
}

fn said_by_somebody(model: &Model, what: Happening) -> Option<Command> {
    let failure = Failure::new(Code::TargetRejected, "no");
    Some(match what {
        Happening::Prepared(n) => {
            let (lease, _) = pick(&model.held(), n)?;
            let Unit::Partition(no) = lease.unit else {
                return None;
            };
            Command::RecordPrepared {
                lease,
                loaded: Model::loaded(no),
            }
        }
        Happening::Committed(n) => {
            let (lease, stage) = pick(&model.held(), n)?;
            let committed = match stage {
                Stage::Committing { decided, .. }
                | Stage::Leased {
                    decided: Some(decided),
                    ..
                } => decided.txn,
                _ => lease.epoch,
            };
            Command::RecordCommitted { lease, committed }
        }
        Happening::Failed(n, class) => {
            let (lease, _) = pick(&model.held(), n)?;
            Command::RecordFailed {
                lease,
                class,
                failure,
            }
        }
        Happening::Released(n) => Command::Release {
            lease: pick(&model.held(), n)?.0,
        },
        Happening::TaskDone(n, unmoved) => {
            let (lease, kind) = pick(&model.running_tasks(), n)?;
            Command::RecordTask {
                lease,
                result: model.honest(&kind, unmoved),
            }
        }
        Happening::TaskFailed(n) => {
            let (lease, _) = pick(&model.running_tasks(), n)?;
            Command::RecordFailed {
                lease,
                class: ErrorClass::Transient,
                failure,
            }
        }
        Happening::Complete => Command::Complete { job: JOB },
        Happening::Intent(run) => {
            let intent = if run { Intent::Run } else { Intent::Pause };
            Command::SetIntent { job: JOB, intent }
        }
        _ => return None,
    })
}

/// Everything but the clock and the journal.
fn substance(state: &State) -> (Vec<String>, Vec<WorkerId>) {
    let jobs = state.jobs().map(|(id, job)| format!("{id} {job:?}"));
    (jobs.collect(), state.workers().map(|(id, _)| id).collect())
}

fn a_stale_word_changes_nothing(model: &mut Model, n: usize, back: u32) {
    let Some(job) = model.state.job(JOB) else {
        return;
    };
    let partitions: Vec<(u32, Epoch)> = (0u32..)
        .zip(job.partitions().iter().map(|partition| partition.epoch))
        .collect();
    let Some((no, held)) = pick(&partitions, n) else {
        return;
    };
    let stale = Epoch(held.0.saturating_sub(1 + back));
    let lease = Lease {
        epoch: stale,
        ..model.partition_lease(no, 0)
    };
    let before = substance(&model.state);
    let loaded = Model::loaded(common::id::PartitionNo(no));
    let failure = Failure::new(Code::Internal, "late");
    for command in [
        Command::RecordPrepared { lease, loaded },
        Command::RecordCommitted {
            lease,
            committed: stale,
        },
        Command::RecordFailed {
            lease,
            class: ErrorClass::Permanent,
            failure,
        },
        Command::Release { lease },
    ] {
        assert!(
            model.apply(command.clone()).is_err() || held == Epoch(0),
            "{command:?}"
        );
    }
    assert_eq!(substance(&model.state), before);
}

/// Faults stop: live workers, honest answers. The job must end, with every row counted once.
fn heal(model: &mut Model) {
    if model
        .state
        .job(JOB)
        .is_some_and(|job| job.intent == Intent::Pause)
    {
        drop(model.apply(Command::SetIntent {
            job: JOB,
            intent: Intent::Run,
        }));
    }
    model.join("healer", 3);
    drop(model.apply(Command::Complete { job: JOB }));
    for _ in 0..500 {
        model.view.now = model.view.now.plus(11_000);
        model.turn();
        let job = model.state.job(JOB).expect("submitted");
        if job.phase == Phase::Failed {
            drop(model.apply(Command::SetIntent {
                job: JOB,
                intent: Intent::Run,
            }));
        }
        let job = model.state.job(JOB).expect("submitted");
        if job.phase == Phase::Completed {
            let rows: u64 = job.totals.iter().map(|totals| totals.digest.rows).sum();
            assert!(model.running_tasks().is_empty());
            let released = job
                .tasks()
                .any(|(_, task)| task.kind == TaskKind::Release && task.stage == TaskStage::Done);
            assert_eq!(
                released,
                job.is_followed(),
                "the source keeps nothing for us"
            );
            let all: u64 = (1..=job.partitions().len() as u64).sum();
            assert_eq!(rows, all, "every partition counted exactly once");
            return;
        }
        for (lease, stage) in model.held() {
            let Unit::Partition(no) = lease.unit else {
                continue;
            };
            let loaded = Model::loaded(no);
            let command = match stage {
                Stage::Leased {
                    decided: Some(decided),
                    ..
                } => Command::RecordCommitted {
                    lease,
                    committed: decided.txn,
                },
                Stage::Leased { .. } => Command::RecordPrepared { lease, loaded },
                Stage::Committing { decided, .. } => Command::RecordCommitted {
                    lease,
                    committed: decided.txn,
                },
                _ => continue,
            };
            model.apply(command).expect("an honest word is accepted");
        }
        for (lease, kind) in model.running_tasks() {
            let result = model.honest(&kind, true);
            model
                .apply(Command::RecordTask { lease, result })
                .expect("accepted");
        }
    }
    panic!("the job does not end: {:?}", model.state.job(JOB));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_every_job_ends(
        durable: bool, follow in following(), steps in prop::collection::vec(happening(), 0..150),
    ) {
        let mut model = follow(Model::new(durable));
        model.submit("shop").expect("the first job");
        model.join("first", 2);
        for step in steps {
            happen(&mut model, step);
        }
        heal(&mut model);
    }

    #[test]
    fn schedule_is_stable(
        durable: bool, follow in following(), steps in prop::collection::vec(happening(), 0..80),
    ) {
        let mut model = follow(Model::new(durable));
        model.submit("shop").expect("the first job");
        model.join("first", 2);
        for step in steps {
            happen(&mut model, step);
        }
        let lost = |commands: &[Command]| {
            commands.iter().any(|command| matches!(command, Command::LoseWorker { .. }))
        };
        let mut first = schedule(&model.state, &model.view, &model.limits);
        if lost(&first) {
            for command in first {
                model.apply(command).expect("the leader's own");
            }
            model.view.workers.retain(|worker, _| model.state.worker(*worker).is_some());
            first = schedule(&model.state, &model.view, &model.limits);
        }
        for command in first {
            model.apply(command).expect("the leader's own");
        }
        prop_assert_eq!(schedule(&model.state, &model.view, &model.limits), vec![]);
    }
}
