//! `sterna clone`, one process: killed at the phase's point; the same command again completes.

use std::time::Instant;

use super::phase::Phase;
use super::pool::{self, Engine, Lent};
use super::scene::Report;
use super::{dataset, judge};
use crate::harness::lab::Database;
use crate::harness::process::{Dir, Sterna};
use crate::harness::wait::{secs, until};

/// One cell.
pub async fn run(engine: Engine, phase: Phase, nth: u32) -> Option<Report> {
    let dir = Dir::new();
    let lent = pool::lend(engine, dir.path()).await?;
    let target = target(engine, &lent, &dir).await;
    let points = phase.points().iter();
    let armed: Vec<String> = points
        .map(|point| format!("{point}=stall:60000@{nth}"))
        .collect();
    let started = Instant::now();
    let command = || {
        let state = dir.file("state");
        Sterna::new(dir.path(), &["clone", &lent.source.url, &target.url])
            .args(&["--state-dir", &state, "--progress", "none", "-o", "json"])
            .args(&["--partition-size", dataset::PARTITION, "--no-replay"])
    };
    // The command itself tells errors only.
    let running = command().env("STERNA_LOG", "warn");
    let running = running.env("STERNA_FAULT", &armed.join(","));
    let mut running = running.named("first").spawn();
    until(&format!("the clone at {armed:?}"), secs(60), || async {
        running.err().contains("fault point stalls").then_some(())
    })
    .await;
    let struck = Instant::now();
    running.kill().await;
    let finished = command().named("second").ok().await;
    let report = finished.json();
    assert_eq!(report["verified"], true, "{report:#}");
    assert_eq!(
        report["partitions"]["committed"],
        report["partitions"]["total"]
    );
    judge::databases(&lent.source, &target).await;
    assert_eq!(
        pool::content(&lent.source).await,
        lent.content,
        "the source was changed"
    );
    pool::assert_clean(&lent.servers, &lent.source, &target).await;
    let report = Report {
        redone: report["partitions"]["redone"].as_u64().unwrap_or_default(),
        partitions: report["partitions"]["total"].as_u64().expect("a count"),
        wall: started.elapsed(),
        recovery: Some(struck.elapsed()),
    };
    lent.give_back(&target).await;
    Some(report)
}

async fn target(engine: Engine, lent: &Lent, dir: &Dir) -> Database {
    match engine {
        Engine::Sqlite => {
            let path = dir.file("target.db");
            Database {
                kind: engine.kind(),
                url: format!("sqlite:{path}"),
                name: path,
            }
        }
        _ => lent.target(&pool::fresh_name()).await,
    }
}
