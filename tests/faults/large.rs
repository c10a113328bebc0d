//! A cluster of three coordinators and three workers moves a large table between two databases of
//! a MariaDB, and something dies: the result is exact, nothing is left, little was done twice.

use std::time::Duration;

use serde_json::Value;

use crate::harness::cluster::Cluster;
use crate::harness::wait::{secs, until};
use crate::harness::{dataset, leftovers, oracle, server};

/// From the death of a leader to a new one in `list-peers`.
const FAILOVER_MAX: Duration = Duration::from_secs(3);
const DONE: Duration = Duration::from_secs(180);
/// Small enough that a job has many partitions in flight whenever something dies.
const CHUNKS: &str = "[chunk]\npartition_bytes = \"4MiB\"\nbucket_bytes = \"1MiB\"\n";

/// Rows of the large table.
fn rows() -> u64 {
    let set = std::env::var("STERNA_TEST_ROWS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(2_000_000)
}

/// A job on a cluster that is under way.
struct Run {
    server: server::Lent,
    cluster: Cluster,
    source: String,
    target: String,
}

impl Run {
    /// Cluster and data; `faults` arms the worker of that name.
    async fn new(rows: u64, faults: &[(&str, &str)]) -> Run {
        let server = server::lend().await;
        let source = dataset::narrow(&server, "big", rows).await;
        let target = server.create("copy").await;
        let mut cluster = Cluster::start(3, 0).await;
        for name in ["w1", "w2", "w3"] {
            let armed = faults.iter().find(|(worker, _)| *worker == name);
            let env: Vec<_> = armed
                .iter()
                .map(|(_, fault)| ("STERNA_FAULT", *fault))
                .collect();
            cluster.start_worker(name, &env);
        }
        let run = Run {
            server,
            cluster,
            source,
            target,
        };
        run.cluster.until_workers(3).await;
        run.cluster
            .apply("big", &run.source, &run.target, CHUNKS)
            .await
            .expect_ok();
        run
    }

    /// Waits until `committed` partitions are committed, and the job still copies.
    async fn until_committed(&self, committed: u64) -> Value {
        let what = format!("{committed} committed partitions");
        let status = self
            .cluster
            .until_status("big", &what, secs(60), |status| {
                status["partitions"]["committed"].as_u64() >= Some(committed)
            })
            .await;
        assert_eq!(
            status["phase"], "Copying",
            "too late to break anything: {status}"
        );
        status
    }

    /// The job ends well; its last status.
    async fn completed(&self) -> Value {
        let finished = self.cluster.wait_completed("big", DONE).await;
        if finished.code != 0 {
            let status = self.cluster.status("big").await;
            panic!("{finished}\n{status:#}");
        }
        let status = self.cluster.status("big").await;
        assert_eq!(status["verified"], true);
        oracle::assert_large_equal(&self.source, &self.target, "narrow", "id").await;
        leftovers::none_on(&self.server).await;
        let redone = &status["partitions"]["redone"];
        println!("redone {redone} of {}", status["partitions"]["total"]);
        status
    }
}

fn redone(status: &Value) -> u64 {
    status["partitions"]["redone"].as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed() {
    let mut run = Box::pin(Run::new(rows(), &[])).await;
    run.until_committed(5).await;
    let (old, failover) = run.cluster.kill_leader().await;
    println!("failover from {old}: {failover:?}");
    let status = run.completed().await;
    assert!(failover < FAILOVER_MAX, "failover took {failover:?}");
    // Workers keep working through a leader change; nothing needs to be copied again.
    assert!(redone(&status) <= 12, "{status}");
    // The dead one comes back and follows.
    let index = run.cluster.index_of(&old).expect("one of ours");
    run.cluster.start_coordinator(index);
    run.cluster
        .until_peers("the old leader to follow", |peers| {
            peers
                .iter()
                .all(|peer| peer["state"] == "leader" || peer["state"] == "follower")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed() {
    let mut run = Box::pin(Run::new(rows(), &[])).await;
    run.until_committed(5).await;
    run.cluster.worker("w2").kill().await;
    let status = run.completed().await;
    let slots = u64::from(run.cluster.slots);
    assert!(
        redone(&status) <= slots,
        "only what was in flight: {status}"
    );
    let events = events_of_all(&run.cluster).await;
    let lost = events.iter().find(|event| event["event"] == "worker_lost");
    assert!(
        lost.is_some_and(|event| event["name"] == "w2"),
        "the loss is in the events"
    );
}

/// After PrepareAck, with the decision known, before Commit: the transaction is prepared in the
/// target and its worker is gone. It must be committed by somebody else, not copied again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_between_prepare_ack_and_commit() {
    let faults = [("w1", "worker-before-commit=exit@2")];
    let mut run = Box::pin(Run::new(rows() / 4, &faults)).await;
    let status = run.completed().await;
    assert!(
        !run.cluster.worker("w1").is_running(),
        "the fault never struck"
    );
    assert!(redone(&status) <= u64::from(run.cluster.slots), "{status}");
}

/// Prepared, and nobody was told: a later owner must not let it block, nor commit it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_after_prepare_before_anybody_knows() {
    let faults = [
        ("w1", "worker-after-prepare=exit@2"),
        ("w2", "worker-after-commit=exit@3"),
    ];
    let mut run = Box::pin(Run::new(rows() / 4, &faults)).await;
    let status = run.completed().await;
    for name in ["w1", "w2"] {
        assert!(
            !run.cluster.worker(name).is_running(),
            "{name}'s fault never struck"
        );
    }
    assert!(
        redone(&status) <= 2 * u64::from(run.cluster.slots),
        "{status}"
    );
}

/// Frozen for twice its lease, then awake again with transactions others have taken over: the
/// fence, not the clock, must keep it from writing.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_freezes_for_twice_its_lease_and_wakes() {
    let mut run = Box::pin(Run::new(rows(), &[])).await;
    run.until_committed(3).await;
    run.cluster.worker("w3").signal("STOP");
    let frozen = std::time::Instant::now();
    let twice = Duration::from_millis(2 * common::limits::Limits::default().lease_ms);
    until("twice the lease to pass", secs(30), || async {
        (frozen.elapsed() > twice).then_some(())
    })
    .await;
    run.cluster.worker("w3").signal("CONT");
    let status = run.completed().await;
    assert!(redone(&status) <= u64::from(run.cluster.slots), "{status}");
    assert!(
        run.cluster.worker("w3").is_running(),
        "it comes back as a new worker"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_worker_joins_and_gets_work() {
    let mut run = Box::pin(Run::new(rows(), &[])).await;
    run.until_committed(2).await;
    run.cluster.start_worker("w4", &[]);
    run.completed().await;
    let events = run.cluster.events("big").await;
    let joined = events_of_all(&run.cluster).await;
    let id = { joined.iter() }
        .find(|event| event["event"] == "worker_joined" && event["name"] == "w4")
        .map(|event| event["worker"].clone())
        .expect("w4 joined");
    let worked =
        { events.iter() }.any(|event| event["event"] == "assigned" && event["worker"] == id);
    assert!(worked, "w4 ({id}) got no partition");
}

async fn events_of_all(cluster: &Cluster) -> Vec<Value> {
    let finished = cluster.sterna(&["events", "-o", "json"]).ok().await;
    let lines = finished.stdout.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Everything at once, and the target's server too.
#[tokio::test(flavor = "multi_thread")]
async fn leader_worker_and_server_die_in_one_job() {
    let mut run = Box::pin(Run::new(rows() / 2, &[])).await;
    run.until_committed(3).await;
    run.cluster.worker("w1").kill().await;
    run.cluster.kill_leader().await;
    run.server.kill();
    run.server.run().await;
    run.cluster.start_worker("w5", &[]);
    run.completed().await;
}
