//! Names of things. Newtypes, so that a partition can't be passed where a worker is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, always handed in; the core reads no clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to `self`, 0 if the clock went backwards.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ms` milliseconds later.
    pub fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number_id!(
    /// A job of this cluster, numbered by the log in order of submission.
    JobId, u64, "job"
);
number_id!(
    /// A partition of a job: its place in `Job::partitions`.
    PartitionNo, u32, "p"
);
number_id!(
    /// A task of a job: its place in `Job::tasks`.
    TaskNo, u32, "t"
);
number_id!(
    /// One life of one worker process, minted by the log when it registers, never reused.
    WorkerId, u32, "w"
);
number_id!(
    /// A table of a job's plan: its place in `Plan::tables`.
    TableNo, u32, "table"
);

/// A job's name in the target's ledger, fence and transaction ids: 32 hex digits, random,
/// so that two clusters (or a state directory that was wiped) never share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobUid(pub String);

impl JobUid {
    /// Accepts 32 lower-case hex digits and nothing else: the text goes into SQL and XA ids.
    pub fn parse(text: &str) -> Option<JobUid> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| JobUid(text.to_owned()))
    }
}

impl fmt::Display for JobUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
