//! The judgement of a scene: the job's own account of itself, its events, and both databases. Shares
//! no code with the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::harness::cluster::Cluster;
use crate::harness::dumps;
use crate::harness::lab::Database;
use crate::harness::oracle::values;
use crate::harness::process::Sterna;
use crate::harness::wait::{secs, until};

/// Completed, verified, every partition committed.
pub fn status(status: &Value) {
    assert_eq!(status["phase"], "Completed", "{status:#}");
    assert_eq!(status["verified"], true, "{status:#}");
    let counts = &status["partitions"];
    assert!(
        counts["total"].as_u64() >= Some(20),
        "too few to disturb: {counts}"
    );
    assert_eq!(counts["committed"], counts["total"], "{counts}");
    assert_eq!(counts["in_flight"], 0, "{counts}");
    assert!(status["failure"].is_null(), "{status:#}");
}

/// Epochs grow, every partition is committed exactly once and by a decision, and what was handed out
/// again is what `redone` says.
pub fn events(status: &Value, events: &[Value]) {
    let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
    let mut committed: BTreeMap<u64, u64> = BTreeMap::new();
    let mut decided: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut last_seq = 0;
    for event in events {
        let seq = event["seq"].as_u64().expect("every event has one");
        assert!(seq > last_seq, "events out of order: {event}");
        last_seq = seq;
        let (partition, epoch) = (event["partition"].as_u64(), event["epoch"].as_u64());
        let (Some(partition), Some(epoch)) = (partition, epoch) else {
            continue;
        };
        match event["event"].as_str().unwrap_or_default() {
            "assigned" => {
                let before = epochs.insert(partition, epoch);
                assert!(
                    before.is_none_or(|old| old < epoch),
                    "an epoch used twice: {event}"
                );
            }
            "decided" => {
                let decision = event["decision"].to_string();
                let before = decided.insert((partition, epoch), decision.clone());
                let same = before.as_ref().is_none_or(|old| *old == decision);
                assert!(same, "decided {before:?}, then {event}");
            }
            "committed" => {
                let before = committed.insert(partition, epoch);
                assert_eq!(before, None, "committed twice: {event}");
                let decision = decided.get(&(partition, epoch)).map(String::as_str);
                assert_eq!(decision, Some("\"commit\""), "without a decision: {event}");
            }
            _ => {}
        }
    }
    assert_eq!(
        Some(committed.len() as u64),
        status["partitions"]["total"].as_u64()
    );
}

/// Every value and every object of the source is at the target, and nothing else.
pub async fn databases(source: &Database, target: &Database) {
    values::assert_same(source, target, &[]).await;
    dumps::assert_same(source, target, &[]).await;
}

/// Every coordinator that runs tells the same events: their applied states are one.
pub async fn same_everywhere(cluster: &Cluster, job: &str) {
    let running = cluster.coordinators.iter().filter(|c| c.process.is_some());
    let running: Vec<&str> = running.map(|c| c.address.as_str()).collect();
    until(
        "the coordinators to agree on what happened",
        secs(30),
        || async {
            let mut answers = Vec::new();
            for address in &running {
                let args = ["events", "-j", job, "-o", "json", "-C", address];
                answers.push(Sterna::new(cluster.dir.path(), &args).ok().await.stdout);
            }
            let ended = |answer: &String| answer.contains("\"to\":\"Completed\"");
            (answers.windows(2).all(|pair| pair[0] == pair[1]) && answers.iter().all(ended))
                .then_some(())
        },
    )
    .await;
}

/// From `struck` (Unix time) until every unit that was in flight then had got on: it was done, or
/// given to somebody again. None = none was in flight.
pub fn recovery(events: &[Value], struck: u64) -> Option<Duration> {
    let mut in_flight: BTreeSet<String> = BTreeSet::new();
    let mut last = None;
    for event in events {
        let unit = match (&event["partition"], &event["task"]) {
            (Value::Null, Value::Null) => continue,
            (Value::Null, task) => format!("task {task}"),
            (partition, _) => format!("partition {partition}"),
        };
        let at = event["at_ms"].as_u64().unwrap_or_default();
        let kind = event["event"].as_str().unwrap_or_default();
        let starts = kind == "assigned" || kind == "task_assigned";
        let ends = kind == "committed" || kind == "task_done";
        if at < struck {
            if starts {
                in_flight.insert(unit);
            } else if ends {
                in_flight.remove(&unit);
            }
        } else if (starts || ends) && in_flight.remove(&unit) {
            last = Some(at - struck);
        }
    }
    last.map(Duration::from_millis)
}

fn story(lines: &[&str]) {
    let parse = |line: &&str| serde_json::from_str(line).expect("JSON");
    let lines: Vec<Value> = lines.iter().map(parse).collect();
    let status = serde_json::json!({"partitions": {"total": 1}});
    events(&status, &lines);
}

const GIVEN: &str = r#"{"seq":1,"event":"assigned","partition":0,"epoch":1}"#;
const DECIDED: &str = r#"{"seq":2,"event":"decided","partition":0,"epoch":1,"decision":"commit"}"#;
const COMMITTED: &str = r#"{"seq":3,"event":"committed","partition":0,"epoch":1}"#;

#[test]
fn a_good_story_passes() {
    story(&[GIVEN, DECIDED, COMMITTED]);
}

#[test]
#[should_panic(expected = "without a decision")]
fn a_commit_without_decision_is_seen() {
    story(&[GIVEN, COMMITTED]);
}

#[test]
#[should_panic(expected = "committed twice")]
fn a_second_commit_is_seen() {
    let again = COMMITTED.replace("\"seq\":3", "\"seq\":4");
    story(&[GIVEN, DECIDED, COMMITTED, &again]);
}

#[test]
#[should_panic(expected = "an epoch used twice")]
fn an_epoch_used_twice_is_seen() {
    story(&[GIVEN, &GIVEN.replace("\"seq\":1", "\"seq\":2")]);
}
