//! A worker stopped (SIGSTOP) just before its create task makes fence, ledger and tables, and woken
//! after another one has finished the whole job under `recreate`: it must not touch the target, nor
//! leave bookkeeping behind. Judged by the rows themselves.

use crate::harness::cluster::Cluster;
use crate::harness::lab::{Kind, Lab};
use crate::harness::process::Dir;
use crate::harness::wait::secs;
use crate::harness::{dataset, leftovers, oracle, server};

/// Longer than the job file takes to arrive, shorter than a lease: over when the worker wakes.
const STALLED: &str = "create-before-books=stall:1500";

/// A cluster whose only worker has stopped right before it makes the books of job "z".
async fn stopped_before_books(source: &str, target: &str) -> Cluster {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.start_worker("zombie", &[("STERNA_FAULT", STALLED)]);
    cluster.until_workers(1).await;
    let recreate = "mode = \"recreate\"\n";
    cluster
        .apply("z", source, target, recreate)
        .await
        .expect_ok();
    let zombie = cluster.worker("zombie");
    zombie.says("create-before-books", secs(60)).await;
    zombie.signal("STOP");
    cluster
}

/// Another worker does the job from its beginning to its end.
async fn finished_by_another(cluster: &mut Cluster) {
    cluster.start_worker("other", &[]);
    cluster.wait_completed("z", secs(120)).await.expect_ok();
}

/// The stopped one goes on, finds its leader again, and ends in order.
async fn woken(cluster: &mut Cluster) {
    let zombie = cluster.worker("zombie");
    zombie.signal("CONT");
    cluster.until_workers(2).await;
    let position = cluster.workers.iter().position(|w| w.name == "zombie");
    let zombie = cluster.workers.remove(position.expect("it was started"));
    // A worker that is told to end waits for what it has begun.
    zombie.signal("TERM");
    zombie.finish(secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_woken_create_task_does_not_touch_a_mariadb() {
    let server = server::lend().await;
    let source = dataset::shop_mysql(&server, "shop").await;
    let target = server.create("copy").await;
    let mut cluster = stopped_before_books(&source, &target).await;
    finished_by_another(&mut cluster).await;
    oracle::assert_equal(&source, &target).await;
    woken(&mut cluster).await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_woken_create_task_does_not_touch_a_postgres() {
    let lab = Lab::new(&[Kind::Postgres])
        .await
        .expect("it is always there");
    let source = lab.database(Kind::Postgres, "shop").await;
    let target = lab.database(Kind::Postgres, "copy").await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text); \
                 INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 1000) n";
    source.script(table).await;
    let mut cluster = stopped_before_books(&source.url, &target.url).await;
    finished_by_another(&mut cluster).await;
    oracle::assert_equal(&source.url, &target.url).await;
    woken(&mut cluster).await;
    oracle::assert_equal(&source.url, &target.url).await;
    leftovers::none_in_postgres(&target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_woken_create_task_does_not_touch_an_sqlite_file() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let path = dir.file("copy.db");
    let target = format!("sqlite:{path}");
    let mut cluster = stopped_before_books(&source, &target).await;
    finished_by_another(&mut cluster).await;
    oracle::assert_equal(&source, &target).await;
    woken(&mut cluster).await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_in_sqlite(&path).await;
}
