//! The control plane: the product's own `State::apply_entry`, `intake`, `decide`, `schedule` and
//! `directives`, each asked once per distinct question. States are kept once and named by number.
//!
//! A kept state is stripped of what can't change what happens next here: events and counters for
//! people, and everything about waiting (time stands still in the log, while the leader's clock
//! says that every wait is over; attempts don't add up, so a job fails only by a permanent error).
//! Settle, index and verify tasks are answered at once: nothing of two-phase commit is in them.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use common::code::ErrorClass;
use common::detect::Health;
use common::directive::{self, Ack, Directive, Outcome, Report};
use common::epoch::{Epoch, Lease, Unit as UnitId};
use common::id::{JobId, Millis, PartitionNo, TaskNo, WorkerId};
use common::limits::Limits;
use common::schedule::schedule;
use common::state::{
    Command, Decision, Entry, EventKind, Intent, Phase, Stage, State, TaskStage, WorkerHello,
};
use common::task::{Settled, TaskKind, TaskResult};
use common::two_phase::{decide, intake};
use common::view::{ClusterView, WorkerView};
use xxhash_rust::xxh3::xxh3_128;

use crate::job;
use crate::target::PARTITIONS;
use crate::unit::Said;

pub const JOB: JobId = JobId(1);
/// More than any run within bounds needs; a set of epochs is kept in 16 bits.
const EPOCHS: u8 = 12;
const EVER: Millis = Millis(u64::MAX / 2);

/// A process of one name: (name, incarnation).
pub type Life = (u8, u8);

/// One ack of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word {
    pub is_task: bool,
    pub no: u8,
    pub epoch: u8,
    pub said: Said,
}

/// What a leader's turn is about, beside the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Tick,
    Hear(Life, Vec<Word>),
    /// That worker was not heard for a lease.
    Lose(Life),
    Cancel,
    Resume,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug)]
pub struct Turned {
    pub to: u32,
    /// Epochs decided Commit on the way, as bits.
    pub decided: [u16; PARTITIONS],
}

/// What invariants ask of a state.
#[derive(Clone, Debug)]
pub struct Facts {
    pub phase: Phase,
    /// The epoch that the log says is in the ledger; 0 = none.
    pub committed: [u8; PARTITIONS],
    pub epoch_max: u8,
    pub broken: Option<(&'static str, String)>,
}

pub struct Control {
    states: Vec<State>,
    facts: Vec<Facts>,
    ids: HashMap<u128, u32>,
    turns: HashMap<(u32, Cause), Turned>,
    workers: HashMap<(u32, Life), Option<WorkerId>>,
    wanted: HashMap<(u32, Life), Option<Rc<[Directive]>>>,
}

impl Control {
    /// A job that is about to copy, and its workers. The first state is number 0.
    pub fn new(workers: u8, partitions: u8, durable: bool) -> Control {
        let mut state = State::default();
        let (uid, spec) = (job::uid(), job::spec());
        let mut commands = vec![Command::SubmitJob {
            uid,
            spec: Box::new(spec),
        }];
        commands.extend((0..workers).map(|name| Command::RegisterWorker(hello((name, 0)))));
        apply(&mut state, commands);
        let lease = assign(&mut state, 0);
        let catalog = job::catalog(partitions, durable);
        apply(&mut state, vec![Command::inspected(lease, catalog)]);
        let plan = decide(&state, 42);
        apply(&mut state, plan);
        let lease = assign(&mut state, 1);
        let result = TaskResult::Done;
        apply(&mut state, vec![Command::RecordTask { lease, result }]);
        let copying = state.job(JOB).map(|job| job.phase);
        assert_eq!(copying, Some(Phase::Copying));
        let mut control = Control {
            states: Vec::new(),
            facts: Vec::new(),
            ids: HashMap::new(),
            turns: HashMap::new(),
            workers: HashMap::new(),
            wanted: HashMap::new(),
        };
        control.keep(state);
        control
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn facts(&self, state: u32) -> &Facts {
        &self.facts[state as usize]
    }

    pub fn worker_of(&mut self, state: u32, life: Life) -> Option<WorkerId> {
        let states = &self.states;
        let find = || states[state as usize].worker_of(&hello(life));
        *self.workers.entry((state, life)).or_insert_with(find)
    }

    /// The directives for a process; None = it isn't registered.
    pub fn wanted(&mut self, state: u32, life: Life) -> Option<Rc<[Directive]>> {
        let worker = self.worker_of(state, life);
        let states = &self.states;
        let derive = || Some(directive::directives(&states[state as usize], worker?).into());
        { self.wanted.entry((state, life)) }
            .or_insert_with(derive)
            .clone()
    }

    pub fn turn(&mut self, state: u32, cause: &Cause) -> Turned {
        let key = (state, cause.clone());
        if let Some(turned) = self.turns.get(&key) {
            return *turned;
        }
        let mut next = self.states[state as usize].clone();
        let commands = self.commands(state, cause);
        apply(&mut next, commands);
        answer_errands(&mut next);
        let mut decided = [0; PARTITIONS];
        for event in next.events_after(0) {
            if let EventKind::Decided {
                partition,
                epoch,
                decision: Decision::Commit,
            } = event.kind
            {
                decided[partition.0 as usize] |= 1 << epoch.0;
            }
        }
        let to = self.keep(next);
        let turned = Turned { to, decided };
        self.turns.insert(key, turned);
        turned
    }

    /// What the leader proposes.
    pub fn commands(&self, state: u32, cause: &Cause) -> Vec<Command> {
        let state = &self.states[state as usize];
        let intent = |intent| vec![Command::SetIntent { job: JOB, intent }];
        let mut lost = None;
        let mut commands = match cause {
            Cause::Cancel => return intent(Intent::Cancel),
            Cause::Resume => return intent(Intent::Run),
            Cause::Tick => Vec::new(),
            Cause::Hear(life, words) => intake(state, &report(*life, words)),
            Cause::Lose(life) => {
                lost = state.worker_of(&hello(*life));
                Vec::new()
            }
        };
        commands.extend(decide(state, 42));
        commands.extend(schedule(state, &view(state, lost), &Limits::default()));
        commands
    }

    /// The leases of the present epochs, for a leader that mixes epochs up.
    pub fn present_epoch(&self, state: u32, no: u8) -> u8 {
        let job = self.states[state as usize].job(JOB).expect("the job stays");
        job.partitions()[no as usize].epoch.0 as u8
    }

    fn keep(&mut self, state: State) -> u32 {
        let (state, key) = strip(&state);
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = self.states.len() as u32;
        let facts = facts(&state);
        self.ids.insert(key, id);
        self.facts.push(facts);
        self.states.push(state);
        id
    }
}

pub fn hello(life: Life) -> WorkerHello {
    WorkerHello {
        name: format!("w{}", life.0),
        incarnation: u64::from(life.1),
        slots: 4,
        version: "explored".to_owned(),
    }
}

fn apply(state: &mut State, commands: Vec<Command>) {
    let at = Millis(0);
    state.apply_entry(Entry { at, commands });
}

fn assign(state: &mut State, no: u32) -> Lease {
    let (worker, _) = state.workers().next().expect("workers were registered");
    let task = TaskNo(no);
    let job = JOB;
    apply(state, vec![Command::AssignTask { job, task, worker }]);
    let found = state.job(JOB).and_then(|job| job.task(task));
    let epoch = found.expect("the task is there").epoch;
    Lease {
        job,
        unit: UnitId::Task(task),
        epoch,
    }
}

/// Everybody is live but `lost`.
fn view(state: &State, lost: Option<WorkerId>) -> ClusterView {
    let seen = |worker| WorkerView {
        health: match Some(worker) == lost {
            true => Health::Lost,
            false => Health::Live,
        },
        draining: false,
        memory_bytes: 0,
        progress: BTreeMap::new(),
    };
    ClusterView {
        now: EVER,
        workers: state.workers().map(|(id, _)| (id, seen(id))).collect(),
        ..ClusterView::default()
    }
}

fn report(life: Life, words: &[Word]) -> Report {
    let ack = |word: &Word| {
        Some(Ack {
            lease: lease(word.is_task, word.no, word.epoch),
            outcome: outcome(word)?,
        })
    };
    Report {
        hello: hello(life),
        draining: false,
        running: Vec::new(),
        acks: words.iter().filter_map(ack).collect(),
        progress: Vec::new(),
        memory_bytes: 0,
        seq: 1,
    }
}

pub fn lease(is_task: bool, no: u8, epoch: u8) -> Lease {
    let unit = match is_task {
        true => UnitId::Task(TaskNo(u32::from(no))),
        false => UnitId::Partition(PartitionNo(u32::from(no))),
    };
    let epoch = Epoch(u32::from(epoch));
    Lease {
        job: JOB,
        unit,
        epoch,
    }
}

fn outcome(word: &Word) -> Option<Outcome> {
    let failed = |class| {
        let failure = job::failure();
        Some(Outcome::Failed { class, failure })
    };
    match word.said {
        Said::Nothing => None,
        Said::Prepared => {
            let loaded = job::loaded(PartitionNo(u32::from(word.no)));
            Some(Outcome::Prepared(loaded))
        }
        Said::Committed(epoch) => Some(Outcome::Committed(Epoch(u32::from(epoch)))),
        Said::Resolved => Some(Outcome::Task(TaskResult::Resolved {
            committed: 0,
            rolled_back: 0,
        })),
        Said::Released => Some(Outcome::Released),
        Said::Transient => failed(ErrorClass::Transient),
        Said::Permanent => failed(ErrorClass::Permanent),
        Said::Fenced => failed(ErrorClass::Fenced),
    }
}

/// Settle, index and verify tasks end as soon as there is a worker.
fn answer_errands(state: &mut State) {
    loop {
        let Some((worker, _)) = state.workers().next() else {
            return;
        };
        let job = state.job(JOB).expect("the job stays");
        let open = job.tasks().find_map(|(no, task)| {
            let errand = !matches!(task.kind, TaskKind::Resolve { .. });
            let open = matches!(
                task.stage,
                TaskStage::Waiting { .. } | TaskStage::Leased { .. }
            );
            (errand && open).then(|| (no, task.clone()))
        });
        let Some((no, task)) = open else { return };
        let lease = match task.stage {
            TaskStage::Waiting { .. } => {
                let (job, task) = (JOB, no);
                apply(state, vec![Command::AssignTask { job, task, worker }]);
                lease(true, no.0 as u8, task_epoch(state, no))
            }
            _ => lease(true, no.0 as u8, task.epoch.0 as u8),
        };
        let result = match task.kind {
            TaskKind::Settle { .. } => TaskResult::Settled(Settled::Unmoved),
            TaskKind::Verify { expected, .. } => TaskResult::Digested(expected),
            _ => TaskResult::Done,
        };
        let before = state.events_after(0).count();
        apply(state, vec![Command::RecordTask { lease, result }]);
        if state.events_after(0).count() == before {
            return; // Paused or ending: it isn't to be answered.
        }
    }
}

fn task_epoch(state: &State, no: TaskNo) -> u8 {
    let task = state.job(JOB).and_then(|job| job.task(no));
    task.map_or(0, |task| task.epoch.0 as u8)
}

/// See the module; and the state's name.
fn strip(state: &State) -> (State, u128) {
    let mut value = serde_json::to_value(state).expect("a state is serializable");
    value["events"] = serde_json::json!([]);
    value["next_event"] = 0.into();
    let jobs = value["jobs"].as_object_mut().expect("jobs are a map");
    for job in jobs.values_mut() {
        job["redone"] = 0.into();
        for partition in job["partitions"].as_array_mut().expect("a list") {
            partition[1] = 0.into();
            partition[2] = 0.into();
        }
        for task in job["tasks"].as_array_mut().expect("a list") {
            task["attempts"] = 0.into();
            if let Some(waiting) = task["stage"].get_mut("Waiting") {
                waiting["not_before"] = 0.into();
            }
        }
    }
    let text = value.to_string();
    let mut state: State = serde_json::from_value(value).expect("it was a state");
    state.reindex();
    (state, xxh3_128(text.as_bytes()))
}

fn facts(state: &State) -> Facts {
    let job = state.job(JOB).expect("the job stays");
    let mut committed = [0; PARTITIONS];
    for (no, partition) in job.partitions().iter().enumerate() {
        if let Stage::Committed { txn, .. } = partition.stage {
            committed[no] = txn.0 as u8;
        }
    }
    let epochs = job.partitions().iter().map(|p| p.epoch.0 as u8);
    let epoch_max = epochs.max().unwrap_or(0);
    let broken = state.check().into_iter().next();
    let endless = || ("heals", "epochs are minted for ever".to_owned());
    Facts {
        phase: job.phase,
        committed,
        epoch_max,
        broken: broken
            .map(|broken| (broken.invariant, broken.what))
            .or_else(|| (epoch_max >= EPOCHS).then(endless)),
    }
}
