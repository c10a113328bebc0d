//! The rows of the source by key, and which of them a worker reads for a partition: the core's own
//! ranges, half-open.

use common::plan::PartitionSpec;
use common::schema::{KeyBound, KeyRange};

use crate::plant::{Bug, Bugs};

/// Rows of each table; keys are 0, 1, 2, …
pub const ROWS: [u32; 2] = [120, 7];

pub fn of(spec: &PartitionSpec, bugs: Bugs) -> Vec<u32> {
    let keys = 0..ROWS[spec.table.0 as usize];
    match spec.ranges.is_empty() {
        true => keys.collect(),
        false => keys
            .filter(|key| spec.ranges.iter().any(|range| holds(range, *key, bugs)))
            .collect(),
    }
}

fn holds(range: &KeyRange, key: u32, bugs: Bugs) -> bool {
    let bound = |bound: &KeyBound| bound.0[0].parse::<u32>().expect("bounds are numbers");
    let after = range.from.as_ref().is_none_or(|from| {
        let from = bound(from);
        key > from || (key == from && !bugs.has(Bug::OpenRanges))
    });
    let before = range.until.as_ref().is_none_or(|until| {
        let until = bound(until);
        key < until || (key == until && bugs.has(Bug::ClosedRanges))
    });
    after && before
}
