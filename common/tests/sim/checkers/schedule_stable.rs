//! schedule_stable: once what `schedule` plans is in the log, a second call plans nothing.

use common::state::{Command, Entry};

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let cluster = &world.cluster;
    let node = &cluster.nodes[cluster.leader?];
    let schedule = |state| world.bugs.schedule(state, &node.view, &cluster.limits);
    let first = schedule(&cluster.state);
    let loses = |command: &Command| matches!(command, Command::LoseWorker { .. });
    if first.is_empty() || first.iter().any(loses) {
        return None;
    }
    let mut state = cluster.state.clone();
    state.apply_entry(Entry {
        at: node.clock(world.now),
        commands: first,
    });
    let second = schedule(&state);
    (!second.is_empty()).then(|| format!("schedule_stable: a second call plans {second:?}"))
}
