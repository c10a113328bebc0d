//! The invariants of DESIGN §11, one file each, as far as this model can see them. Each looks at
//! the world from outside: at the log, the target's rows and its list of transactions.

mod bounded;
mod changes_once;
mod decision_stable;
mod exactly_once;
mod heals;
mod honest_exit;
mod ledger_matches;
mod no_commit_without_decision;
mod no_lost_key;
mod no_orphans;
mod replay;
mod schedule_stable;
mod single_owner;

pub use heals::heals;

use crate::world::World;

pub fn at_every_step(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    broken.extend(bounded::check(world));
    broken.extend(changes_once::check(world));
    let seen = std::mem::replace(&mut world.memory.commits, world.target.commits.len());
    let new = &world.target.commits[seen..];
    if !new.is_empty() {
        broken.extend(single_owner::check(world));
        broken.extend(no_commit_without_decision::commits(world, new));
        broken.extend(decision_stable::commits(world, new));
        broken.extend(exactly_once::commits(world, new));
    }
    broken
}

pub fn after_every_entry(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    broken.extend(honest_exit::check(world));
    broken.extend(decision_stable::check(world));
    broken.extend(ledger_matches::check(world));
    broken.extend(schedule_stable::check(world));
    broken.extend(no_lost_key::check(world));
    broken
}

pub fn at_the_end(world: &World) -> Vec<String> {
    let mut broken = after_every_entry(world);
    broken.extend(decision_stable::rollbacks(world));
    if !world.cancelled {
        broken.extend(exactly_once::check(world));
    }
    broken.extend(changes_once::at_the_end(world));
    broken.extend(no_orphans::check(world));
    broken.extend(replay::check(world));
    broken
}
