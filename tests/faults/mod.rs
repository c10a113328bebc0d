//! The matrix of real faults: every engine, every phase, every fault, with real processes and real
//! servers. `scene` puts a job into a phase and judges its end; `matrix` walks the cells; the faults
//! register in `kinds`. `large` is a job of two million rows in which something dies.

mod catchup;
mod dataset;
mod embedded;
mod failover;
pub mod hands;
mod judge;
mod kinds;
mod large;
mod living;
mod matrix;
pub mod matter;
mod network;
mod outside;
mod phase;
mod points;
pub mod pool;
mod processes;
mod props;
mod resources;
mod rogue;
mod scene;
mod servers;
mod staging;
mod statements;
mod tally;

use phase::Phase;
use scene::{Engine, Scene};

/// Each engine, undisturbed: what the matrix compares with.
async fn undisturbed(engine: Engine) {
    let started = std::time::Instant::now();
    let Some(scene) = Scene::builder(engine).coordinators(1).start().await else {
        return;
    };
    let began = started.elapsed();
    let report = scene.finish().await;
    println!(
        "{}: start {began:?}, all {:?}, {report:?}",
        engine.name(),
        started.elapsed()
    );
    assert_eq!(report.redone, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_mariadb() {
    undisturbed(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_mysql9() {
    undisturbed(Engine::Mysql9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_postgres_prepared() {
    undisturbed(Engine::PostgresPrepared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_postgres_held() {
    undisturbed(Engine::PostgresHeld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_sqlite() {
    undisturbed(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stands_at_the_point() {
    let scene = Scene::builder(Engine::Sqlite).hold(Phase::Load, 500);
    let mut scene = scene
        .coordinators(1)
        .start()
        .await
        .expect("SQLite is never off");
    let worker = scene.reached().await;
    assert!(["w1", "w2"].contains(&worker.as_str()), "{worker}");
    scene.mark_strike();
    let report = scene.finish().await;
    assert!(report.recovery.is_some());
}
