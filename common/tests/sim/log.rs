//! A model of a source that keeps living: transactions come at a steady pace until some time after
//! faults have stopped, each changes one row of the second table.

/// The last transaction comes at this time.
const QUIET_AT_MS: u64 = 110_000;
const EVERY_MS: u64 = 700;

/// The log of the source's changes: transaction n is the n-th.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    /// It keeps what it logs for the job.
    pub kept: bool,
}

impl Log {
    pub fn end(now: u64) -> u64 {
        1 + now.min(QUIET_AT_MS) / EVERY_MS
    }
}

/// What a run's job does about changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    Off,
    PointInTime,
    Live,
}

impl Following {
    /// Half of the seeds copy only, as all did once.
    pub fn of(seed: u64) -> Following {
        match seed >> 3 & 3 {
            2 => Following::PointInTime,
            3 => Following::Live,
            _ => Following::Off,
        }
    }
}
