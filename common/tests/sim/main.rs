//! Deterministic simulation of the control plane and the two-phase protocol. One seed decides
//! everything: the target's dialect, the workers, the faults and their moments, every delay.
//! `SEEDS=n` runs that many, `SEED=n` repeats one, with `TRACE=1` it says what happens.
//!
//! **Real**, the code that the product runs: `State::apply` and `check`, `plan`, `schedule`,
//! `decide`, `intake`, `directives`, `reconcile`, the failure detector, the retry policy, the ranges
//! of partitions, all limits.
//!
//! **Modelled**, statement by statement: workers (processes, units, words, numbered reports and
//! their echo, leases that were taken away), the network between them and coordinators and between
//! coordinators (each way by itself), leaders that don't know that they are deposed, proposals whose
//! fate nobody knows, members that come and go, snapshots; the target's sessions, transactions,
//! locks, fence, ledger and rows in five dialects as measured on the servers (`dialect`).
//!
//! A run is a safety phase with one to five faults, often at once, and then a quiet one in which the
//! job must end. After every step and every log entry the checkers look at the world from outside
//! (`checkers`, one invariant each); each of them is itself tested by bugs that are planted.
//!
//! **Not modelled**: Raft itself, its log files and followers that lag (tested over the real
//! openraft); SQL, types and values (real servers); a worker stopped between asking whether a lease
//! is still its own and sending its one statement; clocks of workers that differ by more than a
//! tenth where leases are concerned; what a target that loses committed data does; several jobs at
//! once. Of following a source: its log, P0, marks and fence are modelled, rows and keys are not.

mod changes;
mod chase;
mod checkers;
mod cluster;
mod coverage;
mod delivery;
mod dialect;
mod errand;
mod faults;
mod leader;
mod log;
mod members;
mod memory;
mod moment;
mod plant;
mod process;
mod rng;
mod rows;
mod scene;
mod target;
mod unit;
mod wire;
mod work;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coverage::Coverage;
use plant::{Bugs, LAYERS, PLANTS};
use world::World;

/// Without SEEDS: what CI runs, and less where nothing is optimised.
const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 10_000 };
/// Seeds that may pass before a planted bug must have been noticed.
const SEEDS_PER_BUG: u64 = 4_000;
/// Seeds in which a missing safeguard must not matter, where another covers it.
const SEEDS_PER_LAYER: u64 = if cfg!(debug_assertions) { 100 } else { 2_000 };
/// Seeds that found something once: they run always, first.
const REGRESSIONS: &str = include_str!("regressions.txt");

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run(seed: u64, bugs: Bugs, only: Option<&'static str>) -> (Result<(), world::Wrong>, Coverage) {
    let mut world = World::new(seed, bugs, only);
    let verdict = world.run();
    (verdict, world.coverage)
}

/// Runs `seeds` on all cores; the coverage, or the smallest seed that went wrong.
fn sweep(
    seeds: std::ops::Range<u64>,
    bugs: Bugs,
    only: Option<&'static str>,
) -> (Coverage, Option<(u64, world::Wrong)>) {
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<(Coverage, Option<(u64, world::Wrong)>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = found
                        .lock()
                        .expect("not poisoned")
                        .1
                        .as_ref()
                        .is_some_and(|(wrong, _)| *wrong < seed);
                    if seed >= seeds.end || over {
                        return;
                    }
                    let (verdict, coverage) = run(seed, bugs, only);
                    let mut found = found.lock().expect("not poisoned");
                    found.0.add(&coverage);
                    if let Err(wrong) = verdict
                        && found.1.as_ref().is_none_or(|(known, _)| seed < *known)
                    {
                        found.1 = Some((seed, wrong));
                    }
                }
            });
        }
    });
    found.into_inner().expect("not poisoned")
}

fn report(seed: u64, wrong: &world::Wrong) -> String {
    format!(
        "seed {seed} went wrong at {} ms: {:#?}\nrepeat it: SEED={seed} cargo test --release --workspace --test sim seeds",
        wrong.at, wrong.what
    )
}

#[test]
fn seeds() {
    if let Some(seed) = number("SEED") {
        let (verdict, _) = run(seed, Bugs::default(), None);
        if let Err(wrong) = verdict {
            panic!("{}", report(seed, &wrong));
        }
        return;
    }
    for line in REGRESSIONS.lines() {
        let seed = line
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        let Some(seed) = seed else { continue };
        if let (Err(wrong), _) = run(seed, Bugs::default(), None) {
            panic!("{line}: {}", report(seed, &wrong));
        }
    }
    let count = number("SEEDS").unwrap_or(SEEDS);
    let (coverage, wrong) = sweep(0..count, Bugs::default(), None);
    println!("{coverage}");
    if let Some((seed, wrong)) = wrong {
        panic!("{}", report(seed, &wrong));
    }
    if count >= 10_000 {
        assert_eq!(
            coverage.empty(),
            Vec::<String>::new(),
            "cells that no seed reached"
        );
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..5 {
        let (mut first, mut second) = (
            World::new(seed, Bugs::default(), None),
            World::new(seed, Bugs::default(), None),
        );
        assert_eq!(first.run().is_ok(), second.run().is_ok());
        assert_eq!(
            (first.steps, first.now, &first.cluster.log),
            (second.steps, second.now, &second.cluster.log)
        );
    }
}

#[test]
fn every_planted_bug_is_found() {
    let mut unnoticed = Vec::new();
    for plant in PLANTS {
        let bugs = format!("{:?}", plant.bugs);
        for checker in plant.noticed_by {
            let (_, wrong) = sweep(0..SEEDS_PER_BUG, Bugs::of(plant.bugs), Some(checker));
            match wrong {
                Some((seed, wrong)) => {
                    let what = wrong.what.first().map_or("", |what| what.as_str());
                    let what: String = what.chars().take(100).collect();
                    println!("{bugs:50} seed {seed:4}: {what}");
                }
                None => unnoticed.push(format!("{bugs} by {checker}")),
            }
        }
    }
    assert_eq!(unnoticed, Vec::<String>::new(), "planted bugs not noticed");
}

/// Each layer of the defence holds alone: what others would have kept from happening doesn't happen.
#[test]
fn what_is_covered_by_another_layer_is_not_noticed() {
    let mut noticed = Vec::new();
    for layer in LAYERS {
        let asked = Some(layer.asked).filter(|asked| !asked.is_empty());
        let (_, wrong) = sweep(0..SEEDS_PER_LAYER, Bugs::of(layer.without), asked);
        let without = format!("{:?}", layer.without);
        println!("without {without:45} covered by {}", layer.covered_by);
        if let Some((seed, wrong)) = wrong {
            noticed.push(format!("{without}, seed {seed}: {:?}", wrong.what));
        }
    }
    assert_eq!(
        noticed,
        Vec::<String>::new(),
        "layers that don't hold alone"
    );
}
