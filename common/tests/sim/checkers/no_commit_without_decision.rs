//! no_commit_without_decision: what is committed in the target was decided in the log before.

use crate::target::Txn;
use crate::world::World;

pub fn commits(world: &World, new: &[Txn]) -> Vec<String> {
    let undecided = new.iter().filter(|txn| !world.memory.is_commit(**txn));
    undecided
        .map(|(no, epoch)| format!("no_commit_without_decision: {no}/{epoch} is committed"))
        .collect()
}
