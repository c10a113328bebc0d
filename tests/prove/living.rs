//! A comparison of a pair that lives: a job follows, a workload goes on at the source, and what is
//! merely on its way is no difference, while a row that somebody damaged at the target is one.

use serde_json::Value as Json;

use crate::faults::pool::Engine;
use crate::follow::living::{DONE, JOB, Living, Set};
use crate::harness::process::Finished;

async fn verify(living: &Living) -> Finished {
    let command = ["verify", "-j", JOB, "-o", "json", "--progress", "none"];
    let running = living.cluster.sterna(&command).spawn();
    running.finish(DONE).await
}

fn listed(report: &Json) -> Vec<Json> {
    let listed = report["differences"].as_array().expect("a list").iter();
    listed
        .filter(|one| one["class"] != "in_flight")
        .cloned()
        .collect()
}

async fn compared_while_it_lives(from: Engine, to: Engine) {
    let Some(mut living) = Set::new(from, to).caught_up().await else {
        return;
    };
    for round in 1..=2 {
        let before: u64 = living.workload().acknowledged().iter().sum();
        let finished = verify(&living).await;
        let after: u64 = living.workload().acknowledged().iter().sum();
        assert!(
            [0, 11].contains(&finished.code),
            "round {round}: {finished}"
        );
        let report = finished.json();
        println!(
            "round {round}, {} transactions meanwhile: {}",
            after - before,
            report["summary"]
        );
        assert!(after > before, "nothing was written meanwhile");
        assert!(listed(&report).is_empty(), "{report:#}");
    }
    // Nobody touches this row of the workload's: its key is none of those it makes or changes.
    let row = "INSERT INTO bulk (id, k, u) VALUES (-77, 1, 'quiet')";
    living.source.exec(&[row]).await;
    living.live_on(40).await;
    crate::harness::wait::until("the row to arrive", DONE, || async {
        let rows = count(&living).await;
        (rows == 1).then_some(())
    })
    .await;
    living
        .target
        .exec(&["UPDATE bulk SET k = 2 WHERE id = -77"])
        .await;
    let finished = verify(&living).await;
    assert_eq!(finished.code, 10, "{finished}");
    let report = finished.json();
    let found = listed(&report);
    assert_eq!(found.len(), 1, "{report:#}");
    assert_eq!(report["counts"]["different"], 1, "{report:#}");
    let column = &found[0]["columns"][0];
    assert_eq!(found[0]["key"][0]["value"], "-77", "{report:#}");
    assert_eq!(column["column"], "k", "{report:#}");
    assert_eq!(
        (&column["source"], &column["target"]),
        (&"1".into(), &"2".into())
    );
    // Undone as it was done.
    living
        .target
        .exec(&["UPDATE bulk SET k = 1 WHERE id = -77"])
        .await;
    living.settle().await;
    let finished = verify(&living).await;
    assert_eq!(finished.code, 0, "at rest: {finished}");
    living.complete().await;
}

async fn count(living: &Living) -> i64 {
    use crate::harness::workload::link::Link;
    let mut link = Link::open(&living.target)
        .await
        .expect("the target answers");
    let count = link
        .numbers("SELECT count(*) FROM bulk WHERE id = -77")
        .await;
    link.close().await;
    count.expect("a number")[0][0]
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin(compared_while_it_lives(Engine::$from, Engine::$to)).await;
        })*
    };
}

pairs! {
    mariadb_to_mariadb: Mariadb, Mariadb;
    postgres_to_postgres: PostgresPrepared, PostgresPrepared;
    mariadb_to_postgres: Mariadb, PostgresPrepared;
}
