//! One run: a job, a cluster, workers, a target, and a seed that decides everything else. First
//! faults happen and every step is checked; then they stop, and the job must end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use common::directive::{Directives, Report};
use common::epoch::Lease;
use common::state::{Command, Entry, Intent, Phase};

use crate::checkers;
use crate::cluster::{Cluster, NODES, Stream};
use crate::coverage::Coverage;
use crate::faults::{self, Fault};
use crate::log::{Following, Log};
use crate::memory::Memory;
use crate::moment::Moment;
use crate::plant::Bugs;
use crate::process::Process;
use crate::rng::Rng;
use crate::rows;
use crate::scene;
use crate::target::{Dialect, Target};
use crate::wire::Weather;

/// Faults stop at this time at the latest, and the job has this long to end after it.
const HEAL_AT_MS: u64 = 90_000;
const LIVENESS_MS: u64 = 400_000;
/// Zombies have this long to wake up after the job's end.
const AFTERMATH_MS: u64 = 20_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Raft,
    Leader(usize),
    /// A turn of a leader beside its ticks: something is new.
    Turn(usize),
    Process {
        worker: usize,
        incarnation: u64,
    },
    Step {
        worker: usize,
        incarnation: u64,
        lease: Lease,
    },
    Proposed {
        node: usize,
        id: u64,
    },
    Report {
        worker: usize,
        node: usize,
        message: u64,
    },
    Directives {
        message: u64,
    },
    Gone {
        stream: Stream,
        node: usize,
    },
    Begin(usize),
    End {
        fault: usize,
        hit: usize,
    },
    Heal,
}

/// What the network does to messages between workers and coordinators.
#[derive(Debug, Default)]
pub struct Links {
    pub reports_cut: BTreeSet<usize>,
    pub directives_cut: BTreeSet<usize>,
    pub lost: u64,
    pub doubled: u64,
    pub late_ms: u64,
}

/// A fault that waits for its moment.
#[derive(Clone, Copy, Debug)]
struct Planned {
    fault: Fault,
    moment: Moment,
    after_ms: u64,
    lasts_ms: u64,
    begun: bool,
}

/// The faults of a run. The first ones go through all pairs of fault and moment in turn, so that
/// every pair has its seeds; the others fall anywhere, two of them often at once.
fn plan_faults(seed: u64, rng: &mut Rng) -> Vec<Planned> {
    // A prime: neighbouring seeds get different faults, and all cells have their turn.
    let cell = seed as usize * 101 % (Fault::ALL.len() * Moment::ALL.len());
    let count = rng.between(1, 5);
    let mut planned: Vec<Planned> = Vec::new();
    for at in 0..count {
        let mut fault = *rng.pick(Fault::ALL).expect("there are some");
        let mut moment = *rng.pick(&Moment::ALL).expect("there are some");
        let mut after_ms = match rng.below(4) {
            0 => 0,
            1 => rng.below(1_500),
            _ => rng.below(40),
        };
        let mut lasts_ms = match rng.below(5) {
            0 => rng.between(15_000, 45_000),
            _ => rng.between(200, 15_000),
        };
        if at == 0 {
            fault = Fault::ALL[cell / Moment::ALL.len()];
            moment = Moment::ALL[cell % Moment::ALL.len()];
            if moment.is_short() {
                after_ms = 0;
            }
        } else if rng.chance(300) {
            moment = planned[0].moment;
            after_ms = planned[0].after_ms;
        }
        if fault == Fault::PauseWorker {
            lasts_ms = lasts_ms.max(6_000 + rng.below(20_000));
        }
        planned.push(Planned {
            fault,
            moment,
            after_ms,
            lasts_ms,
            begun: false,
        });
    }
    planned
}

pub struct World {
    pub bugs: Bugs,
    /// The one checker that is asked, when it is tested itself.
    pub only: Option<&'static str>,
    pub now: u64,
    pub rng: Rng,
    pub cluster: Cluster,
    pub processes: Vec<Process>,
    pub target: Target,
    pub weather: Vec<Weather>,
    pub links: Links,
    pub source_up: bool,
    pub following: Following,
    pub log: Log,
    pub cancelled: bool,
    pub healed: bool,
    pub events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub order: u64,
    planned: Vec<Planned>,
    pub reports: Vec<Report>,
    pub directives: Vec<(Stream, Directives)>,
    pub deferred: Vec<(usize, Event)>,
    /// Table and rows of each partition, once planned.
    pub tables: Vec<u32>,
    pub rows: Vec<Vec<u32>>,
    pub memory: Memory,
    pub broken: Vec<String>,
    /// Faults that have begun and not ended.
    present: Vec<Fault>,
    quiet_since: u64,
    pub steps: u64,
    ended_at: Option<u64>,
    pub coverage: Coverage,
    pub traced: bool,
}

/// Why a run is not right, with what repeats it.
#[derive(Debug)]
pub struct Wrong {
    pub what: Vec<String>,
    pub at: u64,
}

impl World {
    pub fn new(seed: u64, bugs: Bugs, only: Option<&'static str>) -> World {
        let mut rng = Rng::new(seed);
        let dialect = *rng.pick(&Dialect::ALL).expect("there are some");
        let workers = rng.between(1, 4) as usize;
        let planned = plan_faults(seed, &mut rng);
        let processes = (0..workers)
            .map(|at| Process::new(format!("w{at}"), at as u64 + 1, at % NODES, 0, bugs))
            .collect();
        let mut world = World {
            bugs,
            only,
            now: 0,
            rng,
            cluster: Cluster::new(seed, bugs),
            processes,
            target: Target::new(dialect, bugs),
            weather: vec![Weather::default(); workers],
            links: Links::default(),
            source_up: true,
            following: Following::of(seed),
            log: Log::default(),
            cancelled: false,
            healed: false,
            events: BinaryHeap::new(),
            order: 0,
            planned,
            reports: Vec::new(),
            directives: Vec::new(),
            deferred: Vec::new(),
            tables: Vec::new(),
            rows: Vec::new(),
            memory: Memory::default(),
            broken: Vec::new(),
            present: Vec::new(),
            quiet_since: 0,
            steps: 0,
            ended_at: None,
            coverage: Coverage::default(),
            traced: std::env::var_os("TRACE").is_some(),
        };
        world.at(0, Event::Raft);
        (0..NODES).for_each(|node| world.at(10 + node as u64, Event::Leader(node)));
        (0..workers).for_each(|worker| {
            world.at(
                20,
                Event::Process {
                    worker,
                    incarnation: worker as u64 + 1,
                },
            )
        });
        world.at(HEAL_AT_MS, Event::Heal);
        world
    }

    pub fn at(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.events
            .push(Reverse((self.now + ms, self.order, event)));
    }

    /// Runs until the job has ended and everybody who could still act has acted.
    pub fn run(&mut self) -> Result<(), Wrong> {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            self.target.advance(self.now);
            self.steps += 1;
            let mut broken = self.happen(event);
            broken.append(&mut self.broken);
            broken.extend(checkers::at_every_step(self));
            if let Some(ended) = self.ended_at {
                if !self.healed && self.present.is_empty() {
                    self.heal();
                }
                let quiet = self.now > ended.max(self.quiet_since) + AFTERMATH_MS;
                if quiet && self.healed && !self.target.rolls_back() {
                    broken.extend(checkers::at_the_end(self));
                    return self.verdict(broken);
                }
            } else if self.now > HEAL_AT_MS + LIVENESS_MS {
                broken.extend(checkers::heals(self));
                return self.verdict(broken);
            }
            if !broken.is_empty() {
                self.verdict(broken)?;
            }
        }
        Ok(())
    }

    fn verdict(&self, mut what: Vec<String>) -> Result<(), Wrong> {
        let asked = |line: &String| match self.only {
            Some(only) => line.split(':').next() == Some(only),
            None => true,
        };
        what.retain(asked);
        match what.is_empty() {
            true => Ok(()),
            false => Err(Wrong { what, at: self.now }),
        }
    }

    fn happen(&mut self, event: Event) -> Vec<String> {
        match event {
            Event::Raft => return self.raft(),
            Event::Turn(node) => self.lead(node),
            Event::Leader(node) => {
                self.lead(node);
                self.at(100, Event::Leader(node));
            }
            Event::Proposed { node, id } => return self.proposed(node, id),
            Event::Process {
                worker,
                incarnation,
            } => self.process(worker, incarnation),
            Event::Step {
                worker,
                incarnation,
                lease,
            } => self.step_unit(worker, incarnation, lease),
            Event::Report {
                worker,
                node,
                message,
            } => self.deliver_report(worker, node, message),
            Event::Directives { message } => self.deliver_directives(message),
            Event::Gone { stream, node } => {
                let now = self.now;
                if self.cluster.nodes[node].runs() {
                    self.cluster.nodes[node].gone(stream, now);
                }
            }
            Event::Begin(at) => self.begin(at),
            Event::End { fault, hit } => {
                if !self.healed {
                    faults::end(self, self.planned[fault].fault, hit);
                    let fault = self.planned[fault].fault;
                    if let Some(at) = self.present.iter().position(|other| *other == fault) {
                        self.present.remove(at);
                    }
                    self.quiet_since = self.now;
                }
            }
            Event::Heal => self.heal(),
        }
        Vec::new()
    }

    fn raft(&mut self) -> Vec<String> {
        let chance = self.rng.next();
        let before = self.cluster.log.len();
        let mut broken = self.cluster.raft_tick(self.now, chance);
        if self.cluster.log.len() != before {
            broken.extend(self.changed());
        }
        if self.cluster.log.is_empty() && self.cluster.leader.is_some() {
            let command = Command::SubmitJob {
                uid: scene::uid(),
                spec: Box::new(scene::spec(self.following)),
            };
            broken.extend(self.append(vec![command]));
        }
        // As an operator would: a job that failed for a fault is resumed.
        let phase = self.cluster.state.jobs().next().map(|(_, job)| job.phase);
        if phase == Some(Phase::Failed) && self.rng.chance(30) {
            self.intent(self.wish());
        }
        if phase == Some(Phase::Following) && self.rng.chance(20) {
            self.complete();
        }
        self.at(100, Event::Raft);
        broken
    }

    fn append(&mut self, commands: Vec<Command>) -> Vec<String> {
        let at = self.cluster.leader.map_or(0, |leader| leader);
        let at = self.cluster.nodes[at].clock(self.now);
        let mut broken = self.cluster.append(Entry { at, commands });
        broken.extend(self.changed());
        broken
    }

    /// What the user wants in the end.
    fn wish(&self) -> Intent {
        match self.cancelled {
            true => Intent::Cancel,
            false => Intent::Run,
        }
    }

    /// The user's word, if anybody leads.
    pub fn intent(&mut self, intent: Intent) {
        let Some((job, _)) = self.cluster.state.jobs().next() else {
            return;
        };
        if self.cluster.leader.is_some() {
            drop(self.append(vec![Command::SetIntent { job, intent }]));
        }
    }

    /// The user lets a job that follows end.
    fn complete(&mut self) {
        let Some((job, _)) = self.cluster.state.jobs().next() else {
            return;
        };
        if self.cluster.leader.is_some() {
            drop(self.append(vec![Command::Complete { job }]));
        }
    }

    /// After a change of the state: faults whose moment has come, and the job's end.
    pub fn changed(&mut self) -> Vec<String> {
        let Some((_, job)) = self.cluster.state.jobs().next() else {
            return Vec::new();
        };
        if self.tables.len() != job.partitions().len() {
            let count = job.partitions().len() as u32;
            let table = |no| {
                job.table_of(common::id::PartitionNo(no))
                    .map_or(0, |table| table.0)
            };
            self.tables = (0..count).map(table).collect();
            let specs = (0..count).filter_map(|no| job.partition_spec(common::id::PartitionNo(no)));
            self.rows = specs.map(|spec| rows::of(&spec, self.bugs)).collect();
        }
        let ended = matches!(job.phase, Phase::Completed | Phase::Cancelled);
        if ended && self.ended_at.is_none() {
            self.ended_at = Some(self.now);
        }
        let moments = Moment::of(&self.cluster.state);
        let due: Vec<usize> = (0..self.planned.len())
            .filter(|at| !self.planned[*at].begun && moments.contains(&self.planned[*at].moment))
            .collect();
        for at in due {
            self.planned[at].begun = true;
            self.at(self.planned[at].after_ms, Event::Begin(at));
        }
        self.memory.take(&self.cluster.state);
        checkers::after_every_entry(self)
    }

    fn begin(&mut self, at: usize) {
        let Planned {
            fault, lasts_ms, ..
        } = self.planned[at];
        if self.healed {
            return;
        }
        let moments = Moment::of(&self.cluster.state);
        let Some(hit) = faults::begin(self, fault) else {
            return;
        };
        self.trace(|| format!("{} begins", fault.name()));
        self.coverage.hit(fault, &moments, &self.present);
        self.present.push(fault);
        self.at(lasts_ms, Event::End { fault: at, hit });
    }

    fn heal(&mut self) {
        self.healed = true;
        self.quiet_since = self.now;
        self.present.clear();
        self.links = Links::default();
        self.weather = vec![Weather::default(); self.processes.len()];
        self.source_up = true;
        self.target.full = false;
        self.target.rollback_factor = 1;
        self.cluster.cuts.clear();
        if !self.target.up {
            self.target.restart();
        }
        for node in &mut self.cluster.nodes {
            (node.up, node.paused, node.full) = (!node.gone, false, false);
            (node.disk_ms, node.offset_ms) = (4, 0);
        }
        for worker in 0..self.processes.len() {
            self.processes[worker].rate = 1_000;
            self.start_again(worker);
            self.resume_worker(worker);
        }
        self.intent(self.wish());
        self.complete();
    }
}
