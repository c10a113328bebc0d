//! A comparison whose worker, leader or only process dies: it goes on at the last range that was
//! done, and comes to what an undisturbed one comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;

use super::told::{Found, Value, wrongs};
use crate::harness::cluster::Cluster;
use crate::harness::process::{Finished, Running, Sterna};
use crate::harness::server::{self, Lent};
use crate::harness::wait::until;
use crate::harness::{dataset, leftovers};

const ROWS: u64 = 100_000;
/// Some fifty ranges.
const CHUNKS: &str = "[chunk]\npartition_bytes = \"128KiB\"\nbucket_bytes = \"32KiB\"\n";
/// So that there is time to be killed in: some five seconds of comparing.
const RATE: &str = "40k";
const DONE: Duration = Duration::from_secs(120);
const JOB: &str = "shop";

/// A cluster that has copied a table, and a target that was damaged since.
struct Scene {
    server: Lent,
    cluster: Cluster,
}

/// At the target; far apart.
const DAMAGE: &[&str] = &[
    "DELETE FROM narrow WHERE id = 3",
    "UPDATE narrow SET name = 'Name-100' WHERE id = 300",
    "UPDATE narrow SET amount = amount + 0.01 WHERE id = 150000",
    "INSERT INTO narrow SELECT id + 1, n, name, amount, at FROM narrow WHERE id = 225000",
    "DELETE FROM narrow WHERE id = 300000",
];

fn damage() -> Vec<Found> {
    let found = |class, id: u32| Found::new(class, "narrow", &[Value::number(id)]);
    let name = (Value::text("name-100"), Value::text("Name-100"));
    let amount = (Value::number("500.00"), Value::number("500.01"));
    vec![
        found("missing", 3),
        found("different", 300).columns(&[("name", name.0, name.1)]),
        found("different", 150_000).columns(&[("amount", amount.0, amount.1)]),
        found("extra", 225_001),
        found("missing", 300_000),
    ]
}

impl Scene {
    async fn copied(coordinators: usize) -> Scene {
        let server = server::lend().await;
        let source = dataset::narrow(&server, "big", ROWS).await;
        let target = server.create("copy").await;
        let cluster = Box::pin(Cluster::start(coordinators, 2)).await;
        cluster.until_workers(2).await;
        let applied = cluster.apply(JOB, &source, &target, CHUNKS).await;
        applied.expect_ok();
        cluster.wait_completed(JOB, DONE).await.expect_ok();
        server.exec("copy", DAMAGE).await;
        Scene { server, cluster }
    }

    fn verify(&self, args: &[&str]) -> Sterna {
        let command = ["verify", "-j", JOB, "-o", "json", "--progress", "none"];
        self.cluster.sterna(&command).args(args)
    }

    /// Begins a slow comparison; its job's name, once some of its ranges are done and most aren't.
    async fn half_done(&self, number: u32) -> (Running, String) {
        let running = self.verify(&["--rate", RATE]).spawn();
        let name = format!("{JOB}-verify-{number}");
        let done = |status: &Json| status["tasks"]["done"].as_u64() >= Some(10);
        let status = self
            .cluster
            .until_status(&name, "some ranges", DONE, done)
            .await;
        let (done, total) = (&status["tasks"]["done"], &status["tasks"]["total"]);
        println!("{name}: {done} of {total} tasks are done");
        assert_eq!(
            status["phase"], "Verifying",
            "it should have been half way: {status:#}"
        );
        (running, name)
    }

    /// The result is the undisturbed one, and no range that was done was given out again.
    async fn judge(&self, finished: &Finished, name: &str, undisturbed: &Json) {
        assert_eq!(finished.code, 10, "{finished}");
        let report = finished.json();
        let wrongs = wrongs(&report, &damage());
        assert!(wrongs.is_empty(), "{name}:\n{}", wrongs.join("\n"));
        assert_eq!(essence(&report), essence(undisturbed), "{name}");
        let events = self.cluster.events(name).await;
        assert_done_once(&events);
    }

    async fn end(self) {
        drop(self.cluster);
        leftovers::none_on(&self.server).await;
    }
}

/// What two comparisons of the same databases have in common.
fn essence(report: &Json) -> Json {
    let table = &report["tables"][0];
    let mut keys: Vec<Json> = { report["differences"].as_array().expect("a list").iter() }
        .map(|one| serde_json::json!([one["key_hash"], one["class"], one["columns"]]))
        .collect();
    keys.sort_by_key(Json::to_string);
    serde_json::json!({
        "rows": [table["rows_source"], table["rows_target"]],
        "digests": [table["digest_source"], table["digest_target"]],
        "counts": report["counts"],
        "differences": keys,
        "schema": report["schema_differences"],
    })
}

/// Each range is done once, by one worker, and isn't given to another afterwards.
fn assert_done_once(events: &[Json]) -> BTreeMap<u64, usize> {
    let mut done: BTreeSet<u64> = BTreeSet::new();
    let mut given: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "examine") {
        let task = event["task"].as_u64().expect("a number");
        match event["event"].as_str() {
            Some("task_assigned") => {
                assert!(!done.contains(&task), "done, and given again: {event}");
                *given.entry(task).or_default() += 1;
            }
            Some("task_done") => assert!(done.insert(task), "done twice: {event}"),
            _ => {}
        }
    }
    assert!(done.len() > 20, "few ranges: {done:?}");
    assert_eq!(done.len(), given.len(), "all are done");
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifying_worker_is_killed() {
    let mut scene = Box::pin(Scene::copied(3)).await;
    let undisturbed = scene.verify(&[]).run().await;
    scene
        .judge(&undisturbed, "shop-verify-1", &undisturbed.json())
        .await;
    let undisturbed = undisturbed.json();
    let (running, name) = scene.half_done(2).await;
    scene.cluster.worker("w1").kill().await;
    let finished = running.finish(DONE).await;
    scene.judge(&finished, &name, &undisturbed).await;
    let events = scene.cluster.events(&name).await;
    let given = assert_done_once(&events);
    let again = given.values().filter(|times| **times > 1).count();
    println!("{again} of {} ranges were given again", given.len());
    assert!(again > 0, "the worker died idle");
    scene.end().await;
}

/// In the middle of reading a range, by its own fault point, while another compares.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_in_the_middle_of_a_range() {
    let mut scene = Box::pin(Scene::copied(1)).await;
    let undisturbed = scene.verify(&[]).run().await.json();
    let fault = [("STERNA_FAULT", "verify-midway=exit@7")];
    scene.cluster.start_worker("doomed", &fault);
    scene.cluster.until_workers(3).await;
    let running = scene.verify(&["--rate", RATE]).spawn();
    let doomed = scene.cluster.workers.pop().expect("just started");
    let died = doomed.finish(DONE).await;
    assert!(
        died.stderr.contains("verify-midway") || died.stdout.contains("verify-midway"),
        "{died}"
    );
    let finished = running.finish(DONE).await;
    scene.judge(&finished, "shop-verify-2", &undisturbed).await;
    let events = scene.cluster.events("shop-verify-2").await;
    assert!(assert_done_once(&events).values().any(|times| *times > 1));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed() {
    let mut scene = Box::pin(Scene::copied(3)).await;
    let undisturbed = scene.verify(&[]).run().await.json();
    let (running, name) = scene.half_done(2).await;
    let (old, took) = scene.cluster.kill_leader().await;
    println!("{old} was killed; another leads after {took:?}");
    let finished = running.finish(DONE).await;
    scene.judge(&finished, &name, &undisturbed).await;
    scene.end().await;
}

/// One process: the same command again goes on, and reads only what wasn't done.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_and_the_same_command_again() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", ROWS).await;
    let dir = crate::harness::process::Dir::new();
    let create = "CREATE TABLE narrow LIKE big.narrow";
    let copy = "INSERT INTO narrow SELECT * FROM big.narrow";
    let target = server.create("copy").await;
    server.exec("copy", &[create, copy]).await;
    server.exec("copy", DAMAGE).await;
    let command = |rate: &str, state: &str, progress: &str| {
        let state = dir.file(state);
        Sterna::new(dir.path(), &["verify", &source, &target])
            .args(&["--state-dir", &state, "--progress", progress, "-o", "json"])
            .args(&["--partition-size", "64KiB", "--rate", rate])
    };
    let before = rows_read(&server).await;
    let undisturbed = command(RATE, "first", "none").run().await;
    let read_undisturbed = rows_read(&server).await - before;
    let wrongs = wrongs(&undisturbed.json(), &damage());
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    let mut running = command(RATE, "second", "json").spawn();
    let done = until("some ranges", DONE, || async {
        compared(&running.err()).filter(|rows| *rows > ROWS / 5)
    })
    .await;
    running.kill().await;
    assert!(done < ROWS, "it should have been half way");
    let before = rows_read(&server).await;
    let again = command(RATE, "second", "none").run().await;
    let read = rows_read(&server).await - before;
    assert_eq!(again.code, 10, "{again}");
    assert_eq!(essence(&again.json()), essence(&undisturbed.json()));
    println!("{done} rows were compared before, {read} rows read after it");
    // Ranges that differ are read a few times, and some were in flight.
    assert!(
        read + done < read_undisturbed,
        "{read} rows read, {done} were done, {read_undisturbed} are read in one run"
    );
    leftovers::none_on(&server).await;
}

/// The last number of compared rows that the progress tells.
fn compared(progress: &str) -> Option<u64> {
    let lines = progress.lines().rev();
    let mut parsed = lines.filter_map(|line| serde_json::from_str::<Json>(line).ok());
    parsed.find_map(|line| line["rows_compared"].as_u64())
}

/// Rows that this server's storage engines were asked for so far.
async fn rows_read(server: &server::Server) -> u64 {
    use mysql_async::prelude::Queryable;
    let mut conn = server.connect("").await;
    let sum = "SELECT CAST(SUM(VARIABLE_VALUE) AS UNSIGNED) FROM information_schema.GLOBAL_STATUS \
               WHERE VARIABLE_NAME IN ('HANDLER_READ_NEXT', 'HANDLER_READ_RND_NEXT')";
    let rows: Option<u64> = conn.query_first(sum).await.expect("a number");
    rows.expect("a row")
}
