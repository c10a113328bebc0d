//! decision_stable: the log never decides a transaction both ways; no transaction is both
//! committed and rolled back after it was prepared; and where prepared transactions last, Commit
//! is decided only for one that is prepared, and no other epoch is committed in its place.

use common::state::Decision;

use crate::target::{State, Txn};
use crate::world::World;

/// Over what the newest entry decided.
pub fn check(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for (txn, decision, before) in &world.memory.fresh {
        if before.is_some_and(|before| before != *decision) {
            broken.push(line(*txn, "was decided both ways"));
        }
        if *decision == Decision::Commit
            && world.target.dialect.is_durable()
            && !is_prepared(world, *txn)
        {
            broken.push(line(*txn, "was decided Commit and isn't prepared"));
        }
    }
    broken
}

fn is_prepared(world: &World, txn: Txn) -> bool {
    let branch = world.target.branches.get(&txn);
    branch.is_some_and(|branch| branch.state == State::Prepared)
        || world.target.commits.contains(&txn)
}

/// Over what was committed since the last step.
pub fn commits(world: &World, new: &[Txn]) -> Vec<String> {
    let mut broken = Vec::new();
    for txn in new {
        if world.target.aborted.contains(txn) {
            broken.push(line(*txn, "was rolled back and committed"));
        }
        let other = |(other, decision): (&Txn, &Decision)| {
            other.0 == txn.0 && other.1 != txn.1 && *decision == Decision::Commit
        };
        if world.target.dialect.is_durable() && world.memory.decided.iter().any(other) {
            broken.push(line(*txn, "is committed, another epoch was decided Commit"));
        }
    }
    broken
}

/// Over everything, at the end.
pub fn rollbacks(world: &World) -> Vec<String> {
    let aborted = world.target.aborted.iter();
    let wrong = aborted.filter(|txn| {
        world.target.dialect.is_durable() && world.memory.is_commit(**txn)
            || world.target.commits.contains(txn)
    });
    wrong
        .map(|txn| line(*txn, "was decided Commit and rolled back"))
        .collect()
}

fn line(txn: Txn, what: &str) -> String {
    format!("decision_stable: {}/{} {what}", txn.0, txn.1)
}
