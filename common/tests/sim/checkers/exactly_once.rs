//! exactly_once: what is committed is whole; at the end every row of the source is in the target,
//! once.

use common::id::PartitionNo;

use crate::rows::ROWS;
use crate::scene;
use crate::target::Txn;
use crate::world::World;

/// Over what was committed since the last step.
pub fn commits(world: &World, new: &[Txn]) -> Vec<String> {
    let mut broken = Vec::new();
    for (no, epoch) in new {
        let loads = world.target.data.get(no).into_iter().flatten();
        let whole = scene::batches(*no);
        for (_, batches) in loads.filter(|(of, batches)| of == epoch && *batches != whole) {
            broken.push(format!(
                "exactly_once: {no}/{epoch} is committed with {batches} of {whole} batches"
            ));
        }
    }
    broken
}

pub fn check(world: &World) -> Vec<String> {
    let wrong = wrong_rows(world);
    wrong.map_or(Vec::new(), |wrong| vec![format!("exactly_once: {wrong}")])
}

/// Rows that aren't there once, if there are any.
pub fn wrong_rows(world: &World) -> Option<String> {
    let mut counts = ROWS.map(|rows| vec![0u32; rows as usize]);
    for (no, loads) in &world.target.data {
        let at = no.0 as usize;
        for (_, batches) in loads {
            let keys = &world.rows[at];
            let there = keys.len() * *batches as usize / scene::batches(*no) as usize;
            for key in &keys[..there.min(keys.len())] {
                counts[world.tables[at] as usize][*key as usize] += 1;
            }
        }
    }
    let wrong = |(table, counts): (usize, &Vec<u32>)| {
        let missing = counts.iter().filter(|count| **count == 0).count();
        let double = counts.iter().filter(|count| **count > 1).count();
        (missing + double > 0)
            .then(|| format!("table {table} misses {missing} rows and has {double} twice"))
    };
    let all = counts.iter().enumerate().find_map(wrong);
    all.map(|wrong| format!("{wrong}: {:?}", loads(world)))
}

fn loads(world: &World) -> Vec<(PartitionNo, Vec<(common::epoch::Epoch, u32)>)> {
    let data = world.target.data.iter();
    data.map(|(no, loads)| (*no, loads.clone())).collect()
}
