//! Where a job is, finer than its phase: the moments in which faults must have happened.

use common::epoch::Epoch;
use common::state::{Phase, Stage, State, Task, TaskStage};
use common::task::TaskKind;

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
    /// Changes of the source are applied.
    Following,
    Verifying,
    Ending,
}

impl Moment {
    pub const ALL: [Moment; 11] = [
        Moment::Checking,
        Moment::Planning,
        Moment::Creating,
        Moment::Copying,
        Moment::Prepared,
        Moment::Committing,
        Moment::Recovering,
        Moment::Indexing,
        Moment::Following,
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
        let follows = |task: &Task| {
            let open = !matches!(task.stage, TaskStage::Done | TaskStage::Dropped);
            open && matches!(task.kind, TaskKind::Follow { .. })
        };
        if job.tasks().any(|(_, task)| follows(task)) {
            moments.push(Moment::Following);
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
