//! The Raft layer under faults: real coordinators' consensus, redb and tonic, on simulated hosts with
//! simulated time, network and disks (turmoil). Clients propose and read all the while; after every
//! run nothing acknowledged may be missing, doubled or out of order, and all members are the same.
//!
//! `SEEDS=500 cargo test --workspace --test turmoil` runs more; `SEED=17 …` runs that one again. A seed fixes
//! what happens to whom, message delays and what a crash leaves of unsynced writes. It does *not* fix every
//! bit of a run: the consensus library draws its election timeouts itself, and blocking disk work runs
//! on real threads. A failing seed usually, not always, fails again.

mod check;
mod client;
mod disk;
mod member;
mod rng;
mod run;
mod scenario;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::fault::Fault;
use member::lock;
use run::Run;
use scenario::{POINTS, Scenario};

/// Each scenario first, half of them twice.
const SEEDS: u64 = 24;
const THREADS: usize = 2;

#[derive(Default)]
struct Total {
    runs: BTreeMap<Scenario, u64>,
    passed: BTreeMap<Fault, u64>,
    struck: BTreeMap<String, u64>,
    acks: u64,
    wrong: Vec<String>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Two scenarios; the second may begin before the first is mended.
fn one(seed: u64, total: &Mutex<Total>) {
    let started = Instant::now();
    let mut run = Run::new(seed);
    let first = Scenario::ALL[seed as usize % Scenario::ALL.len()];
    let second = *run.rng.pick(Scenario::ALL).expect("there are scenarios");
    run.leader();
    run.pass(Duration::from_millis(500));
    first.play(&mut run);
    second.play(&mut run);
    run.heal();
    let acks = lock(&run.history.acks).len() as u64;
    let wrong = lock(&run.world.wrong).clone();
    println!(
        "seed {seed}: {first:?}, {second:?}: {acks} acknowledged, {} unanswered, {} reads, \
         {} terms with a leader, {} restarts, {:.1} s in {:.1} s",
        run.history.unanswered.load(Ordering::Relaxed),
        run.history.reads.load(Ordering::Relaxed),
        run.leaders(),
        run.restarts,
        run.now().as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
    let mut total = lock(total);
    for scenario in [first, second] {
        *total.runs.entry(scenario).or_default() += 1;
    }
    for (fault, times) in lock(&run.world.passed).iter() {
        *total.passed.entry(*fault).or_default() += times;
    }
    for (fault, trap) in lock(&run.world.struck).iter() {
        let trap = format!("{trap:?}");
        let trap = trap.split('(').next().unwrap_or_default();
        *total.struck.entry(format!("{fault} {trap}")).or_default() += 1;
    }
    total.acks += acks;
    for what in wrong.iter().take(10) {
        total
            .wrong
            .push(format!("SEED={seed} ({first:?}, {second:?}): {what}"));
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_all_members_agree() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let alone = seeds.end - seeds.start == 1;
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    one(seed, &total);
                }
            });
        }
    });
    let total = lock(&total);
    println!("runs: {:?}", total.runs);
    println!("points passed: {:?}", total.passed);
    println!("points struck: {:?}", total.struck);
    println!("{} entries were acknowledged", total.acks);
    assert!(total.wrong.is_empty(), "{}", total.wrong.join("\n"));
    if !alone {
        for point in POINTS {
            assert!(
                total.passed.contains_key(&point),
                "{point} was never passed"
            );
        }
    }
}
