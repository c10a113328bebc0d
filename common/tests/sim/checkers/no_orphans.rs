//! no_orphans: when a job has ended nothing of it is left in the target but its rows, and nothing
//! at the source.

use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for (txn, branch) in &world.target.branches {
        broken.push(format!(
            "no_orphans: {}/{} is left {:?}",
            txn.0, txn.1, branch.state
        ));
    }
    if world.target.books {
        broken.push("no_orphans: fence and ledger are left".to_owned());
    }
    if world.log.kept {
        broken.push("no_orphans: the source still keeps its log".to_owned());
    }
    if world.target.sessions() > 0 {
        broken.push(format!(
            "no_orphans: {} sessions are left",
            world.target.sessions()
        ));
    }
    broken
}
