//! A model of a worker process: which units run, what they said, whom it reports to. The difference
//! between wanted and running is the core's own `reconcile`.

use std::collections::{BTreeMap, BTreeSet};

use common::directive::{Ack, Directive, Directives, Order, Outcome, Report, reconcile};
use common::epoch::{Epoch, Lease, Unit as UnitId};
use common::id::JobId;
use common::state::WorkerHello;

use crate::errand::Errand;
use crate::plant::{Bug, Bugs};
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
    /// It was never begun here.
    refused: bool,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub incarnation: u64,
    pub up: bool,
    pub paused: bool,
    /// Since when it is about to end: it takes nothing new.
    pub stopping: Option<u64>,
    /// The coordinator it talks to.
    pub attends: usize,
    pub term: u64,
    pub heard_at: u64,
    /// When each report was sent.
    sent: Vec<u64>,
    /// Until when no leader can have given its leases away.
    pub fresh_until: u64,
    pub self_stop_ms: u64,
    /// Its clock runs at `rate` thousandths of true time.
    pub rate: u64,
    pub units: BTreeMap<Lease, Running>,
    /// The newest epoch of each unit that was taken away: such a lease is never begun again, for
    /// an earlier word of ours about it may still be on its way to a decision.
    taken_away: BTreeMap<(JobId, UnitId), Epoch>,
    bugs: Bugs,
}

/// Shorter than the worker's own, as the units are.
const DRAIN_MS: u64 = 2_000;
const GOODBYE_MS: u64 = 500;

/// Units a worker runs at the same time.
pub const SLOTS: u32 = 2;

impl Process {
    pub fn new(name: String, incarnation: u64, attends: usize, now: u64, bugs: Bugs) -> Process {
        Process {
            bugs,
            name,
            incarnation,
            up: true,
            paused: false,
            stopping: None,
            attends,
            term: 0,
            heard_at: now,
            sent: Vec::new(),
            fresh_until: 0,
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
            slots: match self.bugs.has(Bug::MoreSlots) {
                true => SLOTS + 2,
                false => SLOTS,
            },
            version: "sim".to_owned(),
        }
    }

    pub fn report(&mut self, now: u64) -> Report {
        self.sent.push(now);
        let running = self.units.iter().filter(|(_, unit)| unit.running);
        let acks = self.units.iter().filter_map(|(lease, unit)| {
            Some(Ack {
                lease: *lease,
                outcome: unit.said.clone()?,
            })
        });
        let report = Report {
            hello: self.hello(),
            draining: self.stopping.is_some(),
            running: running.map(|(lease, _)| *lease).collect(),
            acks: acks.collect(),
            progress: Vec::new(),
            memory_bytes: 0,
            seq: self.sent.len() as u64,
        };
        if self.bugs.has(Bug::SaysOnce) {
            self.units.values_mut().for_each(|unit| unit.said = None);
        }
        report
    }

    /// Takes in the wanted set of a leader that isn't older than the last one.
    pub fn take(&mut self, directives: &Directives, now: u64, work_ms: impl Fn(&Lease) -> u64) {
        if directives.term < self.term && !self.bugs.has(Bug::OldTerms) {
            return;
        }
        self.term = directives.term;
        self.heard_at = now;
        self.self_stop_ms = directives.self_stop_ms;
        let commits: BTreeSet<Lease> = directives
            .wanted
            .iter()
            .filter(|directive| directive.order == Order::Commit)
            .map(|directive| directive.lease)
            .collect();
        let known = self.units.iter().filter(|(lease, unit)| {
            let left = matches!(unit.said, Some(Outcome::Prepared(_))) || unit.refused;
            !(left && !unit.running && commits.contains(lease))
        });
        let known: BTreeMap<Lease, ()> = known.map(|(lease, _)| (*lease, ())).collect();
        let steps = reconcile(&known, &directives.wanted);
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
        for directive in steps.start {
            let lease = directive.lease;
            let before = self.taken_away.get(&(lease.job, lease.unit));
            let over = before.is_some_and(|epoch| *epoch >= lease.epoch)
                && !self.bugs.has(Bug::BeginsAgain);
            let again = (over || self.stopping.is_some()) && directive.order != Order::Commit;
            let work = begin(&directive, now, &work_ms);
            let unit = Running {
                work,
                word: Word::default(),
                running: !again,
                wanted: true,
                said: again.then_some(Outcome::Released),
                stop_since: None,
                scheduled: false,
                refused: again,
            };
            self.units.insert(directive.lease, unit);
        }
        for lease in steps.commit {
            if let Some(unit) = self.units.get_mut(&lease).filter(|unit| unit.running) {
                unit.said = None;
                unit.word.commit = true;
            }
        }
        self.heard(directives);
    }

    /// A report that was taken in says until when its leases are its own.
    fn heard(&mut self, directives: &Directives) {
        let sent = directives.heard.checked_sub(1);
        if let Some(sent) = sent.and_then(|at| self.sent.get(at as usize)) {
            // Clocks of workers differ by a tenth at most, where leases are concerned.
            let keep = directives.keep_ms * 1_000 / self.rate.clamp(900, 1_100);
            self.fresh_until = self.fresh_until.max(sent + keep);
        }
    }

    /// Asked to end: what runs may go on for some time, then it is given back. True: nothing runs
    /// any more.
    pub fn stops(&mut self, now: u64) -> bool {
        let Some(since) = self.stopping else {
            return false;
        };
        for unit in self.units.values_mut().filter(|unit| unit.running) {
            if now > since + DRAIN_MS {
                unit.word.away = true;
                unit.stop_since.get_or_insert(now);
            }
        }
        now > since + GOODBYE_MS && self.units.values().all(|unit| !unit.running)
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
        (Order::Run { task }, _) => {
            Work::Errand(Errand::new(lease, task.clone(), work_ms(&lease), now))
        }
        (Order::Commit, UnitId::Task(_)) => unreachable!("tasks aren't committed"),
    }
}
