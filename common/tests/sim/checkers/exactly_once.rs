//! exactly_once: at the end every partition is there whole, and once.

use common::id::PartitionNo;

use crate::scene;
use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let partitions = (0..world.tables.len() as u32).map(PartitionNo);
    let wrong = partitions.filter_map(|no| {
        let loads = world.target.data.get(&no).cloned().unwrap_or_default();
        let whole = loads.len() == 1 && loads[0].1 == scene::batches(no);
        (!whole).then(|| {
            format!(
                "exactly_once: {no} holds {loads:?} of {} batches",
                scene::batches(no)
            )
        })
    });
    wrong.collect()
}
