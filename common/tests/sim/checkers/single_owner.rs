//! single_owner: no two epochs of one partition are ever both committed.

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let (no, loads) = world
        .target
        .data
        .iter()
        .find(|(_, loads)| loads.len() > 1)?;
    Some(format!("single_owner: {no} was committed by {loads:?}"))
}
