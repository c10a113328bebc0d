//! Brings a fault point about in a real cluster, does there what the cell says, and sees the job to
//! its end. A process that was ended is started again without the fault.
//!
//! "Stands still" is more than the point's own wait: the process is stopped (SIGSTOP) as soon as it
//! says that it is there, and goes on when its lease is lost, or an election could have passed: a
//! zombie, awake again at exactly this point.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::dataset::CHUNKS;
use super::hands::start_again;
use super::judge;
use super::living;
use super::points::{Action, Cell, Way};
use super::scene::{Builder, Report, Scene};
use crate::harness::lab::Database;
use crate::harness::leftovers::none_in_sqlite;
use crate::harness::wait::{secs, until};

/// Long enough to be noticed and stopped on a busy machine.
const STALL_MS: u64 = 3_000;
/// Longer than the slowest candidate waits.
const ELECTION: Duration = Duration::from_secs(3);
/// The other job of the point behind a submission.
const SECOND: &str = "second";
/// The exit status of a command that finds no leader.
const NO_LEADER: i32 = 20;
const DONE: Duration = Duration::from_secs(240);

/// What came of a cell.
pub struct Outcome {
    process: String,
    report: Report,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (redone, partitions) = (self.report.redone, self.report.partitions);
        write!(
            f,
            "hit by {}, verified after {:.1} s, redone {redone} of {partitions}",
            self.process,
            self.report.wall.as_secs_f64()
        )
    }
}

/// The whole of one cell; None = the engine is off.
pub async fn hit(cell: Cell) -> Option<Outcome> {
    if let Way::Living { nth } = cell.way {
        let armed = format!("{}@{nth}", armed(cell));
        let report = Box::pin(living::at_point(cell, &armed)).await?;
        let process = "w1".to_owned();
        return Some(Outcome { process, report });
    }
    let (mut scene, process) = match cell.way {
        Way::Worker { nth } => {
            let armed = format!("{}@{nth}", armed(cell));
            Box::pin(by_worker(cell, &armed)).await?
        }
        Way::GivesUp => {
            let armed = format!("worker-before-prepare=lose-answer,{}", armed(cell));
            Box::pin(by_worker(cell, &armed)).await?
        }
        Way::Follows => Box::pin(by_follower(cell)).await?,
        Way::Submits => Box::pin(by_submission(cell)).await?,
        Way::Coordinator { count } => Box::pin(by_coordinator(cell, count)).await?,
        Way::Elects => Box::pin(by_election(cell)).await?,
        Way::Wiped => Box::pin(by_wiped(cell)).await?,
        Way::Living { .. } => return None,
    };
    let job = scene.job.clone();
    see_through(&mut scene, &job).await;
    if scene.cluster.coordinators.len() > 1 {
        let settled = |peer: &Value| peer["state"] == "leader" || peer["state"] == "follower";
        let all = |peers: &[Value]| peers.iter().all(settled);
        scene.cluster.until_peers("all to follow", all).await;
    }
    let report = Box::pin(scene.finish()).await;
    Some(Outcome { process, report })
}

/// The point and what it does, as STERNA_FAULT takes them.
fn armed(cell: Cell) -> String {
    match cell.action {
        Action::Exit => format!("{}=exit", cell.fault),
        Action::Stall => format!("{}=stall:{STALL_MS}", cell.fault),
        Action::LoseAnswer => format!("{}=lose-answer", cell.fault),
    }
}

fn builder(cell: Cell, coordinators: usize) -> Builder {
    Scene::builder(cell.engine).coordinators(coordinators)
}

/// Waits until a process is at the point (the WARN line of its log says so); its name.
async fn at_point(scene: &Scene, cell: Cell) -> String {
    scene.reached_one_of(&[cell.fault.as_str()], &[]).await
}

/// w1 is alone until it has hit the point; then w2 comes.
async fn by_worker(cell: Cell, armed: &str) -> Option<(Scene, String)> {
    let builder = builder(cell, 1).workers(1).worker_env("w1", armed);
    let mut scene = Box::pin(builder.start()).await?;
    struck(&mut scene, cell, "w1", "w2").await;
    Some((scene, "w1".to_owned()))
}

/// w1 dies with a prepared T, w2 comes, armed, and hits the point; then w3 comes.
async fn by_follower(cell: Cell) -> Option<(Scene, String)> {
    let dies = "worker-after-prepare=exit";
    let builder = builder(cell, 1).workers(1).worker_env("w1", dies);
    let mut scene = Box::pin(builder.start()).await?;
    scene.reached_one_of(&["worker-after-prepare"], &[]).await;
    start_worker(&mut scene, "w2", &armed(cell));
    struck(&mut scene, cell, "w2", "w3").await;
    Some((scene, "w2".to_owned()))
}

/// `worker` is at the point: what follows from the action. `other` may take over.
async fn struck(scene: &mut Scene, cell: Cell, worker: &str, other: &str) {
    let there = at_point(scene, cell).await;
    assert_eq!(there, worker);
    scene.mark_strike();
    match cell.action {
        Action::Exit => {
            let what = format!("{worker} to end at {}", cell.fault);
            let process = std::sync::Mutex::new(scene.cluster.worker(worker));
            until(&what, secs(20), || {
                let mut process = process.lock().expect("one task");
                let gone = (!process.is_running()).then_some(());
                async move { gone }
            })
            .await;
            start_worker(scene, other, "");
            start_worker(scene, worker, "");
        }
        Action::Stall => {
            scene.cluster.worker(worker).signal("STOP");
            start_worker(scene, other, "");
            until_lost(scene, worker).await;
            scene.cluster.worker(worker).signal("CONT");
        }
        Action::LoseAnswer => start_worker(scene, other, ""),
    }
}

fn start_worker(scene: &mut Scene, name: &str, fault: &str) {
    scene.cluster.workers.retain(|worker| worker.name != name);
    scene.cluster.start_worker(name, &[("STERNA_FAULT", fault)]);
}

/// Its lease has run out and the cluster said so.
async fn until_lost(scene: &Scene, worker: &str) {
    let cluster = &scene.cluster;
    until(&format!("{worker} to be lost"), secs(60), || async {
        let finished = cluster.sterna(&["events", "-o", "json"]).run().await;
        let lost = finished.stdout.lines().any(|line| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            event["event"] == "worker_lost" && event["name"] == worker
        });
        lost.then_some(())
    })
    .await;
}

/// A second job is submitted; whatever its submitter is told, it is there, and ends as well.
async fn by_submission(cell: Cell) -> Option<(Scene, String)> {
    let mut scene = Box::pin(builder(cell, 3).workers(0).start()).await?;
    restart_all(&mut scene, &armed(cell)).await;
    scene.cluster.leader().await;
    let path = scene.cluster.dir.file(SECOND);
    let (source, target) = (scene.source.url.clone(), format!("sqlite:{path}"));
    let told = { &scene.cluster }.apply(SECOND, &source, &target, CHUNKS);
    let told = told.await;
    let process = at_point(&scene, cell).await;
    let known = told.code == 0 || (told.code == NO_LEADER && cell.action == Action::Exit);
    assert!(known, "{told}");
    stand_still(&mut scene, cell, &process).await;
    for name in ["w1", "w2"] {
        start_worker(&mut scene, name, "");
    }
    see_through(&mut scene, SECOND).await;
    let finished = scene.cluster.wait_completed(SECOND, DONE).await;
    finished.expect_ok();
    let target = Database {
        kind: cell.engine.kind(),
        url: target,
        name: path.clone(),
    };
    judge::databases(&scene.source, &target).await;
    none_in_sqlite(&path).await;
    Some((scene, process))
}

/// The job is submitted while there is no worker; then all coordinators are killed and started
/// again, armed, and the workers come.
async fn by_coordinator(cell: Cell, count: usize) -> Option<(Scene, String)> {
    let mut scene = Box::pin(builder(cell, count).workers(0).start()).await?;
    restart_all(&mut scene, &armed(cell)).await;
    for name in ["w1", "w2"] {
        start_worker(&mut scene, name, "");
    }
    let process = at_point(&scene, cell).await;
    scene.mark_strike();
    stand_still(&mut scene, cell, &process).await;
    Some((scene, process))
}

/// The same, but the leader stays away: it would lead again without an election.
async fn by_election(cell: Cell) -> Option<(Scene, String)> {
    let mut scene = Box::pin(builder(cell, 3).workers(0).start()).await?;
    let leader = scene.cluster.leader().await;
    restart_all_but(&mut scene, Some(&leader), &armed(cell)).await;
    for name in ["w1", "w2"] {
        start_worker(&mut scene, name, "");
    }
    let process = at_point(&scene, cell).await;
    scene.mark_strike();
    stand_still(&mut scene, cell, &process).await;
    Some((scene, process))
}

/// While the job runs, a coordinator that doesn't lead loses its disk and comes back, armed.
async fn by_wiped(cell: Cell) -> Option<(Scene, String)> {
    let mut scene = Box::pin(builder(cell, 3).workers(0).start()).await?;
    restart_all(&mut scene, "").await;
    for name in ["w1", "w2"] {
        start_worker(&mut scene, name, "");
    }
    let under_way = |status: &Value| status["partitions"]["committed"].as_u64() >= Some(8);
    let reached = { &scene.cluster }.until_status(&scene.job, "a log to cut", secs(60), under_way);
    reached.await;
    let leader = scene.cluster.leader().await;
    let others = 0..scene.cluster.coordinators.len();
    let index = { others.into_iter() }
        .find(|i| scene.cluster.coordinators[*i].name != leader)
        .expect("three of them");
    kill_coordinator(&mut scene, index).await;
    let data = { &scene.cluster.dir }.file(&scene.cluster.coordinators[index].name);
    std::fs::remove_dir_all(&data).expect("it had a directory");
    let armed = armed(cell);
    scene
        .cluster
        .set_coordinator_env(&[("STERNA_FAULT", &armed)]);
    scene.cluster.start_coordinator(index);
    scene.cluster.set_coordinator_env(&[]);
    let process = at_point(&scene, cell).await;
    stand_still(&mut scene, cell, &process).await;
    Some((scene, process))
}

async fn kill_coordinator(scene: &mut Scene, index: usize) {
    let process = scene.cluster.coordinators[index].process.take();
    process.expect("it runs").kill().await;
}

/// Kills every coordinator and starts it again with `fault`, and with snapshots every few entries.
async fn restart_all(scene: &mut Scene, fault: &str) {
    restart_all_but(scene, None, fault).await;
}

async fn restart_all_but(scene: &mut Scene, but: Option<&str>, fault: &str) {
    let often = ["--snapshot-every", "8"].map(str::to_owned);
    scene.cluster.coordinator_args.extend(often);
    scene
        .cluster
        .set_coordinator_env(&[("STERNA_FAULT", fault)]);
    for index in 0..scene.cluster.coordinators.len() {
        kill_coordinator(scene, index).await;
    }
    for index in 0..scene.cluster.coordinators.len() {
        if but != Some(scene.cluster.coordinators[index].name.as_str()) {
            scene.cluster.start_coordinator(index);
        }
    }
    scene.cluster.set_coordinator_env(&[]);
}

/// A coordinator that stalls is stopped for longer than an election takes.
async fn stand_still(scene: &mut Scene, cell: Cell, name: &str) {
    if cell.action != Action::Stall {
        return;
    }
    let index = scene.cluster.index_of(name).expect("a coordinator");
    let process = { &scene.cluster.coordinators[index].process }.as_ref();
    let process = process.expect("it runs");
    process.signal("STOP");
    let stopped = Instant::now();
    until("an election to pass", secs(30), || async {
        (stopped.elapsed() > ELECTION).then_some(())
    })
    .await;
    process.signal("CONT");
}

/// Starts again what has ended, until the job has.
async fn see_through(scene: &mut Scene, job: &str) {
    let started = Instant::now();
    loop {
        start_again(scene);
        let status = scene.cluster.try_json(&["status", "-j", job]).await;
        let phase = status
            .as_ref()
            .map_or(&Value::Null, |status| &status["phase"]);
        if ["Completed", "Failed", "Cancelled"]
            .iter()
            .any(|end| phase == end)
        {
            return;
        }
        assert!(started.elapsed() < DONE, "the job doesn't end: {status:?}");
    }
}
