//! decision_stable: no transaction is both committed and rolled back after it was prepared, and
//! the log never decides one both ways.

use std::collections::BTreeMap;

use common::state::{Decision, EventKind};

use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for txn in &world.target.aborted {
        if world.target.commits.contains(txn) {
            broken.push(format!(
                "decision_stable: {}/{} was rolled back and committed",
                txn.0, txn.1
            ));
        }
    }
    let mut decided = BTreeMap::new();
    for event in world.cluster.state.events_after(0) {
        if let EventKind::Decided {
            partition,
            epoch,
            decision,
        } = event.kind
        {
            let before = decided.insert((partition, epoch), decision);
            if before.is_some_and(|before| before != decision) {
                broken.push(format!(
                    "decision_stable: {partition}/{epoch} was decided both ways"
                ));
            }
            let rolled_back = world.target.aborted.contains(&(partition, epoch));
            if decision == Decision::Commit
                && rolled_back
                && world.target.dialect != crate::target::Dialect::Held
            {
                broken.push(format!(
                    "decision_stable: {partition}/{epoch} was decided Commit and rolled back"
                ));
            }
        }
    }
    broken
}
