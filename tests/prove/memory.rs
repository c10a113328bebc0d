//! The memory of a comparison is bounded by slots and batches: not by the length of a row, nor by
//! how many rows there are or differ.

use crate::harness::process::{Dir, Finished, Sterna};
use crate::harness::wait::secs;
use crate::harness::{dataset, server};

const PEAK_MAX: u64 = 256 << 20;

/// The comparison, and the process's peak memory in bytes.
async fn peak_of_verify(source: &str, target: &str) -> (Finished, u64) {
    let dir = Dir::new();
    let command = ["verify", source, target, "-o", "json", "--progress", "none"];
    let state = dir.file("state");
    let mut running = Sterna::new(dir.path(), &command)
        .args(&["--state-dir", &state])
        .spawn();
    let mut peak = 0;
    // Looked at while it runs: what has ended has no memory any more.
    crate::harness::wait::until("its end", secs(220), || {
        peak = peak.max(running.peak_memory());
        let ended = !running.is_running();
        async move { ended.then_some(()) }
    })
    .await;
    let finished = running.finish(secs(10)).await;
    println!("peak memory: {} MiB", peak >> 20);
    assert!(peak > 0, "/proc didn't say");
    (finished, peak)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_million_rows_that_all_differ() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 2_000_000).await;
    let target = server.create("other").await;
    let create = "CREATE TABLE narrow LIKE big.narrow";
    let fill = "INSERT INTO narrow SELECT id, n, CONCAT(name, ' '), amount, at FROM big.narrow";
    server.exec("other", &[create, fill]).await;
    let (finished, peak) = peak_of_verify(&source, &target).await;
    assert_eq!(finished.code, 10, "{}", finished.stderr);
    let report = finished.json();
    assert_eq!(
        report["counts"]["different"], 2_000_000,
        "{}",
        report["counts"]
    );
    assert_eq!(report["counts"]["missing"], 0, "{}", report["counts"]);
    assert_eq!(report["counts"]["extra"], 0, "{}", report["counts"]);
    let told = report["differences"].as_array().expect("a list").len() as u64;
    assert_eq!(report["differences_untold"], 2_000_000 - told);
    assert!(peak < PEAK_MAX, "{} MiB", peak >> 20);
}

/// The same without a key: one range, and every row is missing or extra.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_without_a_key() {
    let server = server::lend().await;
    let source = server.create("big").await;
    let fill = "INSERT INTO bag SELECT seq, CONCAT('row ', seq) FROM seq_1_to_1000000";
    let create = "CREATE TABLE bag (n INT, v VARCHAR(40))";
    server
        .exec("big", &[create, fill, "ANALYZE TABLE bag"])
        .await;
    let target = server.create("other").await;
    let fill = "INSERT INTO bag SELECT n, UPPER(v) FROM big.bag";
    server.exec("other", &[create, fill]).await;
    let (finished, peak) = peak_of_verify(&source, &target).await;
    assert_eq!(finished.code, 10, "{}", finished.stderr);
    let counts = &finished.json()["counts"];
    assert_eq!(counts["missing"], 1_000_000, "{counts}");
    assert_eq!(counts["extra"], 1_000_000, "{counts}");
    assert!(peak < PEAK_MAX, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_64_mib() {
    let server = server::lend().await;
    let source = server.create("huge").await;
    let create = "CREATE TABLE huge (id INT PRIMARY KEY, value LONGBLOB)";
    let long = "REPEAT(UNHEX('00270A5C41FF0922'), 8388608)";
    let fill = format!("INSERT INTO huge VALUES (1, {long}), (2, 'small'), (3, {long})");
    server.exec("huge", &[create, &fill]).await;
    let target = server.create("other").await;
    let copy = "INSERT INTO huge SELECT * FROM huge.huge";
    let last = "UPDATE huge SET value = CONCAT(LEFT(value, 67108863), '!') WHERE id = 3";
    server.exec("other", &[create, copy, last]).await;
    let (finished, peak) = peak_of_verify(&source, &target).await;
    assert_eq!(finished.code, 10, "{}", finished.stderr);
    let report = finished.json();
    let told = report["differences"].as_array().expect("a list");
    assert_eq!(told.len(), 1, "{report:#}");
    assert_eq!(told[0]["key"][0]["value"], "3");
    assert_eq!(told[0]["columns"][0]["column"], "value");
    assert!(peak < PEAK_MAX, "{} MiB", peak >> 20);
}
