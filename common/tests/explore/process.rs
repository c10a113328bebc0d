//! A worker process, as its runner sees it: which units there are, what they said. The difference
//! between wanted and running is the core's own `reconcile`.

use std::collections::{BTreeMap, BTreeSet};

use common::directive::{Directive, Order, reconcile};
use common::epoch::{Lease, Unit as UnitId};
use common::task::TaskKind;

use crate::control::{Life, Word, lease};
use crate::target::PARTITIONS;
use crate::unit::{Resolve, Said, Step, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub name: u8,
    pub incarnation: u8,
    pub up: bool,
    /// The highest term heard.
    pub term: u8,
    /// By lease.
    pub units: Vec<Unit>,
    /// The newest epoch of each unit (task?, number) that was taken away: such a lease is never
    /// begun again, for an earlier word of ours about it may still be on its way to a decision.
    taken_away: Vec<(bool, u8, u8)>,
}

impl Process {
    pub fn new(name: u8, incarnation: u8) -> Process {
        Process {
            name,
            incarnation,
            up: true,
            term: 0,
            units: Vec::new(),
            taken_away: Vec::new(),
        }
    }

    pub fn life(&self) -> Life {
        (self.name, self.incarnation)
    }

    pub fn words(&self) -> Vec<Word> {
        let word = |unit: &Unit| Word {
            is_task: unit.is_task,
            no: unit.no,
            epoch: unit.epoch,
            said: unit.said,
        };
        let said = self.units.iter().filter(|u| u.said != Said::Nothing);
        said.map(word).collect()
    }

    /// Takes in the wanted set, as the runner does.
    pub fn take(&mut self, wanted: &[Directive], remembers: bool) {
        let commits: BTreeSet<Lease> = wanted
            .iter()
            .filter(|directive| directive.order == Order::Commit)
            .map(|directive| directive.lease)
            .collect();
        let known = self.units.iter().filter(|unit| {
            let left = !unit.running && unit.said == Said::Prepared;
            !(left && commits.contains(&lease_of(unit)))
        });
        let known: BTreeMap<Lease, ()> = known.map(|unit| (lease_of(unit), ())).collect();
        let steps = reconcile(&known, wanted);
        for directive in &steps.start {
            self.units.retain(|unit| lease_of(unit) != directive.lease);
            let mut unit = unit_of(directive);
            let again = |taken: &(bool, u8, u8)| {
                (taken.0, taken.1) == (unit.is_task, unit.no) && taken.2 >= unit.epoch
            };
            let again = remembers && self.taken_away.iter().any(again);
            if again && directive.order != Order::Commit {
                (unit.running, unit.said) = (false, Said::Released);
            }
            self.units.push(unit);
        }
        for lease in steps.commit {
            if let Some(unit) = self.unit(lease).filter(|unit| unit.running) {
                unit.said = Said::Nothing;
                unit.commit = true;
            }
        }
        for lease in steps.stop {
            self.remember(lease);
            match self.unit(lease) {
                Some(unit) if unit.running => {
                    unit.wanted = false;
                    unit.away = true;
                }
                _ => self.units.retain(|unit| lease_of(unit) != lease),
            }
        }
        self.units.sort();
    }

    fn remember(&mut self, lease: Lease) {
        let (is_task, no) = unit_no(lease);
        let epoch = lease.epoch.0 as u8;
        let same = |taken: &&mut (bool, u8, u8)| (taken.0, taken.1) == (is_task, no);
        match self.taken_away.iter_mut().find(same) {
            Some(taken) => taken.2 = taken.2.max(epoch),
            None => self.taken_away.push((is_task, no, epoch)),
        }
        self.taken_away.sort();
    }

    fn unit(&mut self, lease: Lease) -> Option<&mut Unit> {
        self.units.iter_mut().find(|unit| lease_of(unit) == lease)
    }

    /// Keeps what came of a unit's step.
    pub fn stepped(&mut self, at: usize, step: Step) {
        let unit = &mut self.units[at];
        if step == Step::Goes {
            return;
        }
        if !unit.wanted {
            self.units.remove(at);
            return;
        }
        let said = match step {
            Step::Ended(said) => said,
            _ => unit.said,
        };
        // Nothing else of an ended unit matters any more.
        let (no, epoch, is_task) = (unit.no, unit.epoch, unit.is_task);
        *unit = Unit::copying(no, epoch, 0);
        unit.is_task = is_task;
        unit.running = false;
        unit.said = said;
    }
}

fn lease_of(unit: &Unit) -> Lease {
    lease(unit.is_task, unit.no, unit.epoch)
}

/// Whether it is a task, and its number.
fn unit_no(lease: Lease) -> (bool, u8) {
    match lease.unit {
        UnitId::Partition(no) => (false, no.0 as u8),
        UnitId::Task(no) => (true, no.0 as u8),
    }
}

fn unit_of(directive: &Directive) -> Unit {
    let epoch = directive.lease.epoch.0 as u8;
    let (_, no) = unit_no(directive.lease);
    match &directive.order {
        Order::Prepare { decided, .. } => {
            Unit::copying(no, epoch, decided.map_or(0, |decided| decided.0 as u8))
        }
        Order::Commit => Unit::finishing(no, epoch),
        Order::Run { task } => {
            let TaskKind::Resolve {
                units,
                drop_bookkeeping,
            } = task
            else {
                unreachable!("errands are answered by the control plane")
            };
            let mut resolve = [Resolve::default(); PARTITIONS];
            for unit in units {
                resolve[unit.partition.0 as usize] = Resolve {
                    fence: unit.fence.0 as u8,
                    decided: unit.decided.map_or(0, |decided| decided.0 as u8),
                };
            }
            Unit::resolving(no, epoch, resolve, *drop_bookkeeping)
        }
    }
}
