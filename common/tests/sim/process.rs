//! A model of a worker process: which units run, what they said, whom it reports to. The difference
//! between wanted and running is the core's own `reconcile`.

use std::collections::{BTreeMap, BTreeSet};

use common::directive::{Ack, Directive, Directives, Order, Outcome, Report, reconcile};
use common::epoch::{Epoch, Lease, Unit as UnitId};
use common::id::JobId;
use common::state::WorkerHello;

use crate::errand::Errand;
use crate::scene;
use crate::unit::{Copy, Ended, Word};

/// The work of a unit.
#[derive(Clone, Debug)]
pub enum Work {
    Copy(Copy),
    Errand(Errand),
}

#[derive(Clone, Debug)]
pub struct Running {
    pub work: Work,
    pub word: Word,
    pub running: bool,
    pub wanted: bool,
    pub said: Option<Outcome>,
    /// Told to stop at that time.
    pub stop_since: Option<u64>,
    /// A step is in the event queue.
    pub scheduled: bool,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub incarnation: u64,
    pub up: bool,
    pub paused: bool,
    /// The coordinator it talks to.
    pub attends: usize,
    pub term: u64,
    pub heard_at: u64,
    /// When the newest report was sent that a leader has answered.
    pub fresh_at: u64,
    pub self_stop_ms: u64,
    /// Its clock runs at `rate` thousandths of true time.
    pub rate: u64,
    pub units: BTreeMap<Lease, Running>,
    /// The newest epoch of each unit that was taken away: such a lease is never begun again, for
    /// an earlier word of ours about it may still be on its way to a decision.
    taken_away: BTreeMap<(JobId, UnitId), Epoch>,
}

impl Process {
    pub fn new(name: String, incarnation: u64, attends: usize, now: u64) -> Process {
        Process {
            name,
            incarnation,
            up: true,
            paused: false,
            attends,
            term: 0,
            heard_at: now,
            fresh_at: now,
            self_stop_ms: 15_000,
            rate: 1_000,
            units: BTreeMap::new(),
            taken_away: BTreeMap::new(),
        }
    }

    pub fn hello(&self) -> WorkerHello {
        WorkerHello {
            name: self.name.clone(),
            incarnation: self.incarnation,
            slots: 2,
            version: "sim".to_owned(),
        }
    }

    pub fn report(&self) -> Report {
        let running = self.units.iter().filter(|(_, unit)| unit.running);
        let acks = self.units.iter().filter_map(|(lease, unit)| {
            Some(Ack {
                lease: *lease,
                outcome: unit.said.clone()?,
            })
        });
        Report {
            hello: self.hello(),
            draining: false,
            running: running.map(|(lease, _)| *lease).collect(),
            acks: acks.collect(),
            progress: Vec::new(),
            memory_bytes: 0,
            seq: 0,
        }
    }

    /// Takes in the wanted set of a leader that isn't older than the last one.
    pub fn take(
        &mut self,
        directives: &Directives,
        echo: u64,
        now: u64,
        work_ms: impl Fn(&Lease) -> u64,
    ) {
        if directives.term < self.term {
            return;
        }
        self.term = directives.term;
        self.heard_at = now;
        self.fresh_at = self.fresh_at.max(echo);
        self.self_stop_ms = directives.self_stop_ms;
        let commits: BTreeSet<Lease> = directives
            .wanted
            .iter()
            .filter(|directive| directive.order == Order::Commit)
            .map(|directive| directive.lease)
            .collect();
        let known = self.units.iter().filter(|(lease, unit)| {
            let left = !unit.running && matches!(unit.said, Some(Outcome::Prepared(_)));
            !(left && commits.contains(lease))
        });
        let known: BTreeMap<Lease, ()> = known.map(|(lease, _)| (*lease, ())).collect();
        let steps = reconcile(&known, &directives.wanted);
        for directive in steps.start {
            let lease = directive.lease;
            let before = self.taken_away.get(&(lease.job, lease.unit));
            let again = before.is_some_and(|epoch| *epoch >= lease.epoch)
                && directive.order != Order::Commit;
            let work = begin(&directive, now, &work_ms);
            let unit = Running {
                work,
                word: Word::default(),
                running: !again,
                wanted: true,
                said: again.then_some(Outcome::Released),
                stop_since: None,
                scheduled: false,
            };
            self.units.insert(directive.lease, unit);
        }
        for lease in steps.commit {
            if let Some(unit) = self.units.get_mut(&lease).filter(|unit| unit.running) {
                unit.said = None;
                unit.word.commit = true;
            }
        }
        for lease in steps.stop {
            let newest = self.taken_away.entry((lease.job, lease.unit)).or_default();
            *newest = lease.epoch.max(*newest);
            match self.units.get_mut(&lease) {
                Some(unit) if unit.running => {
                    unit.wanted = false;
                    unit.word.away = true;
                    unit.stop_since.get_or_insert(now);
                }
                _ => drop(self.units.remove(&lease)),
            }
        }
    }

    /// No leader was heard for too long.
    pub fn stop_alone(&mut self, now: u64) {
        let silent = now.saturating_sub(self.heard_at) * self.rate / 1_000;
        if silent < self.self_stop_ms {
            return;
        }
        for unit in self.units.values_mut().filter(|unit| unit.running) {
            unit.word.away = true;
            unit.stop_since.get_or_insert(now);
        }
    }

    pub fn ended(&mut self, lease: Lease, ended: Ended) {
        let Some(unit) = self.units.get_mut(&lease) else {
            return;
        };
        if !unit.wanted {
            self.units.remove(&lease);
            return;
        }
        unit.running = false;
        if let Ended::Said(outcome) = ended {
            unit.said = Some(outcome);
        }
    }
}

fn begin(directive: &Directive, now: u64, work_ms: impl Fn(&Lease) -> u64) -> Work {
    let lease = directive.lease;
    match (&directive.order, lease.unit) {
        (Order::Prepare { spec, decided }, _) => {
            let no = spec.partition;
            Work::Copy(Copy::new(
                no,
                lease.epoch,
                *decided,
                scene::batches(no),
                now,
            ))
        }
        (Order::Commit, UnitId::Partition(no)) => Work::Copy(Copy::finishing(no, lease.epoch, now)),
        (Order::Run { task }, _) => Work::Errand(Errand::new(task.clone(), work_ms(&lease), now)),
        (Order::Commit, UnitId::Task(_)) => unreachable!("tasks aren't committed"),
    }
}
