//! Which (fault, moment) cells the seeds reached: a cell nobody reached proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::faults::Fault;
use crate::moment::Moment;

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    seeds: u64,
    cells: BTreeMap<(Fault, Moment), u64>,
    /// Faults that were there at the same time.
    pairs: BTreeSet<(Fault, Fault)>,
}

impl Coverage {
    /// A fault begins in these moments, while others are there.
    pub fn hit(&mut self, fault: Fault, moments: &[Moment], others: &[Fault]) {
        self.seeds = 1;
        self.cells
            .extend(moments.iter().map(|moment| ((fault, *moment), 1)));
        let different = others.iter().filter(|other| **other != fault);
        self.pairs
            .extend(different.map(|other| (fault.min(*other), fault.max(*other))));
    }

    pub fn add(&mut self, other: &Coverage) {
        self.seeds += 1;
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
        self.pairs.extend(&other.pairs);
    }

    pub fn empty(&self) -> Vec<String> {
        let cells = Fault::ALL
            .iter()
            .flat_map(|fault| Moment::ALL.map(|moment| (*fault, moment)));
        cells
            .filter(|cell| !self.cells.contains_key(cell))
            .map(|(fault, moment)| format!("{} while {moment:?}", fault.name()))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("of {} seeds, % that reached it", self.seeds);
        write!(f, "{head:40}")?;
        for moment in Moment::ALL {
            write!(f, "{:>11}", format!("{moment:?}"))?;
        }
        for fault in Fault::ALL {
            write!(f, "\n{:40}", fault.name())?;
            for moment in Moment::ALL {
                let count = self.cells.get(&(*fault, moment)).copied().unwrap_or(0);
                let share = count as f64 * 100.0 / self.seeds.max(1) as f64;
                write!(f, "{share:>11.2}")?;
            }
        }
        let faults = Fault::ALL.len();
        let (pairs, all) = (self.pairs.len(), faults * (faults - 1) / 2);
        write!(f, "\n{pairs} of {all} pairs of faults at the same time")
    }
}
