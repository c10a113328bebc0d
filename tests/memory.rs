//! Memory is bounded by slots and batches, not by tables or rows.

use crate::harness::cluster::Cluster;
use crate::harness::wait::secs;
use crate::harness::{dataset, leftovers, oracle, server};

const PEAK_MAX: u64 = 256 << 20;

/// Runs one job on a cluster with one worker; the worker's peak memory in bytes.
async fn peak_of_job(source: &str, target: &str) -> u64 {
    let cluster = Box::pin(Cluster::start(1, 1)).await;
    cluster.until_workers(1).await;
    cluster
        .apply("memory", source, target, "")
        .await
        .expect_ok();
    let finished = cluster.wait_completed("memory", secs(180)).await;
    assert_eq!(
        finished.code,
        0,
        "{finished}\n{:#}",
        cluster.status("memory").await
    );
    let peak = cluster.workers[0].peak_memory();
    assert!(peak > 0, "/proc didn't say");
    println!("peak memory of the worker: {} MiB", peak >> 20);
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_fits_into_256_mib() {
    let server = server::lend().await;
    let source = dataset::wide(&server, "wide", 60_000).await;
    let target = server.create("copy").await;
    let peak = peak_of_job(&source, &target).await;
    assert!(peak < PEAK_MAX, "{} MiB", peak >> 20);
    oracle::assert_large_equal(&source, &target, "wide", "id").await;
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_64_mib_fits_into_256_mib() {
    let server = server::lend().await;
    let source = server.create("huge").await;
    server
        .exec(
            "huge",
            &[
                "CREATE TABLE huge (id INT PRIMARY KEY, value LONGBLOB)",
                "INSERT INTO huge VALUES (1, REPEAT(UNHEX('00270A5C41FF0922'), 8388608)), (2, 'small')",
            ],
        )
        .await;
    let target = server.create("copy").await;
    let peak = peak_of_job(&source, &target).await;
    assert!(peak < PEAK_MAX, "{} MiB", peak >> 20);
    oracle::assert_large_equal(&source, &target, "huge", "id").await;
    leftovers::none_on(&server).await;
}
