//! `sterna clone` of a living source is a copy of one moment: whole transactions up to a position,
//! and nothing after it.

use std::time::Duration;

use super::living::Set;
use crate::faults::pool::Engine;
use crate::harness::lab::Database;
use crate::harness::oracle::values;
use crate::harness::process::Sterna;
use crate::harness::wait::{secs, until};
use crate::harness::workload::audit::assert_whole;
use crate::harness::workload::{Options, Workload};

fn command(source: &Database, target: &Database, dir: &std::path::Path, state: &str) -> Sterna {
    let state = dir.join(state).display().to_string();
    Sterna::new(dir, &["clone", &source.url, &target.url])
        .args(&["--state-dir", &state, "--progress", "none", "-o", "json"])
        .args(&["--partition-size", "128KiB"])
}

/// The copy begins and ends while the workload runs.
async fn of_a_living_source(from: Engine, to: Engine, more: &[&str]) {
    let Some(living) = Set::new(from, to).stage().await else {
        return;
    };
    let (source, target) = (living.source.clone(), living.target.clone());
    let dir = living.cluster.dir.path().to_owned();
    let workload = Workload::start(&source, Options::new(2)).await;
    workload.until_more(40).await;
    let before = workload.acknowledged();
    let finished = command(&source, &target, &dir, "moment")
        .args(more)
        .ok()
        .await;
    let (after, _) = workload.stop().await;
    let seen = assert_whole(&target).await;
    for (session, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        let there = seen.last.get(&session).copied().unwrap_or_default();
        let there = u64::try_from(there).expect("from 1");
        let whole = before <= &there && &there <= after;
        assert!(whole, "session {session}: {there} of {before} to {after}");
    }
    let report = finished.json();
    assert_eq!(report["verified"], true, "{report:#}");
    println!(
        "moment {} to {}: {seen}",
        from.name(),
        to.name(),
        seen = seen.last.len()
    );
    living.discard().await;
}

/// The workload runs while rows are copied and ends before the copy does: the moment is the last.
async fn of_a_source_that_falls_asleep(from: Engine, to: Engine, more: &[&str]) {
    let Some(living) = Set::new(from, to).stage().await else {
        return;
    };
    let (source, target) = (living.source.clone(), living.target.clone());
    let dir = living.cluster.dir.path().to_owned();
    let workload = Workload::start(&source, Options::new(3)).await;
    workload.until_more(20).await;
    let clone = command(&source, &target, &dir, "asleep").args(more);
    let clone = clone.env("STERNA_LOG", "warn");
    let clone = clone.env("STERNA_FAULT", "worker-before-prepare=stall:4000@3");
    let clone = clone.named("asleep").spawn();
    until("the clone to stand still", secs(60), || async {
        clone.err().contains("fault point").then_some(())
    })
    .await;
    workload.until_more(60).await;
    workload.stop().await;
    clone.finish(Duration::from_secs(240)).await.expect_ok();
    assert_whole(&target).await;
    values::assert_same(&source, &target, &[]).await;
    living.discard().await;
}

macro_rules! pairs {
    ($($name:ident: $what:ident, $from:ident, $to:ident, $more:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin($what(Engine::$from, Engine::$to, &$more)).await;
        })*
    };
}

const REPLAY: [&str; 1] = ["--replay"];

pairs! {
    mariadb: of_a_living_source, Mariadb, Mariadb, [];
    mysql9: of_a_living_source, Mysql9, Mysql9, [];
    postgres: of_a_living_source, PostgresPrepared, PostgresPrepared, [];
    sqlite: of_a_living_source, Sqlite, Sqlite, REPLAY;
    mariadb_to_postgres: of_a_living_source, Mariadb, PostgresPrepared, [];
    postgres_to_mariadb: of_a_living_source, PostgresPrepared, Mariadb, [];
    asleep_mariadb: of_a_source_that_falls_asleep, Mariadb, Mariadb, [];
    asleep_mysql9: of_a_source_that_falls_asleep, Mysql9, Mysql9, [];
    asleep_postgres: of_a_source_that_falls_asleep, PostgresPrepared, PostgresPrepared, [];
    asleep_sqlite: of_a_source_that_falls_asleep, Sqlite, Sqlite, REPLAY;
}
