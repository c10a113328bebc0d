//! The log alone gives the state: applied again from the beginning, entry by entry.

use common::state::State;

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let mut state = State::default();
    for entry in &world.cluster.log {
        state.apply_entry(entry.clone());
    }
    (state != world.cluster.state).then(|| "replay: the log gives another state".to_owned())
}
