//! no_commit_without_decision: what is committed in the target was decided in the log before.

use common::state::{Decision, EventKind, Stage};

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let (no, epoch) = *world.target.commits.last()?;
    let (_, job) = world.cluster.state.jobs().next()?;
    let decided = match &job.partition(no)?.stage {
        Stage::Committed { txn, .. } => *txn == epoch,
        Stage::Committing { decided, .. } => decided.txn == epoch,
        Stage::Leased { decided, .. } => decided.is_some_and(|decided| decided.txn == epoch),
        Stage::Waiting | Stage::Prepared { .. } => false,
    };
    // A job that ended may have put the decision aside: then the journal has it.
    let journal = || {
        world.cluster.state.events_after(0).any(|event| {
            matches!(&event.kind, EventKind::Decided { partition, epoch: of, decision: Decision::Commit }
                if *partition == no && *of == epoch)
        })
    };
    (!decided && !journal())
        .then(|| format!("no_commit_without_decision: {no}/{epoch} is committed"))
}
