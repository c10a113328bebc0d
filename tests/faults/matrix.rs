//! Walks the cells engine x phase x fault, some at once, and tells what came of them. Steered by
//! environment variables:
//!
//! - `STERNA_CRASH=all`: every cell that exists, shuffled; else a representative part
//! - `STERNA_CRASH_ENGINE`, `_PHASE`, `_FAULT`: only cells whose names contain it
//! - `STERNA_CRASH_SEED`: the order of the cells, and which pass through a point is held
//! - `STERNA_CRASH_MINUTES`: no new cell after so long; with `all`, rounds go on until then
//! - `STERNA_CRASH_AT_ONCE`: scenes at once (2)
//! - `STERNA_CRASH_REPORT`: a file for the result as JSON

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::kinds::{self, Fault};
use super::phase::Phase;
use super::pool::Engine;
use super::tally::{Outcome, Tally};

/// A job that doesn't end by then never will.
const CELL_DEADLINE: Duration = Duration::from_secs(240);

#[derive(Clone, Copy)]
pub struct Cell {
    pub engine: Engine,
    pub phase: Phase,
    pub fault: Fault,
    pub nth: u32,
    pub seed: u64,
}

impl Cell {
    /// The line that repeats it.
    pub fn again(&self) -> String {
        format!(
            "STERNA_CRASH=all STERNA_CRASH_ENGINE={} STERNA_CRASH_PHASE={} STERNA_CRASH_FAULT={} \
             STERNA_CRASH_SEED={} cargo test --release --test integration -- faults::matrix",
            self.engine.name(),
            self.phase.name(),
            self.fault.name(),
            self.seed
        )
    }

    async fn run(self) -> Outcome {
        let run = self.fault.run(self.engine, self.phase, self.nth);
        let run = tokio::spawn(tokio::time::timeout(CELL_DEADLINE, run));
        match run.await {
            Ok(Ok(Some(report))) => Outcome::Done(report),
            Ok(Ok(None)) => Outcome::Skipped,
            Ok(Err(_)) => Outcome::Violated(format!("not done after {CELL_DEADLINE:?}")),
            Err(error) => Outcome::Violated(said_by(error)),
        }
    }
}

/// What a task that panicked said.
pub fn said_by(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => said(panic.as_ref()),
        Err(error) => error.to_string(),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

/// Numbers that look like chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z >> 8) % n as u64).expect("below n")
    }
}

/// What the environment asks for.
struct Asked {
    all: bool,
    seed: u64,
    minutes: Option<u64>,
    at_once: usize,
}

impl Asked {
    fn read() -> Asked {
        let number = |name: &str| -> Option<u64> {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name}={text} is no number")),
            )
        };
        Asked {
            all: std::env::var("STERNA_CRASH").is_ok_and(|text| text == "all"),
            seed: number("STERNA_CRASH_SEED").unwrap_or(1),
            minutes: number("STERNA_CRASH_MINUTES"),
            at_once: number("STERNA_CRASH_AT_ONCE").map_or(2, |n| n.max(1) as usize),
        }
    }
}

fn is_chosen(variable: &str, name: &str) -> bool {
    std::env::var(variable).map_or(true, |wanted| name.contains(&wanted))
}

/// Every cell that exists and was asked for, shuffled by `seed`.
fn every(seed: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for fault in kinds::all() {
        for engine in Engine::ALL {
            for phase in Phase::ALL {
                let chosen = is_chosen("STERNA_CRASH_ENGINE", engine.name())
                    && is_chosen("STERNA_CRASH_PHASE", &phase.name())
                    && is_chosen("STERNA_CRASH_FAULT", fault.name());
                if chosen && fault.applies(engine, phase) {
                    cells.push(cell(engine, phase, fault, seed));
                }
            }
        }
    }
    let mut dice = Dice(seed);
    for i in (1..cells.len()).rev() {
        cells.swap(i, dice.below(i + 1));
    }
    cells
}

fn cell(engine: Engine, phase: Phase, fault: Fault, seed: u64) -> Cell {
    let own = format!("{}{}{}", engine.name(), phase.name(), fault.name());
    let own = own.bytes().fold(seed, |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte)
    });
    let nth = match phase.is_copying() {
        true => 1 + Dice(own).below(3) as u32,
        false => 1,
    };
    Cell {
        engine,
        phase,
        fault,
        nth,
        seed,
    }
}

/// Each fault once, in the engine and phase that were chosen least so far.
fn representative(seed: u64) -> Vec<Cell> {
    let all = every(seed);
    let mut chosen: Vec<Cell> = Vec::new();
    for fault in kinds::all() {
        let mine = all.iter().filter(|cell| cell.fault.name() == fault.name());
        let seldom = mine.min_by_key(|cell| {
            let same_phase = chosen.iter().filter(|c| c.phase == cell.phase).count();
            let same_engine = chosen.iter().filter(|c| c.engine == cell.engine).count();
            (same_phase + same_engine, same_phase)
        });
        chosen.extend(seldom);
    }
    chosen
}

#[tokio::test(flavor = "multi_thread")]
async fn matrix() {
    let asked = Asked::read();
    let deadline = asked
        .minutes
        .map(|n| Instant::now() + Duration::from_secs(60 * n));
    let is_over = || deadline.is_some_and(|end| Instant::now() >= end);
    let mut tally = Tally::default();
    let mut running = JoinSet::new();
    for round in 0.. {
        let cells = match asked.all {
            true => every(asked.seed + round),
            false => representative(asked.seed),
        };
        assert!(!cells.is_empty(), "no cell has all these names");
        println!(
            "round {round}: {} cells, seed {}",
            cells.len(),
            asked.seed + round
        );
        for cell in cells {
            while running.len() >= asked.at_once {
                note(&mut running, &mut tally).await;
            }
            if is_over() {
                break;
            }
            running.spawn(async move {
                let started = Instant::now();
                (cell, cell.run().await, started.elapsed())
            });
        }
        if deadline.is_none() || is_over() || !asked.all {
            break;
        }
    }
    while !running.is_empty() {
        note(&mut running, &mut tally).await;
    }
    println!("{tally}");
    if let Ok(path) = std::env::var("STERNA_CRASH_REPORT") {
        std::fs::write(&path, format!("{:#}\n", tally.json()))
            .expect("the report's file is writable");
    }
    let violations = tally.violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

async fn note(running: &mut JoinSet<(Cell, Outcome, Duration)>, tally: &mut Tally) {
    let Some(ended) = running.join_next().await else {
        return;
    };
    let (cell, outcome, took) = ended.expect("a cell's panic is its outcome");
    println!(
        "{} {} {}: {outcome} ({:.1} s)",
        cell.engine.name(),
        cell.phase.name(),
        cell.fault.name(),
        took.as_secs_f64()
    );
    tally.add(cell, outcome);
}

#[test]
fn the_representative_part_has_every_engine_phase_and_fault() {
    let cells = representative(1);
    for engine in Engine::ALL {
        assert!(
            cells.iter().any(|c| c.engine == engine),
            "{}",
            engine.name()
        );
    }
    for phase in Phase::ALL {
        assert!(cells.iter().any(|c| c.phase == phase), "{}", phase.name());
    }
    for fault in kinds::all() {
        let name = fault.name();
        assert!(cells.iter().any(|c| c.fault.name() == name), "{name}");
    }
}
