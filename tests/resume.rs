//! The same command again goes on: after Ctrl-C, after kill -9 at any moment, after the server
//! died, after an answer got lost.

use std::time::Duration;

use crate::harness::process::{Dir, Running, clone, soon};
use crate::harness::proxy::{Proxy, Trap};
use crate::harness::wait::{secs, until};
use crate::harness::{dataset, leftovers, oracle, server};

/// Waits until the target table holds more than `rows` committed rows, or the process has ended.
async fn until_rows(server: &server::Server, table: &str, rows: u64, process: &mut Running) {
    let process = std::sync::Mutex::new(process);
    until("rows at the target", secs(60), || async {
        if !process.lock().expect("one task").is_running() {
            return Some(());
        }
        (server.count(table).await > rows).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&server, "big", 600_000).await;
    let target = server.create("copy").await;
    let small = ["--partition-size", "2MiB", "--slots", "1"];
    let mut running = clone(&dir, &source, &target).args(&small).spawn();
    until_rows(&server, "copy.narrow", 20_000, &mut running).await;
    running.signal("INT");
    let stopped = running.finish(soon()).await;
    assert_eq!(stopped.code, 130, "{stopped}");
    assert!(
        stopped.stderr.contains("sterna clone"),
        "the command that resumes: {stopped}"
    );
    assert_eq!(leftovers::prepared(&server).await, Vec::<String>::new());
    let finished = clone(&dir, &source, &target)
        .args(&small)
        .args(&["-o", "json"])
        .ok()
        .await;
    oracle::assert_large_equal(&source, &target, "narrow", "id").await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
    assert_eq!(finished.json()["rows_copied"], 600_000);
}

/// Ten kills, each somewhat later in the life of the process, then an undisturbed run.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_loses_nothing() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&server, "big", 300_000).await;
    let target = server.create("copy").await;
    let small = ["--partition-size", "1MiB"];
    let (mut killed, mut told) = (0, false);
    for round in 1..=10 {
        let mut running = clone(&dir, &source, &target).args(&small).spawn();
        // The moment differs by construction; where exactly it falls is luck, which is the point.
        let moment = Duration::from_millis(90 * round);
        if tokio::time::timeout(moment, ended(&mut running))
            .await
            .is_ok()
        {
            // It ended by itself and said so: the same command again would be a new job.
            let finished = running.finish(secs(10)).await;
            assert_eq!(finished.code, 0, "{finished}");
            told = true;
            break;
        }
        running.kill().await;
        killed += 1;
    }
    assert!(killed > 0, "every run ended before it could be killed");
    if !told {
        clone(&dir, &source, &target).args(&small).ok().await;
    }
    oracle::assert_large_equal(&source, &target, "narrow", "id").await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
}

async fn ended(running: &mut Running) {
    let running = std::sync::Mutex::new(running);
    until("its end", secs(60), || async {
        (!running.lock().expect("one task").is_running()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_copy_survives_kill_9() {
    let dir = Dir::new();
    let source = dataset::numbers_sqlite(&dir.file("a.db"), 400_000).await;
    let target = format!("sqlite:{}", dir.file("b.db"));
    let small = ["--partition-size", "1MiB"];
    let mut told = false;
    for round in 1..=5 {
        let mut running = clone(&dir, &source, &target).args(&small).spawn();
        let moment = Duration::from_millis(150 * round);
        if tokio::time::timeout(moment, ended(&mut running))
            .await
            .is_ok()
        {
            // It ended by itself and said so: the same command again would be a new job.
            let finished = running.finish(secs(10)).await;
            assert_eq!(finished.code, 0, "{finished}");
            told = true;
            break;
        }
        running.kill().await;
    }
    if !told {
        clone(&dir, &source, &target).args(&small).ok().await;
    }
    oracle::assert_equal(&source, &target).await;
    leftovers::none_in_sqlite(&dir.file("b.db")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_server_dies_and_comes_back() {
    let source_server = server::lend().await;
    let mut target_server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&source_server, "big", 300_000).await;
    let target = target_server.create("copy").await;
    let small = ["--partition-size", "1MiB", "--slots", "2"];
    let mut running = clone(&dir, &source, &target).args(&small).spawn();
    until_rows(&target_server, "copy.narrow", 20_000, &mut running).await;
    target_server.kill();
    target_server.run().await;
    let finished = running.finish(secs(120)).await;
    // It may have ridden it out, or ended with "unreachable": then the same command goes on.
    if finished.code != 0 {
        assert_eq!(finished.code, 5, "{finished}");
        clone(&dir, &source, &target).args(&small).ok().await;
    }
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&target_server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_xa_commit_is_resolved_by_the_ledger() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&server, "big", 200_000).await;
    server.create("copy").await;
    let proxy = Proxy::to(server.port).await;
    let target = format!("mysql://root@127.0.0.1:{}/copy", proxy.port);
    proxy.trap(b"XA COMMIT", Trap::Silence);
    let small = ["--partition-size", "1MiB"];
    let mut running = clone(&dir, &source, &target).args(&small).spawn();
    let lost = std::sync::Mutex::new(&mut running);
    until("the answer to be lost", secs(60), || async {
        let ended = !lost.lock().expect("one task").is_running();
        (ended || proxy.sprung() > 0).then_some(())
    })
    .await;
    assert_eq!(proxy.sprung(), 1, "{}", running.err());
    proxy.cut();
    let finished = running.finish(secs(150)).await;
    assert_eq!(finished.code, 0, "{finished}");
    oracle::assert_equal(&source, &server.url("copy")).await;
    leftovers::none_on(&server).await;
}
