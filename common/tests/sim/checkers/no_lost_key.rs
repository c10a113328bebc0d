//! no_lost_key: every row of the source is in exactly one partition of the plan.

use crate::rows::ROWS;
use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    if world.rows.is_empty() {
        return broken;
    }
    for (table, rows) in (0u32..).zip(ROWS) {
        let mut owners = vec![0; rows as usize];
        for (_, keys) in world
            .tables
            .iter()
            .zip(&world.rows)
            .filter(|(of, _)| **of == table)
        {
            keys.iter().for_each(|key| owners[*key as usize] += 1);
        }
        if let Some(key) = owners.iter().position(|owners| *owners != 1) {
            let owners = owners[key];
            broken.push(format!(
                "no_lost_key: key {key} of table {table} is in {owners} partitions"
            ));
        }
    }
    broken
}
