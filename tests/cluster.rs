//! A cluster as its operator meets it: jobs, events, members, drains, health, secrets.

use std::time::Instant;

use serde_json::Value;

use crate::harness::cluster::{Cluster, http_get};
use crate::harness::process::soon;
use crate::harness::wait::{secs, until};
use crate::harness::{dataset, leftovers, oracle, server};

/// Small partitions, so that a job of a second has many.
const CHUNKS: &str = "[chunk]\npartition_bytes = \"1MiB\"\nbucket_bytes = \"512KiB\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_s_life_can_be_read_in_status_and_events() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 200_000).await;
    let target = server.create("copy").await;
    let cluster = Box::pin(Cluster::start(3, 2)).await;
    let file = cluster.job_file("shop", &source, &target, CHUNKS);
    let applied = cluster
        .sterna(&["apply", "-f", &file, "--wait-for", "Completed"])
        .run()
        .await;
    applied.expect_ok();
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;

    let status = cluster.status("shop").await;
    assert_eq!(status["api_version"], "v1");
    assert_eq!(status["phase"], "Completed");
    assert_eq!(status["tables"][0]["name"], "narrow");
    assert_eq!(status["tables"][0]["rows_copied"], 200_000);
    let total = status["partitions"]["total"].as_u64().expect("a count");
    assert!(total > 3, "{status}");
    assert_eq!(status["partitions"]["committed"], total);

    let events = cluster.events("shop").await;
    for partition in 0..total {
        assert_transcript(&events, partition);
    }
    let jobs = cluster.json(&["jobs"]).await;
    assert_eq!(jobs["jobs"][0]["job"], "shop");
    let again = cluster
        .sterna(&["wait", "-j", "shop", "--for", "Copying"])
        .run()
        .await;
    assert_eq!(again.code, 0, "past the phase is fine: {again}");
}

/// One partition's two-phase commit: assigned, prepared, decided, committed, all of one epoch.
fn assert_transcript(events: &[Value], partition: u64) {
    let of_it: Vec<&Value> = { events.iter() }
        .filter(|event| event["partition"] == partition)
        .collect();
    let names: Vec<&str> = of_it
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(
        names,
        ["assigned", "prepared", "decided", "committed"],
        "{of_it:#?}"
    );
    assert!(
        of_it
            .iter()
            .all(|event| event["epoch"] == of_it[0]["epoch"]),
        "{of_it:#?}"
    );
    assert!(
        of_it[1]["rows"].is_u64() && of_it[1]["digest"].is_string(),
        "{:#}",
        of_it[1]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_and_cancel() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 600_000).await;
    let target = server.create("copy").await;
    let mut cluster = Box::pin(Cluster::start(1, 0)).await;
    cluster.slots = 1;
    cluster.start_worker("w1", &[]);
    cluster
        .apply("shop", &source, &target, CHUNKS)
        .await
        .expect_ok();
    cluster
        .until_status("shop", "copying", secs(60), |status| {
            status["partitions"]["committed"].as_u64() >= Some(2)
        })
        .await;
    cluster.sterna(&["pause", "-j", "shop"]).ok().await;
    let paused = cluster
        .until_status("shop", "nothing in flight", secs(30), |status| {
            status["partitions"]["in_flight"] == 0
        })
        .await;
    assert_eq!(
        paused["phase"], "Copying",
        "it should have been paused half way: {paused}"
    );
    let started = Instant::now();
    let waited = cluster
        .sterna(&["wait", "-j", "shop", "--timeout", "2s"])
        .run()
        .await;
    assert_eq!(waited.code, 124, "{waited}");
    assert!(started.elapsed() >= secs(2));
    let later = cluster.status("shop").await;
    assert_eq!(
        later["partitions"]["committed"],
        paused["partitions"]["committed"]
    );
    cluster.sterna(&["resume", "-j", "shop"]).ok().await;
    let committed = paused["partitions"]["committed"].as_u64();
    cluster
        .until_status("shop", "going on", secs(30), |status| {
            status["partitions"]["committed"].as_u64() > committed
        })
        .await;
    cluster.sterna(&["cancel", "-j", "shop"]).ok().await;
    let started = Instant::now();
    let waited = cluster
        .sterna(&["wait", "-j", "shop", "--timeout", "60s"])
        .run()
        .await;
    assert_eq!(waited.code, 7, "cancelled can't complete: {waited}");
    assert!(
        started.elapsed() < secs(50),
        "at once, not at the end of the time"
    );
    cluster
        .until_status("shop", "the end", secs(30), |s| s["phase"] == "Cancelled")
        .await;
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_at_once_and_a_name_only_once() {
    let server = server::lend().await;
    let first = dataset::narrow(&server, "first", 100_000).await;
    let second = dataset::text_keyed(&server, "second", 50_000).await;
    let (a, b) = (server.create("a").await, server.create("b").await);
    let mut cluster = Box::pin(Cluster::start(1, 1)).await;
    let slow = [("STERNA_FAULT", "worker-mid-load=stall:1500")];
    cluster.start_worker("slow", &slow);
    cluster.apply("one", &first, &a, CHUNKS).await.expect_ok();
    let twice = cluster.apply("one", &second, &b, CHUNKS).await;
    assert_eq!(twice.code, 7, "{twice}");
    cluster.apply("two", &second, &b, CHUNKS).await.expect_ok();
    for job in ["one", "two"] {
        cluster.wait_completed(job, secs(120)).await.expect_ok();
    }
    oracle::assert_equal(&first, &a).await;
    oracle::assert_equal(&second, &b).await;
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_everyone_answers() {
    let mut cluster = Box::pin(Cluster::start(3, 0)).await;
    for coordinator in &cluster.coordinators {
        let args = [
            "operator",
            "raft",
            "list-peers",
            "-o",
            "json",
            "-C",
            &coordinator.address,
        ];
        let answer = crate::harness::process::Sterna::new(cluster.dir.path(), &args)
            .ok()
            .await;
        let peers = answer.json()["peers"].as_array().expect("peers").clone();
        let leaders = peers
            .iter()
            .filter(|peer| peer["state"] == "leader")
            .count();
        assert_eq!(
            (peers.len(), leaders),
            (3, 1),
            "asked {}: {answer}",
            coordinator.name
        );
    }
    let old = cluster.leader().await;
    cluster
        .sterna(&["operator", "raft", "transfer-leader"])
        .ok()
        .await;
    until("another leader", secs(20), || async {
        cluster.leader_now().await.filter(|name| *name != old)
    })
    .await;
    // A fourth joins, one of the three leaves.
    let address = cluster.add_coordinator().await;
    cluster
        .sterna(&["operator", "raft", "add-peer", "c4", &address])
        .ok()
        .await;
    cluster
        .until_peers("c4 to vote", |peers| {
            peers.len() == 4
                && peers
                    .iter()
                    .any(|p| p["name"] == "c4" && p["voter"] == true)
        })
        .await;
    let leader = cluster.leader().await;
    let leaving = cluster
        .coordinators
        .iter()
        .find(|c| c.name != leader && c.name != "c4");
    let leaving = leaving.expect("two others").name.clone();
    cluster
        .sterna(&["operator", "raft", "remove-peer", &leaving])
        .ok()
        .await;
    cluster
        .until_peers("it to be gone", |peers| {
            peers.len() == 3 && peers.iter().all(|peer| peer["name"] != *leaving)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_of_the_leader_hands_over() {
    let mut cluster = Box::pin(Cluster::start(3, 0)).await;
    let old = cluster.leader().await;
    let index = cluster.index_of(&old).expect("one of ours");
    let process = cluster.coordinators[index].process.take().expect("it runs");
    let started = Instant::now();
    process.signal("TERM");
    let gone = old.as_str();
    let this = &cluster;
    until("a new leader", secs(20), || async move {
        this.leader_now().await.filter(|name| name != gone)
    })
    .await;
    println!("hand-over took {:?}", started.elapsed());
    assert!(started.elapsed() < secs(3), "{:?}", started.elapsed());
    let finished = process.finish(soon()).await;
    assert!([0, 143].contains(&finished.code), "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_of_a_worker_drains() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 600_000).await;
    let target = server.create("copy").await;
    let mut cluster = Box::pin(Cluster::start(1, 2)).await;
    cluster.until_workers(2).await;
    cluster
        .apply("shop", &source, &target, CHUNKS)
        .await
        .expect_ok();
    cluster
        .until_status("shop", "copying", secs(60), |status| {
            status["partitions"]["committed"].as_u64() >= Some(2)
        })
        .await;
    let worker = cluster.workers.remove(0);
    worker.signal("TERM");
    let finished = worker.finish(soon()).await;
    assert!([0, 143].contains(&finished.code), "{finished}");
    cluster.wait_completed("shop", secs(120)).await.expect_ok();
    let status = cluster.status("shop").await;
    assert_eq!(
        status["partitions"]["redone"], 0,
        "a drain loses nothing: {status}"
    );
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served() {
    let mut cluster = Box::pin(Cluster::start(3, 1)).await;
    cluster.until_workers(1).await;
    for coordinator in &cluster.coordinators {
        let get = |path: &'static str| http_get(&coordinator.http, path);
        assert_eq!(get("/healthz").await.expect("an answer").0, 200);
        assert_eq!(get("/readyz").await.expect("an answer").0, 200);
        let (status, metrics) = get("/metrics").await.expect("an answer");
        assert_eq!(status, 200);
        assert!(metrics.contains("# TYPE sterna_"), "{metrics}");
        assert_eq!(get("/nothing").await.expect("an answer").0, 404);
    }
    // Without a quorum: alive, not ready, and a command says so.
    for coordinator in &mut cluster.coordinators[1..] {
        coordinator.process.take().expect("it runs").kill().await;
    }
    let alone = &cluster.coordinators[0];
    until("not ready", secs(20), || async {
        let (status, _) = http_get(&alone.http, "/readyz").await?;
        (status == 503).then_some(())
    })
    .await;
    let health = http_get(&alone.http, "/healthz").await.expect("an answer");
    assert_eq!(health.0, 200, "liveness must not depend on the quorum");
    let args = ["pause", "-j", "x", "-C", &alone.address];
    let finished = crate::harness::process::Sterna::new(cluster.dir.path(), &args)
        .run()
        .await;
    assert_eq!(finished.code, 20, "{finished}");
}

/// A password goes through a reference; whatever anybody writes, it isn't in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_written_nowhere() {
    const CANARY: &str = "c4nary-p4ss";
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 20_000).await;
    server.create("copy").await;
    let user = format!("CREATE USER app@'%' IDENTIFIED BY '{CANARY}'");
    server
        .exec("", &[&user, "GRANT ALL ON *.* TO app@'%'"])
        .await;
    let mut cluster = Box::pin(Cluster::start(1, 0)).await;
    let env = [
        ("SHOP_PASSWORD", CANARY),
        ("RUST_LOG", "debug"),
        ("STERNA_LOG", "debug"),
    ];
    cluster.start_worker("w1", &env);
    let (with, port) = ("password = { env = \"SHOP_PASSWORD\" }", server.port);
    let text = format!(
        "version = 1\nname = \"s\"\n[source]\nurl = \"{source}\"\n[target]\n\
         url = \"mysql://app@127.0.0.1:{port}/copy\"\n{with}\n"
    );
    std::fs::write(cluster.dir.file("s.toml"), text).expect("writable");
    let apply = [
        "apply",
        "-f",
        "s.toml",
        "--wait-for",
        "Completed",
        "--timeout",
        "60s",
    ];
    cluster.sterna(&apply).ok().await;
    oracle::assert_equal(&source, &server.url("copy")).await;
    for args in [&["events"][..], &["status", "-j", "s"], &["node", "list"]] {
        cluster.sterna(args).args(&["-o", "json"]).ok().await;
    }
    let metrics = http_get(&cluster.coordinators[0].http, "/metrics")
        .await
        .expect("an answer");
    assert!(!metrics.1.contains(CANARY));
    let written = cluster.everything_written();
    assert!(written.len() > 5, "state and logs were looked at");
    for (path, bytes) in written {
        let found = bytes
            .windows(CANARY.len())
            .any(|window| window == CANARY.as_bytes());
        assert!(!found, "the password stands in {path}");
    }
}

/// A password typed into a job file's URL is refused, and not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_job_file_is_refused() {
    let cluster = Box::pin(Cluster::start(1, 0)).await;
    let source = "mysql://app:c4nary-typed@127.0.0.1:3306/shop";
    let finished = cluster.apply("s", source, "sqlite:/tmp/x.db", "").await;
    assert_eq!(finished.code, 2, "{finished}");
    assert!(!finished.stderr.contains("c4nary-typed"), "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_killed_goes_on_where_it_was() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 400_000).await;
    let target = server.create("copy").await;
    let mut cluster = Box::pin(Cluster::start(3, 2)).await;
    cluster
        .apply("shop", &source, &target, CHUNKS)
        .await
        .expect_ok();
    cluster
        .until_status("shop", "copying", secs(60), |status| {
            status["partitions"]["committed"].as_u64() >= Some(2)
        })
        .await;
    for coordinator in &mut cluster.coordinators {
        coordinator.process.take().expect("it runs").kill().await;
    }
    for worker in &mut cluster.workers {
        worker.kill().await;
    }
    for index in 0..3 {
        cluster.start_coordinator(index);
    }
    cluster.start_worker("w9", &[]);
    cluster.wait_completed("shop", secs(120)).await.expect_ok();
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
}
