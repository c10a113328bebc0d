//! Which (fault, moment) cells the seeds reached: a cell nobody reached proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::{Fault, Moment};

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    cells: BTreeMap<(Fault, Moment), u64>,
}

impl Coverage {
    pub fn hit(&mut self, fault: Fault, moment: Moment) {
        *self.cells.entry((fault, moment)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
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
        write!(f, "{:42}", "seeds that reached it")?;
        for moment in Moment::ALL {
            write!(f, "{:>11}", format!("{moment:?}"))?;
        }
        for fault in Fault::ALL {
            write!(f, "\n{:42}", fault.name())?;
            for moment in Moment::ALL {
                let count = self.cells.get(&(*fault, moment)).copied().unwrap_or(0);
                write!(f, "{count:>11}")?;
            }
        }
        Ok(())
    }
}
