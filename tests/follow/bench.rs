//! Figures of following, on whatever machine runs it: `scripts/follow-bench` runs these in release.
//! They do nothing in the test run, and fail only if something isn't exact.
//!
//! - catch-up: a log of `STERNA_BENCH_TRANSACTIONS` (62,500) write transactions of four row changes,
//!   by Sterna and by the engine's own replication, on servers with durable settings, in one run;
//! - lag: the same transactions at half of that rate, p99 of what the target is behind;
//! - latency: from COMMIT at an idle source to the row being seen at the target, 200 times.

mod load;
mod native;

use std::time::{Duration, Instant};

use self::load::Load;
use super::living::{JOB, Living, Set};
use crate::faults::pool::Engine;
use crate::harness::wait::{secs, until};
use crate::harness::workload::link::Link;

/// Of the catch-up.
const DEADLINE: Duration = Duration::from_secs(900);

fn count(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `STERNA_BENCH` is set: `scripts/follow-bench` does it.
fn is_wanted() -> bool {
    std::env::var_os("STERNA_BENCH").is_some()
}

fn transactions() -> u64 {
    count("STERNA_BENCH_TRANSACTIONS", 62_500)
}

/// A figure, as the script collects it.
fn figure(what: &str, value: f64, unit: &str) {
    println!("FIGURE {what}: {value:.2} {unit}");
}

/// A scene that follows, at rest, with the load's tables in it.
async fn at_rest(engine: Engine) -> Option<Living> {
    let set = Set::new(engine, engine).durable().before(load::tables);
    set.caught_up_quietly().await
}

/// Sterna's time: paused while the log is written, resumed when it is.
async fn by_sterna(engine: Engine) -> Option<(Duration, Living)> {
    let living = at_rest(engine).await?;
    living.cluster.sterna(&["pause", "-j", JOB]).ok().await;
    let load = Load::new(&living.source, 0);
    let wrote = load.run(transactions(), None).await;
    figure(
        "the source wrote",
        transactions() as f64 / wrote.as_secs_f64(),
        "transactions/s",
    );
    let started = Instant::now();
    living.resume().await;
    until("the target to have it all", DEADLINE, || async {
        (load.seen_at(&living.target).await? == transactions()).then_some(())
    })
    .await;
    let took = started.elapsed();
    living.assert_same().await;
    Some((took, living))
}

async fn catch_up(engine: Engine) {
    if !is_wanted() {
        return;
    }
    let native = match engine {
        Engine::PostgresPrepared => native::subscription(transactions()).await,
        _ => native::replica(transactions()).await,
    };
    let name = engine.name();
    figure(
        &format!("catch-up {name} by itself"),
        native.as_secs_f64(),
        "s",
    );
    let Some((sterna, living)) = Box::pin(by_sterna(engine)).await else {
        return;
    };
    living.complete().await;
    figure(
        &format!("catch-up {name} by sterna"),
        sterna.as_secs_f64(),
        "s",
    );
    figure(
        &format!("catch-up {name} ratio"),
        sterna.as_secs_f64() / native.as_secs_f64(),
        "",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn catch_up_mariadb() {
    catch_up(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catch_up_postgres() {
    catch_up(Engine::PostgresPrepared).await;
}

/// What the target is behind while the source writes at half the rate of the catch-up.
async fn lag(engine: Engine) {
    if !is_wanted() {
        return;
    }
    let Some((took, living)) = Box::pin(by_sterna(engine)).await else {
        return;
    };
    let rate = transactions() as f64 / took.as_secs_f64() / 2.0;
    let load = Load::new(&living.source, 1);
    let (mut behind, seconds) = (Vec::new(), count("STERNA_BENCH_SECONDS", 60));
    let beats = load.beats(rate, secs(seconds));
    tokio::pin!(beats);
    let mut target = Link::open(&living.target).await.expect("it answers");
    loop {
        tokio::select! {
            () = &mut beats => break,
            late = load::behind(&mut target) => behind.extend(late),
        }
    }
    behind.sort_by(f64::total_cmp);
    let name = engine.name();
    figure(&format!("lag {name} at"), rate, "transactions/s");
    figure(&format!("lag {name} median"), at(&behind, 0.5), "ms");
    figure(&format!("lag {name} p99"), at(&behind, 0.99), "ms");
    target.close().await;
    living.complete().await;
}

fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_mariadb() {
    lag(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_postgres() {
    lag(Engine::PostgresPrepared).await;
}

/// From the answer of COMMIT to the row being seen.
async fn latency(engine: Engine) {
    if !is_wanted() {
        return;
    }
    let Some(living) = at_rest(engine).await else {
        return;
    };
    let mut source = Link::open(&living.source).await.expect("it answers");
    let mut target = Link::open(&living.target).await.expect("it answers");
    let mut took = Vec::new();
    for n in 1..=i64::try_from(count("STERNA_BENCH_COMMITS", 200)).expect("few") {
        let beat = format!("INSERT INTO beat VALUES ({n}, 0)");
        source.run(&beat).await.expect("a commit");
        let committed = Instant::now();
        let query = format!("SELECT count(*) FROM beat WHERE id={n}");
        while target.numbers(&query).await.expect("a count")[0][0] == 0 {
            assert!(committed.elapsed() < secs(60), "{n} doesn't arrive");
            crate::harness::wait::pause(Duration::from_millis(1)).await;
        }
        took.push(committed.elapsed().as_secs_f64() * 1e3);
        // Idle again: neither in the middle of a batch nor in step with a timer.
        crate::harness::wait::pause(Duration::from_millis(60 + n.unsigned_abs() * 37 % 90)).await;
    }
    took.sort_by(f64::total_cmp);
    figure(
        &format!("latency {} median", engine.name()),
        at(&took, 0.5),
        "ms",
    );
    figure(
        &format!("latency {} p99", engine.name()),
        at(&took, 0.99),
        "ms",
    );
    source.close().await;
    target.close().await;
    living.complete().await;
}

macro_rules! latencies {
    ($($name:ident: $engine:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            latency(Engine::$engine).await;
        })*
    };
}

latencies! {
    latency_mariadb: Mariadb;
    latency_mysql9: Mysql9;
    latency_postgres: PostgresPrepared;
    latency_sqlite: Sqlite;
}
