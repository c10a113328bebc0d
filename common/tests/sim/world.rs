//! One run: a job, a cluster, workers, a target, and a seed that decides everything else. First
//! faults happen and every step is checked; then they stop, and the job must end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use common::directive::{Directives, Report};
use common::epoch::Lease;
use common::state::{Command, Entry, Intent, Phase, State};

use crate::checkers;
use crate::cluster::{Cluster, NODES};
use crate::coverage::Coverage;
use crate::faults::{self, Fault, Moment};
use crate::plant::Bug;
use crate::process::{Process, Work};
use crate::rng::Rng;
use crate::scene;
use crate::target::{Dialect, Target};
use crate::unit::{Step, failed};
use crate::wire::{Weather, Wire};

/// Faults stop at this time at the latest, and the job has this long to end after it.
const HEAL_AT_MS: u64 = 90_000;
const LIVENESS_MS: u64 = 400_000;
/// Zombies have this long to wake up after the job's end.
const AFTERMATH_MS: u64 = 30_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Raft,
    Leader(usize),
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
        worker: usize,
        message: u64,
    },
    Gone {
        worker: usize,
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
    lasts_ms: u64,
    begun: bool,
}

pub struct World {
    pub bug: Option<Bug>,
    pub now: u64,
    pub rng: Rng,
    pub cluster: Cluster,
    pub processes: Vec<Process>,
    pub target: Target,
    pub weather: Vec<Weather>,
    pub links: Links,
    pub source_up: bool,
    pub healed: bool,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    planned: Vec<Planned>,
    reports: Vec<(Report, u64)>,
    directives: Vec<(Directives, u64)>,
    deferred: Vec<(usize, Event)>,
    /// Table of each partition, once planned.
    pub tables: Vec<u32>,
    pub steps: u64,
    ended_at: Option<u64>,
    pub coverage: Coverage,
    traced: bool,
}

/// Why a run is not right, with what repeats it.
#[derive(Debug)]
pub struct Wrong {
    pub what: Vec<String>,
    pub at: u64,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> World {
        let mut rng = Rng::new(seed);
        let dialect = match rng.below(3) {
            0 => Dialect::Mariadb,
            1 => Dialect::Mysql,
            _ => Dialect::Held,
        };
        let workers = rng.between(1, 4) as usize;
        let faults = rng.between(1, 4);
        let planned = (0..faults).map(|_| {
            let fault = *rng.pick(Fault::ALL).expect("there are some");
            let moment = *rng.pick(&Moment::ALL).expect("there are some");
            let lasts_ms = rng.between(200, 18_000);
            Planned {
                fault,
                moment,
                lasts_ms,
                begun: false,
            }
        });
        let planned: Vec<Planned> = planned.collect();
        let processes = (0..workers)
            .map(|at| Process::new(format!("w{at}"), at as u64 + 1, at % NODES, 0))
            .collect();
        let mut world = World {
            bug,
            now: 0,
            rng,
            cluster: Cluster::new(seed),
            processes,
            target: Target::new(dialect, bug),
            weather: vec![Weather::default(); workers],
            links: Links::default(),
            source_up: true,
            healed: false,
            events: BinaryHeap::new(),
            order: 0,
            planned,
            reports: Vec::new(),
            directives: Vec::new(),
            deferred: Vec::new(),
            tables: Vec::new(),
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

    fn at(&mut self, ms: u64, event: Event) {
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
            broken.extend(checkers::at_every_step(self));
            if let Some(ended) = self.ended_at {
                if self.now > ended + AFTERMATH_MS && self.healed {
                    broken.extend(checkers::at_the_end(self));
                    return self.verdict(broken);
                }
            } else if self.now > HEAL_AT_MS + LIVENESS_MS {
                broken.extend(checkers::heals(self));
            }
            if !broken.is_empty() {
                return self.verdict(broken);
            }
        }
        Ok(())
    }

    fn verdict(&self, what: Vec<String>) -> Result<(), Wrong> {
        match what.is_empty() {
            true => Ok(()),
            false => Err(Wrong { what, at: self.now }),
        }
    }

    fn happen(&mut self, event: Event) -> Vec<String> {
        match event {
            Event::Raft => return self.raft(),
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
            Event::Directives { worker, message } => self.deliver_directives(worker, message),
            Event::Gone { worker, node } => {
                let now = self.now;
                if self.cluster.nodes[node].runs() {
                    self.cluster.nodes[node].gone(worker, now);
                }
            }
            Event::Begin(at) => self.begin(at),
            Event::End { fault, hit } => {
                if !self.healed {
                    faults::end(self, self.planned[fault].fault, hit);
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
                spec: scene::spec(),
            };
            broken.extend(self.append(vec![command]));
        }
        // As an operator would: a job that failed for a fault is resumed.
        let phase = self.cluster.state.jobs().next().map(|(_, job)| job.phase);
        if phase == Some(Phase::Failed) && self.rng.chance(30) {
            self.intent(Intent::Run);
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

    /// The user's word, if anybody leads.
    pub fn intent(&mut self, intent: Intent) {
        let Some((job, _)) = self.cluster.state.jobs().next() else {
            return;
        };
        if self.cluster.leader.is_some() {
            drop(self.append(vec![Command::SetIntent { job, intent }]));
        }
    }

    /// After a change of the state: faults whose moment has come, and the job's end.
    fn changed(&mut self) -> Vec<String> {
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
        }
        if job.phase == Phase::Completed && self.ended_at.is_none() {
            self.ended_at = Some(self.now);
        }
        let moments = Moment::of(&self.cluster.state);
        let due: Vec<usize> = (0..self.planned.len())
            .filter(|at| !self.planned[*at].begun && moments.contains(&self.planned[*at].moment))
            .collect();
        for at in due {
            self.planned[at].begun = true;
            let moment = self.planned[at].moment;
            let soon = match moment {
                Moment::Planning | Moment::Prepared => 0,
                _ => self.rng.below(40),
            };
            self.at(soon, Event::Begin(at));
        }
        checkers::after_every_entry(self)
    }

    fn begin(&mut self, at: usize) {
        if self.healed {
            return;
        }
        let Planned {
            fault,
            moment,
            lasts_ms,
            ..
        } = self.planned[at];
        self.coverage.hit(fault, moment);
        let hit = faults::begin(self, fault);
        self.at(lasts_ms, Event::End { fault: at, hit });
    }

    fn heal(&mut self) {
        self.healed = true;
        self.links = Links::default();
        self.weather = vec![Weather::default(); self.processes.len()];
        self.source_up = true;
        self.target.full = false;
        if !self.target.up {
            self.target.restart();
        }
        for node in &mut self.cluster.nodes {
            (node.up, node.paused, node.alone, node.full) = (true, false, false, false);
            (node.disk_ms, node.offset_ms) = (4, 0);
        }
        for worker in 0..self.processes.len() {
            self.processes[worker].rate = 1_000;
            if !self.processes[worker].up {
                self.start_worker(worker);
            }
            self.resume_worker(worker);
        }
        self.intent(Intent::Run);
    }

    fn lead(&mut self, node: usize) {
        if let Some(id) = self.cluster.derive(node, self.now) {
            if self.bug == Some(Bug::DecisionNotLogged) {
                self.tell_ahead(node);
            }
            let disk = self.cluster.nodes[node].disk_ms;
            let late = disk + self.rng.below(disk + 1);
            self.at(late, Event::Proposed { node, id });
        }
        self.push(node, None);
    }

    fn tell_ahead(&mut self, node: usize) {
        let mut ahead: State = self.cluster.state.clone();
        let at = self.cluster.nodes[node].clock(self.now);
        let commands = self.cluster.nodes[node]
            .proposing
            .as_ref()
            .map(|p| p.commands.clone());
        ahead.apply_entry(Entry {
            at,
            commands: commands.unwrap_or_default(),
        });
        self.push(node, Some(ahead));
    }

    fn push(&mut self, node: usize, ahead: Option<State>) {
        for (worker, directives, echo) in self.cluster.push(node, self.now, ahead.as_ref()) {
            if self.processes[worker].attends != node || self.links.directives_cut.contains(&worker)
            {
                continue;
            }
            self.directives.push((directives, echo));
            let message = self.directives.len() as u64 - 1;
            for late in self.deliveries() {
                self.at(late, Event::Directives { worker, message });
            }
        }
    }

    /// When a message arrives: never, once, or more than once.
    fn deliveries(&mut self) -> Vec<u64> {
        if self.rng.chance(self.links.lost) {
            return Vec::new();
        }
        let late = self.links.late_ms;
        let mut deliveries = vec![1 + self.rng.below(3 + late)];
        if self.rng.chance(self.links.doubled) {
            deliveries.push(1 + self.rng.below(300 + late));
        }
        deliveries
    }

    fn proposed(&mut self, node: usize, id: u64) -> Vec<String> {
        let is_leader = self.cluster.leader == Some(node);
        let (connected, full) = {
            let node = &self.cluster.nodes[node];
            (node.runs() && !node.alone, node.full)
        };
        let held = &mut self.cluster.nodes[node];
        if held
            .proposing
            .as_ref()
            .is_none_or(|proposal| proposal.id != id)
        {
            return Vec::new();
        }
        if full {
            held.proposing = None;
            return Vec::new();
        }
        if !connected || !self.cluster.has_quorum() {
            if self.cluster.nodes[node].up {
                self.at(100, Event::Proposed { node, id });
            }
            return Vec::new();
        }
        let proposal = self.cluster.nodes[node]
            .proposing
            .take()
            .expect("looked at above");
        if !is_leader {
            self.cluster.nodes[node].forget_term();
            return Vec::new();
        }
        self.trace(|| format!("log {:?}", proposal.commands));
        let at = self.cluster.nodes[node].clock(self.now);
        let mut broken = self.cluster.append(Entry {
            at,
            commands: proposal.commands,
        });
        broken.extend(self.changed());
        self.push(node, None);
        self.at(1, Event::Leader(node));
        // The extra turn isn't a second ticking: it replaces the next one's wait.
        self.drop_extra_turns(node);
        broken
    }

    /// At most two turns of a leader wait in the queue.
    fn drop_extra_turns(&mut self, node: usize) {
        let waiting = self
            .events
            .iter()
            .filter(|event| event.0.2 == Event::Leader(node))
            .count();
        if waiting > 2 {
            let mut dropped = false;
            self.events.retain(|event| {
                let extra =
                    !dropped && event.0.2 == Event::Leader(node) && event.0.0 > self.now + 1;
                dropped |= extra;
                !extra
            });
        }
    }

    fn process(&mut self, worker: usize, incarnation: u64) {
        let now = self.now;
        let process = &mut self.processes[worker];
        if !process.up || process.incarnation != incarnation {
            return;
        }
        if !process.paused {
            process.stop_alone(now);
            if now > process.heard_at + 2_000 + self.rng.below(700) {
                process.attends = (process.attends + 1) % NODES;
                process.heard_at = process.heard_at.max(now.saturating_sub(1_500));
            }
            self.say(worker);
            self.schedule_units(worker);
        }
        self.at(
            250,
            Event::Process {
                worker,
                incarnation,
            },
        );
    }

    fn say(&mut self, worker: usize) {
        let process = &self.processes[worker];
        if self.links.reports_cut.contains(&worker) {
            return;
        }
        let node = process.attends;
        self.reports.push((process.report(), self.now));
        let message = self.reports.len() as u64 - 1;
        for late in self.deliveries() {
            self.at(
                late,
                Event::Report {
                    worker,
                    node,
                    message,
                },
            );
        }
    }

    fn deliver_report(&mut self, worker: usize, node: usize, message: u64) {
        let (report, sent_at) = self.reports[message as usize].clone();
        if !self.cluster.nodes[node].runs() {
            return;
        }
        self.cluster.nodes[node].hear(worker, report, sent_at);
        self.lead(node);
    }

    fn deliver_directives(&mut self, worker: usize, message: u64) {
        if !self.processes[worker].up {
            return;
        }
        if self.processes[worker].paused {
            self.deferred
                .push((worker, Event::Directives { worker, message }));
            return;
        }
        let (directives, echo) = self.directives[message as usize].clone();
        let work = self.rng.between(50, 600);
        let now = self.now;
        self.processes[worker].take(&directives, echo, now, |_| work);
        self.schedule_units(worker);
    }

    /// Gives every unit that runs and waits for nothing its next step.
    fn schedule_units(&mut self, worker: usize) {
        let incarnation = self.processes[worker].incarnation;
        let mut due = Vec::new();
        for (lease, unit) in &mut self.processes[worker].units {
            if unit.running && !unit.scheduled {
                unit.scheduled = true;
                due.push(*lease);
            }
        }
        for lease in due {
            let soon = 1 + self.rng.below(3);
            self.at(
                soon,
                Event::Step {
                    worker,
                    incarnation,
                    lease,
                },
            );
        }
    }

    fn step_unit(&mut self, worker: usize, incarnation: u64, lease: Lease) {
        if self.processes[worker].incarnation != incarnation || !self.processes[worker].up {
            return;
        }
        if self.processes[worker].paused {
            self.deferred.push((
                worker,
                Event::Step {
                    worker,
                    incarnation,
                    lease,
                },
            ));
            return;
        }
        let heard_at = self.processes[worker].fresh_at;
        let Some(unit) = self.processes[worker].units.get_mut(&lease) else {
            return;
        };
        unit.scheduled = false;
        if !unit.running {
            return;
        }
        let mut wire = Wire {
            target: &mut self.target,
            rng: &mut self.rng,
            weather: self.weather[worker],
            now: self.now,
        };
        let silent = self.now > heard_at + self.cluster.limits.lease_ms;
        let overdue = unit
            .stop_since
            .is_some_and(|since| self.now > since + common::limits::UNIT_STOP_MS);
        let step = match &mut unit.work {
            _ if overdue => Step::Ended(crate::unit::Ended::Said(failed(
                common::code::ErrorClass::Transient,
            ))),
            Work::Copy(copy) => {
                let reading = self.source_up || !wire.rng.chance(200);
                match reading {
                    true => copy.step(&mut wire, unit.word),
                    false => Step::In(200),
                }
            }
            // What a worker was told long ago it doesn't begin to do: the fence that would stop it may
            // be gone with the job.
            Work::Errand(_) if silent => Step::Ended(crate::unit::Ended::Said(failed(
                common::code::ErrorClass::Fenced,
            ))),
            Work::Errand(errand) => {
                errand.step(&mut wire, unit.word.away, &self.tables, self.source_up)
            }
        };
        self.after_step(worker, incarnation, lease, step);
    }

    /// One line of a run, when it is repeated with TRACE=1.
    fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            println!("{:>7} {}", self.now, line());
        }
    }

    fn after_step(&mut self, worker: usize, incarnation: u64, lease: Lease, step: Step) {
        self.trace(|| format!("w{worker} {lease} {step:?}"));
        match step {
            Step::In(ms) => {
                if let Some(unit) = self.processes[worker].units.get_mut(&lease) {
                    unit.scheduled = true;
                }
                self.at(
                    ms.max(1),
                    Event::Step {
                        worker,
                        incarnation,
                        lease,
                    },
                );
            }
            Step::Prepared => {
                let common::epoch::Unit::Partition(no) = lease.unit else {
                    return;
                };
                if let Some(unit) = self.processes[worker].units.get_mut(&lease) {
                    unit.said = Some(common::directive::Outcome::Prepared(crate::errand::loaded(
                        no,
                    )));
                    unit.scheduled = true;
                }
                self.at(
                    1,
                    Event::Step {
                        worker,
                        incarnation,
                        lease,
                    },
                );
                self.say(worker);
            }
            // It looks at its word again with the next report.
            Step::Waits => {}
            Step::Ended(ended) => {
                // Whatever it still held open ends with it.
                self.cut_connections(worker, lease);
                self.processes[worker].ended(lease, ended);
                self.say(worker);
            }
        }
    }

    fn cut_connections(&mut self, worker: usize, lease: Lease) {
        let session = self.processes[worker]
            .units
            .get(&lease)
            .and_then(|unit| match &unit.work {
                Work::Copy(copy) => copy.session(),
                Work::Errand(errand) => errand.session(),
            });
        if let Some(session) = session {
            self.target.end_session(session);
        }
    }

    pub fn kill_worker(&mut self, worker: usize) {
        let leases: Vec<Lease> = self.processes[worker].units.keys().copied().collect();
        for lease in leases {
            let late = self.weather[worker].half_open_ms;
            let session =
                self.processes[worker]
                    .units
                    .get(&lease)
                    .and_then(|unit| match &unit.work {
                        Work::Copy(copy) => copy.session(),
                        Work::Errand(errand) => errand.session(),
                    });
            match (session, late) {
                (Some(session), 0) => self.target.end_session(session),
                (Some(session), late) => self.target.doomed.push((self.now + late, session)),
                _ => {}
            }
        }
        let process = &mut self.processes[worker];
        process.up = false;
        process.paused = false;
        process.units.clear();
        let node = process.attends;
        if !self.links.reports_cut.contains(&worker) {
            self.at(3, Event::Gone { worker, node });
        }
    }

    pub fn start_worker(&mut self, worker: usize) {
        if self.processes[worker].up {
            return;
        }
        let incarnation = self.rng.next();
        let name = self.processes[worker].name.clone();
        let attends = self.rng.below(NODES as u64) as usize;
        self.processes[worker] = Process::new(name, incarnation, attends, self.now);
        self.at(
            5,
            Event::Process {
                worker,
                incarnation,
            },
        );
    }

    pub fn resume_worker(&mut self, worker: usize) {
        self.processes[worker].paused = false;
        let (mine, others) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|(of, _)| *of == worker);
        self.deferred = others;
        let mine: Vec<(usize, Event)> = mine;
        for (_, event) in mine {
            self.at(1, event);
        }
    }

    pub fn add_worker(&mut self) {
        let worker = self.processes.len();
        if worker >= 6 {
            return;
        }
        let incarnation = self.rng.next();
        self.processes
            .push(Process::new(format!("w{worker}"), incarnation, 0, self.now));
        self.weather.push(Weather::default());
        self.at(
            5,
            Event::Process {
                worker,
                incarnation,
            },
        );
    }

    pub fn kill_node(&mut self, node: usize) {
        let held = &mut self.cluster.nodes[node];
        held.up = false;
        // What it had proposed may be in the log: the election decides.
        let proposing = held.proposing.take();
        held.forget_term();
        held.proposing = proposing;
    }

    /// The state as a new member gets it: a snapshot, read back.
    pub fn restore_from_snapshot(&mut self) {
        let bytes = serde_json::to_vec(&self.cluster.state).expect("a state can be written");
        let mut restored: State = serde_json::from_slice(&bytes).expect("and read");
        restored.reindex();
        assert!(
            restored == self.cluster.state,
            "a snapshot gives another state"
        );
        self.cluster.state = restored;
    }
}
