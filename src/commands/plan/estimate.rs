//! How long a job may take: a guess, and said to be one.

use std::time::Duration;

use common::plan::Plan;

use crate::output;

/// Bytes that were moved in a second, everything included (reading, loading, indexes, reading back), on
/// machines of two cores that ran both databases as well; the range covers wide and narrow rows.
const SLOW_BYTES: f64 = 5e6;
const FAST_BYTES: f64 = 40e6;
/// Connecting, creating, looking at both ends; each table costs a few statements more.
const START_SECONDS: f64 = 0.5;
const TABLE_SECONDS: f64 = 0.02;

/// The guess.
pub struct Estimate {
    pub rows: u64,
    pub bytes: u64,
    pub partitions: u32,
    pub fastest: Duration,
    pub slowest: Duration,
}

impl Estimate {
    pub fn of(plan: &Plan) -> Estimate {
        let tables = plan.tables.iter();
        let bytes = tables.map(|table| table.source.bytes_estimate).sum();
        let fixed = START_SECONDS + TABLE_SECONDS * plan.tables.len() as f64;
        let at = |rate: f64| Duration::from_secs_f64(fixed + bytes as f64 / rate);
        Estimate {
            rows: { plan.tables.iter() }
                .map(|table| table.source.rows_estimate)
                .sum(),
            bytes,
            partitions: plan.partitions().len() as u32,
            fastest: at(FAST_BYTES),
            slowest: at(SLOW_BYTES),
        }
    }

    /// What the guess rests on.
    pub fn assumption() -> String {
        format!(
            "a guess: between {} and {} a second, as measured on machines with two cores that ran both \
             databases too; by the source's own estimate of its size",
            output::bytes(SLOW_BYTES as u64),
            output::bytes(FAST_BYTES as u64),
        )
    }
}
