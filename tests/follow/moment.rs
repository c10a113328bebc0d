//! `sterna clone` of a living source is a copy of one moment: whole transactions up to a position,
//! and nothing after it.

use std::time::Duration;

use super::living::{Living, Set};
use crate::faults::pool::Engine;
use crate::harness::oracle::values;
use crate::harness::process::Sterna;
use crate::harness::wait::{secs, until};
use crate::harness::workload::audit::assert_whole;
use crate::harness::workload::{Options, Workload};

/// SQLite's log takes triggers at the source: it must be asked for.
fn command(living: &Living, state: &str) -> Sterna {
    let dir = &living.cluster.dir;
    let (source, target) = (&living.source.url, &living.target.url);
    let sterna = match living.from {
        Engine::Sqlite => {
            let more = "[follow]\nmode = \"point-in-time\"";
            let file = living.cluster.job_file(state, source, target, more);
            Sterna::new(dir.path(), &["clone", "-f", &file])
        }
        _ => Sterna::new(dir.path(), &["clone", source, target]),
    };
    sterna
        .args(&["--state-dir", &dir.file(state), "--progress", "none"])
        .args(&["-o", "json", "--partition-size", "128KiB"])
}

/// The copy begins and ends while the workload runs.
async fn of_a_living_source(from: Engine, to: Engine) {
    let Some(living) = Set::new(from, to).stage().await else {
        return;
    };
    let (source, target) = (living.source.clone(), living.target.clone());
    let workload = Workload::start(&source, Options::new(2)).await;
    workload.until_more(40).await;
    let before = workload.acknowledged();
    let finished = command(&living, "moment").ok().await;
    let (after, _) = workload.stop().await;
    let seen = assert_whole(&target).await;
    for (session, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        let there = seen.last.get(&session).copied().unwrap_or_default();
        let there = u64::try_from(there).expect("from 1");
        let whole = before <= &there && &there <= after;
        assert!(whole, "session {session}: {there} of {before} to {after}");
    }
    let report = finished.json();
    assert!(
        report["report"]["position"].is_string(),
        "of which moment? {report:#}"
    );
    println!(
        "moment {} to {}: {seen}",
        from.name(),
        to.name(),
        seen = seen.last.len()
    );
    living.discard().await;
}

/// The workload runs while rows are copied and ends before the copy does: the moment is the last.
async fn of_a_source_that_falls_asleep(from: Engine, to: Engine) {
    let Some(living) = Set::new(from, to).stage().await else {
        return;
    };
    let (source, target) = (living.source.clone(), living.target.clone());
    let workload = Workload::start(&source, Options::new(3)).await;
    workload.until_more(20).await;
    let clone = command(&living, "asleep").env("STERNA_LOG", "warn");
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
    ($($name:ident: $what:ident, $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin($what(Engine::$from, Engine::$to)).await;
        })*
    };
}

pairs! {
    mariadb: of_a_living_source, Mariadb, Mariadb;
    mysql9: of_a_living_source, Mysql9, Mysql9;
    postgres: of_a_living_source, PostgresPrepared, PostgresPrepared;
    sqlite: of_a_living_source, Sqlite, Sqlite;
    mariadb_to_postgres: of_a_living_source, Mariadb, PostgresPrepared;
    postgres_to_mariadb: of_a_living_source, PostgresPrepared, Mariadb;
    asleep_mariadb: of_a_source_that_falls_asleep, Mariadb, Mariadb;
    asleep_mysql9: of_a_source_that_falls_asleep, Mysql9, Mysql9;
    asleep_postgres: of_a_source_that_falls_asleep, PostgresPrepared, PostgresPrepared;
    asleep_sqlite: of_a_source_that_falls_asleep, Sqlite, Sqlite;
}
