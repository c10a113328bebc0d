//! Every fault point, hit in three ways: the process ends there, stands still there for longer than
//! its lease (or an election) and goes on, or does the work and loses the answer. Each time a real
//! cluster copies a database, and the copy must be exact. Here: which point is brought about how,
//! and which cells a run has; `staging` does it.
//!
//! By default every point is hit once, on one engine, by one action: the action goes round with the
//! point's number, the engine with a third of it. `STERNA_CRASH=all` hits every point in every way
//! on every engine that has the step; `STERNA_CRASH=NAME` everything of the points whose name holds
//! NAME. `STERNA_POINTS_REPORT=FILE` gets a line for each cell.

use std::fmt;
use std::io::Write;

use common::fault::Fault;

use super::scene::Engine;
use super::staging;

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Exit,
    Stall,
    LoseAnswer,
}

impl Action {
    pub const ALL: [Action; 3] = [Action::Exit, Action::Stall, Action::LoseAnswer];

    fn name(self) -> &'static str {
        match self {
            Action::Exit => "exit",
            Action::Stall => "stall",
            Action::LoseAnswer => "lose-answer",
        }
    }
}

/// How a point is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The only worker passes it in every job, here for the n-th time: the first ones of some
    /// points are before the cluster knows the worker.
    Worker { nth: u32 },
    /// A worker passes it when it has given a partition up.
    GivesUp,
    /// A worker passes it when it follows one that died with T prepared.
    Follows,
    /// The worker of a job that follows a living source passes it, here for the n-th time.
    Living { nth: u32 },
    /// A coordinator passes it when a job is submitted.
    Submits,
    /// A coordinator passes it when the cluster is started again with a job under way.
    Coordinator { count: usize },
    /// A coordinator passes it when the leader is gone.
    Elects,
    /// A coordinator that has lost its disk passes it.
    Wiped,
}

/// Steps that the engine has nothing to do with.
const ANY: &[Engine] = &[Engine::Mariadb];
const SMALLEST: &[Engine] = &[Engine::Sqlite];
/// Targets with sessions that outlive a worker's process.
const WITH_SESSIONS: &[Engine] = &[
    Engine::Mariadb,
    Engine::Mysql9,
    Engine::PostgresPrepared,
    Engine::PostgresHeld,
];
/// Targets that keep a prepared transaction.
const PREPARING: &[Engine] = &[Engine::Mariadb, Engine::Mysql9, Engine::PostgresPrepared];

/// How `fault` is brought about, and on which engines. Without a wildcard: a new point needs a
/// scenario.
fn scenario(fault: Fault) -> (Way, &'static [Engine]) {
    const ONCE: Way = Way::Worker { nth: 1 };
    let every: &'static [Engine] = &Engine::ALL;
    match fault {
        Fault::WorkerBeforeReport => (Way::Worker { nth: 12 }, ANY),
        Fault::WorkerAfterDirectives => (Way::Worker { nth: 6 }, ANY),
        Fault::WorkerAfterContext | Fault::WorkerBeforeTask | Fault::WorkerAfterTask => (ONCE, ANY),
        Fault::WorkerBeforeBegin
        | Fault::WorkerAfterBegin
        | Fault::WorkerMidRead
        | Fault::WorkerMidLoad
        | Fault::WorkerBeforePrepare
        | Fault::WorkerAfterPrepare
        | Fault::WorkerAfterAck
        | Fault::WorkerBeforeCommit
        | Fault::WorkerAfterCommit => (ONCE, every),
        Fault::WorkerBeforeRollback | Fault::WorkerAfterRollback => (Way::GivesUp, every),
        Fault::TargetBeforeKill | Fault::TargetAfterKill => (Way::Follows, WITH_SESSIONS),
        Fault::TargetBeforeEnd | Fault::TargetAfterEnd => (Way::Follows, PREPARING),
        Fault::TargetBeforeFence
        | Fault::TargetAfterFence
        | Fault::TargetBeforeBooks
        | Fault::TargetAfterBooks
        | Fault::TargetInDoubt => (ONCE, every),
        Fault::InspectMidway
        | Fault::InspectMidSample
        | Fault::CreateBeforeBooks
        | Fault::CreateAfterBooks
        | Fault::CreateMidway
        | Fault::IndexMidway
        | Fault::ObjectsMidway
        | Fault::VerifyMidway
        | Fault::ResolveMidway
        | Fault::ResolveBeforeForget
        | Fault::ResolveAfterForget => (ONCE, every),
        // SQLite's foreign keys are part of its tables.
        Fault::ForeignKeysMidway => (ONCE, WITH_SESSIONS),
        Fault::FollowBeforeApply
        | Fault::FollowAfterApply
        | Fault::FollowBeforeCommit
        | Fault::FollowAfterCommit => (Way::Living { nth: 3 }, every),
        Fault::LeaderBeforeBegin
        | Fault::LeaderBeforePropose
        | Fault::LeaderAfterPropose
        | Fault::LeaderBeforeDirectives => (Way::Coordinator { count: 1 }, SMALLEST),
        Fault::AdminAfterSubmit => (Way::Submits, SMALLEST),
        Fault::RaftBeforeVote | Fault::RaftAfterVote => (Way::Elects, SMALLEST),
        Fault::RaftBeforeAppend
        | Fault::RaftAfterAppend
        | Fault::RaftBeforeApply
        | Fault::RaftBeforeSnapshot
        | Fault::RaftAfterSnapshot
        | Fault::RaftBeforePurge => (Way::Coordinator { count: 1 }, SMALLEST),
        Fault::RaftBeforeInstall | Fault::RaftAfterInstall => (Way::Wiped, SMALLEST),
    }
}

/// One point, hit in one way on one engine.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub fault: Fault,
    pub action: Action,
    pub engine: Engine,
    pub way: Way,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, engine) = (self.action.name(), self.engine.name());
        let count = match self.way {
            Way::Coordinator { count } => format!(" of {count}"),
            _ => String::new(),
        };
        write!(f, "{} {action} {engine}{count}", self.fault)
    }
}

/// All cells of a point.
fn cells_of(fault: Fault) -> Vec<Cell> {
    let (way, engines) = scenario(fault);
    let mut cells = Vec::new();
    for engine in engines {
        for action in Action::ALL {
            let cell = |way| Cell {
                fault,
                action,
                engine: *engine,
                way,
            };
            match (way, action) {
                // While a lonely coordinator stands still there is nobody to take over.
                (Way::Coordinator { .. }, Action::Stall) => {
                    cells.push(cell(Way::Coordinator { count: 3 }));
                }
                (Way::Coordinator { count: 1 }, _) => {
                    cells.push(cell(way));
                    cells.push(cell(Way::Coordinator { count: 3 }));
                }
                _ => cells.push(cell(way)),
            }
        }
    }
    cells
}

/// What this run is to hit.
fn cells() -> Vec<Cell> {
    let wanted = std::env::var("STERNA_CRASH").unwrap_or_default();
    let mut cells = Vec::new();
    for (number, fault) in Fault::ALL.iter().enumerate() {
        let all = cells_of(*fault);
        match wanted.as_str() {
            "" => cells.push(representative(number, &all)),
            "all" => cells.extend(all),
            part if fault.as_str().contains(part) => cells.extend(all),
            _ => {}
        }
    }
    cells
}

fn representative(number: usize, all: &[Cell]) -> Cell {
    let action = Action::ALL[number % Action::ALL.len()];
    let of_it: Vec<&Cell> = all.iter().filter(|cell| cell.action == action).collect();
    *of_it[number / Action::ALL.len() % of_it.len()]
}

/// Hits the points on one engine, one after the other; says which failed when all were hit.
async fn hit_on(engine: Engine) {
    let cells: Vec<Cell> = { cells().into_iter() }
        .filter(|cell| cell.engine == engine)
        .collect();
    let (mut failed, count) = (Vec::new(), cells.len());
    for cell in cells {
        let run = tokio::spawn(async move { Box::pin(staging::hit(cell)).await });
        let line = match run.await {
            Ok(None) => format!("{cell}: SKIPPED, the engine is off"),
            Ok(Some(outcome)) => format!("{cell}: {outcome}"),
            Err(_) => {
                failed.push(cell.to_string());
                format!("{cell}: FAILED")
            }
        };
        println!("{line}");
        report(&line);
    }
    assert!(
        failed.is_empty(),
        "{} of {count} cells failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn report(line: &str) {
    let Ok(path) = std::env::var("STERNA_POINTS_REPORT") else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path);
    let written = file.and_then(|mut file| writeln!(file, "point: {line}"));
    written.unwrap_or_else(|error| panic!("{path}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn points_on_mariadb() {
    hit_on(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_on_mysql9() {
    hit_on(Engine::Mysql9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_on_postgres_prepared() {
    hit_on(Engine::PostgresPrepared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_on_postgres_held() {
    hit_on(Engine::PostgresHeld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_on_sqlite() {
    hit_on(Engine::Sqlite).await;
}

/// The default run leaves no point and no action out, and the whole one no engine either.
#[test]
fn every_point_is_hit_in_every_way() {
    let mut engines = std::collections::BTreeSet::new();
    for (number, fault) in Fault::ALL.iter().enumerate() {
        let all = cells_of(*fault);
        for action in Action::ALL {
            let hit = all.iter().any(|cell| cell.action == action);
            assert!(hit, "{fault} is never hit by {action:?}");
        }
        engines.insert(representative(number, &all).engine);
    }
    assert_eq!(engines.len(), Engine::ALL.len(), "{engines:?}");
}
