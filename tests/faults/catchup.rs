//! The matrix's column for following: a job has caught up with a living source, something goes wrong,
//! and what arrives is still whole transactions, each exactly once; or the job stops by name and
//! keeps its position. Steered by environment variables:
//!
//! - `STERNA_CRASH=all`: every fault on every engine, shuffled; else each fault once
//! - `STERNA_CRASH_ENGINE`, `_FAULT`: only cells whose names contain it
//! - `STERNA_CRASH_RUNS`: how often each cell is run (1)
//! - `STERNA_CRASH_SEED`, `_MINUTES`, `_AT_ONCE`: as for the matrix
//! - `STERNA_CATCHUP_REPORT`: a file for a line per cell: runs, exact, stopped by name, failed

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use super::pool::Engine;
use super::{living, matter};
use crate::follow::living::{Living, Set};

/// A job that doesn't end by then never will.
const CELL_DEADLINE: Duration = Duration::from_secs(420);
/// Transactions after the fault.
const AFTER: u64 = 80;

/// What a strike leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The job goes on.
    GoesOn,
    /// It has stopped with a named error for good, as it must.
    Stopped,
}

type Strike = for<'a> fn(&'a mut Living) -> BoxFuture<'a, End>;

/// One way in which following is disturbed.
#[derive(Clone, Copy)]
pub struct Disturbance {
    pub name: &'static str,
    engines: &'static [Engine],
    /// How the scene is set.
    set: fn(Set) -> Set,
    strike: Strike,
}

use Engine::{Mariadb, Mysql9, PostgresPrepared, Sqlite};

const EVERY: &[Engine] = &[Mariadb, Mysql9, PostgresPrepared, Sqlite];
const SERVED: &[Engine] = &[Mariadb, Mysql9, PostgresPrepared];
const ON_DISK: &[Engine] = &[Mariadb, PostgresPrepared, Sqlite];
const BINLOG: &[Engine] = &[Mariadb, Mysql9];
const SLOT: &[Engine] = &[PostgresPrepared];

fn plain(set: Set) -> Set {
    set
}

fn three(set: Set) -> Set {
    set.coordinators(3)
}

fn wired(set: Set) -> Set {
    set.through_proxies()
}

fn on_disk(set: Set) -> Set {
    set.target_disk()
}

/// Both workers: nobody knows which one follows.
fn loses_answers(set: Set) -> Set {
    let lose = "follow-after-commit=lose-answer@3";
    set.armed("w1", lose).armed("w2", lose)
}

fn with_long_values(set: Set) -> Set {
    set.before(matter::long_values)
}

fn with_xa(set: Set) -> Set {
    set.before(matter::for_xa)
}

macro_rules! disturbances {
    ($( $module:ident::$name:ident: $engines:ident, $set:ident; )*) => {
        pub const ALL: &[Disturbance] = &[$( Disturbance {
            name: stringify!($name),
            engines: $engines,
            set: $set,
            strike: |living| Box::pin($module::$name(living)),
        } ),*];
    };
}

disturbances! {
    living::follower_killed: EVERY, plain;
    living::follower_killed_thrice: EVERY, plain;
    living::follower_frozen: EVERY, plain;
    living::follower_drained: EVERY, plain;
    living::leader_killed: EVERY, three;
    living::leader_and_follower_killed: EVERY, three;
    living::paused_and_resumed: EVERY, plain;
    living::target_cut: SERVED, wired;
    living::source_cut: SERVED, wired;
    living::commit_unheard: SERVED, wired;
    living::commit_unanswered: SERVED, wired;
    living::commit_silent: SERVED, wired;
    living::commit_taken_for_lost: EVERY, loses_answers;
    living::target_killed: SERVED, plain;
    living::target_restarted: SERVED, plain;
    living::source_killed: SERVED, plain;
    living::source_restarted: SERVED, plain;
    living::both_killed: SERVED, plain;
    living::target_full: ON_DISK, on_disk;
    matter::log_rotated: SERVED, plain;
    matter::log_purged: BINLOG, plain;
    matter::slot_dropped: SLOT, plain;
    matter::large_transaction: EVERY, plain;
    matter::large_transaction_and_killed: EVERY, plain;
    matter::long_value: EVERY, with_long_values;
    matter::prepared_at_the_source: SERVED, with_xa;
}

/// One run of one cell.
#[derive(Clone, Copy)]
struct Cell {
    disturbance: Disturbance,
    engine: Engine,
    seed: u64,
}

impl Cell {
    fn name(&self) -> String {
        format!("{} {}", self.disturbance.name, self.engine.name())
    }

    /// None = not to be had here.
    async fn run(self) -> Option<End> {
        let set = (self.disturbance.set)(Set::new(self.engine, self.engine).seed(self.seed));
        let mut living = Box::pin(set.caught_up()).await?;
        living.live_on(20).await;
        let end = (self.disturbance.strike)(&mut living).await;
        match end {
            End::GoesOn => {
                living.live_on(AFTER).await;
                let (seen, _) = Box::pin(living.settle()).await;
                println!("{}: {seen}", self.name());
                Box::pin(living.complete()).await;
            }
            End::Stopped => Box::pin(living.cancel()).await,
        }
        Some(end)
    }
}

/// What came of a cell's runs.
#[derive(Default)]
struct Row {
    runs: u32,
    exact: u32,
    stopped: u32,
    skipped: u32,
    failed: Vec<String>,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn is_chosen(variable: &str, name: &str) -> bool {
    std::env::var(variable).map_or(true, |wanted| name.contains(&wanted))
}

/// The cells that were asked for; by default each disturbance once, on engines that go round.
fn cells(seed: u64) -> Vec<Cell> {
    let all = std::env::var("STERNA_CRASH").is_ok_and(|text| text == "all");
    let mut cells = Vec::new();
    for (turn, disturbance) in ALL.iter().enumerate() {
        if !is_chosen("STERNA_CRASH_FAULT", disturbance.name) {
            continue;
        }
        let engines = disturbance.engines.iter();
        let engines = engines.filter(|engine| is_chosen("STERNA_CRASH_ENGINE", engine.name()));
        let engines: Vec<Engine> = engines.copied().collect();
        let chosen = match (all, engines.len()) {
            (true, _) | (_, 0) => engines,
            (false, count) => vec![engines[turn % count]],
        };
        let cell = |engine| Cell {
            disturbance: *disturbance,
            engine,
            seed,
        };
        cells.extend(chosen.into_iter().map(cell));
    }
    // Neighbours are of one kind; seldom at once is better.
    let half = cells.len().div_ceil(2).max(1);
    let mut mixed = Vec::new();
    for i in 0..half {
        mixed.extend(cells.get(i).copied());
        mixed.extend(cells.get(i + half).copied());
    }
    mixed
}

#[tokio::test(flavor = "multi_thread")]
async fn catchup() {
    let runs = number("STERNA_CRASH_RUNS").unwrap_or(1);
    let at_once = number("STERNA_CRASH_AT_ONCE").map_or(2, |n| n.max(1) as usize);
    let seed = number("STERNA_CRASH_SEED").unwrap_or(1);
    let minutes = number("STERNA_CRASH_MINUTES");
    let end = minutes.map(|n| Instant::now() + Duration::from_secs(60 * n));
    let is_over = || end.is_some_and(|end| Instant::now() >= end);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut running = JoinSet::new();
    for round in 0.. {
        for cell in cells(seed + round) {
            if is_over() {
                break;
            }
            while running.len() >= at_once {
                note(&mut running, &mut rows).await;
            }
            running.spawn(async move {
                let started = Instant::now();
                let run = tokio::spawn(tokio::time::timeout(CELL_DEADLINE, cell.run()));
                let ended = match run.await {
                    Ok(Ok(ended)) => Ok(ended),
                    Ok(Err(_)) => Err(format!("not done after {CELL_DEADLINE:?}")),
                    Err(error) => Err(super::matrix::said_by(error)),
                };
                (cell, ended, started.elapsed())
            });
        }
        if is_over() || (end.is_none() && round + 1 >= runs) {
            break;
        }
    }
    while !running.is_empty() {
        note(&mut running, &mut rows).await;
    }
    let failed = report(&rows);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

type Ended = (Cell, Result<Option<End>, String>, Duration);

async fn note(running: &mut JoinSet<Ended>, rows: &mut BTreeMap<String, Row>) {
    let Some(ended) = running.join_next().await else {
        return;
    };
    let (cell, ended, took) = ended.expect("a cell's panic is its outcome");
    let row = rows.entry(cell.name()).or_default();
    row.runs += 1;
    let said = match ended {
        Ok(Some(End::GoesOn)) => {
            row.exact += 1;
            "exact".to_owned()
        }
        Ok(Some(End::Stopped)) => {
            row.stopped += 1;
            "stopped by name".to_owned()
        }
        Ok(None) => {
            row.skipped += 1;
            "SKIPPED".to_owned()
        }
        Err(said) => {
            row.failed.push(format!("seed {}: {said}", cell.seed));
            format!("FAILED: {said}")
        }
    };
    println!("{}: {said} ({:.1} s)", cell.name(), took.as_secs_f64());
}

/// Tells the counts; what failed.
fn report(rows: &BTreeMap<String, Row>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for (name, row) in rows {
        lines.push(format!(
            "{name}: {} runs, {} exact, {} stopped by name, {} skipped, {} failed",
            row.runs,
            row.exact,
            row.stopped,
            row.skipped,
            row.failed.len()
        ));
        failed.extend(row.failed.iter().map(|said| format!("{name}: {said}")));
    }
    let text = lines.join("\n");
    println!("{text}");
    if let Ok(path) = std::env::var("STERNA_CATCHUP_REPORT") {
        std::fs::write(&path, format!("{text}\n")).expect("the report's file is writable");
    }
    failed
}
