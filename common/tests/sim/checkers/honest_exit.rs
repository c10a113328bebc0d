//! honest_exit: a job that says Completed has every row, once.

use common::state::Phase;

use crate::checkers::exactly_once;
use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let (_, job) = world.cluster.state.jobs().next()?;
    if job.phase != Phase::Completed {
        return None;
    }
    exactly_once::wrong_rows(world).map(|wrong| format!("honest_exit: Completed, and {wrong}"))
}
