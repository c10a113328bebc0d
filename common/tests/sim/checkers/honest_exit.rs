//! honest_exit: a job that says Completed has every row, once; one that says verified has read them.

use common::state::Phase;

use crate::checkers::exactly_once;
use crate::world::World;

pub fn check(world: &World) -> Vec<String> {
    let Some((_, job)) = world.cluster.state.jobs().next() else {
        return Vec::new();
    };
    match job.phase == Phase::Completed {
        true => exactly_once::check(world),
        false => Vec::new(),
    }
}
