//! bounded: no worker has more units at work than slots, beside what it is told to stop.

use crate::process::{Process, SLOTS};
use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let working = |process: &Process| {
        let units = process.units.values();
        units.filter(|unit| unit.running && unit.wanted).count()
    };
    let mut processes = world.processes.iter();
    let crowded = processes.find(|process| working(process) > SLOTS as usize);
    crowded.map(|process| {
        let name = &process.name;
        format!("bounded: {name} works on more units than it has slots")
    })
}
