//! Where a job is, finer than its phase: the moments in which faults must have happened.

use common::epoch::Epoch;
use common::state::{Phase, Stage, State};

/// Where a job is, finer than its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    Checking,
    Planning,
    Creating,
    Copying,
    /// A transaction is prepared, undecided.
    Prepared,
    /// A decision is in the log, not carried out.
    Committing,
    /// A new owner ends what an older one left.
    Recovering,
    Indexing,
    Verifying,
    Ending,
}

impl Moment {
    pub const ALL: [Moment; 10] = [
        Moment::Checking,
        Moment::Planning,
        Moment::Creating,
        Moment::Copying,
        Moment::Prepared,
        Moment::Committing,
        Moment::Recovering,
        Moment::Indexing,
        Moment::Verifying,
        Moment::Ending,
    ];

    /// Over before anything happens a little later.
    pub fn is_short(self) -> bool {
        matches!(
            self,
            Moment::Planning | Moment::Prepared | Moment::Recovering
        )
    }

    /// Every moment the state is in now.
    pub fn of(state: &State) -> Vec<Moment> {
        let Some((_, job)) = state.jobs().next() else {
            return Vec::new();
        };
        if job.ending.is_some() {
            return vec![Moment::Ending];
        }
        let mut moments = Vec::new();
        match job.phase {
            Phase::Checking => moments.push(Moment::Checking),
            Phase::Planning => moments.push(Moment::Planning),
            Phase::Creating => moments.push(Moment::Creating),
            Phase::Copying => moments.push(Moment::Copying),
            Phase::Indexing => moments.push(Moment::Indexing),
            Phase::Verifying => moments.push(Moment::Verifying),
            _ => {}
        }
        for partition in job.partitions() {
            match partition.stage {
                Stage::Prepared { .. } => moments.push(Moment::Prepared),
                Stage::Committing { .. } => moments.push(Moment::Committing),
                Stage::Leased { .. } if partition.epoch > Epoch(1) => {
                    moments.push(Moment::Recovering);
                }
                _ => {}
            }
        }
        moments.sort_unstable();
        moments.dedup();
        moments
    }
}
