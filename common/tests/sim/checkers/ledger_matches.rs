//! ledger_matches: what the state calls committed is in the target, and a ledger row is there
//! exactly where its rows are, as long as the job keeps its books.

use common::id::PartitionNo;
use common::state::Stage;

use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    let Some((_, job)) = world.cluster.state.jobs().next() else {
        return broken;
    };
    for (no, partition) in (0u32..).map(PartitionNo).zip(job.partitions()) {
        let there = world.target.data.get(&no).and_then(|loads| loads.first());
        if let Stage::Committed { txn, .. } = &partition.stage
            && there.map(|load| load.0) != Some(*txn)
        {
            broken.push(format!(
                "ledger_matches: {no} is committed by {txn} in the log, {there:?} in the target"
            ));
        }
        let row = world.target.ledger.get(&no);
        if world.target.books && row != there.map(|load| &load.0) {
            broken.push(format!(
                "ledger_matches: {no} has ledger row {row:?} and rows of {there:?}"
            ));
        }
    }
    broken
}
