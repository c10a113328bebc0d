//! How long a job may take: a guess, and said to be one.

use std::time::Duration;

use common::plan::Plan;

use crate::output;

/// Bytes moved in a second, everything included (reading, loading, indexes, reading back), on a busy
/// machine of two cores that ran both databases too: 44 bytes a row from MariaDB to MariaDB, and 4 kB a
/// row from SQLite to SQLite (release build, 22 November 2026).
const SLOW_BYTES: f64 = 3e6;
const FAST_BYTES: f64 = 50e6;
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
            "a guess: {} to {} a second, as measured with narrow and with wide rows on two cores that \
             ran both databases too; the size is the source's estimate",
            output::bytes(SLOW_BYTES as u64),
            output::bytes(FAST_BYTES as u64),
        )
    }
}
