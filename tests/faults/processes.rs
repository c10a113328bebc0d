//! Faults of the processes: killed, frozen, lost, replaced, added, drained, at the phase's point.

use futures::future::BoxFuture;
use serde_json::Value;

use super::phase::Phase;
use super::pool::Engine;
use super::scene::{Report, Scene};
use crate::harness::wait::{secs, until};

type Strike = for<'a> fn(&'a mut Scene, &'a str) -> BoxFuture<'a, ()>;

/// One thing that happens to processes.
pub struct Process {
    pub name: &'static str,
    coordinators: usize,
    strike: Strike,
}

/// Long enough to strike meanwhile, on a busy machine too.
const HOLD_MS: u64 = 1_000;

macro_rules! processes {
    ($( $name:ident: $coordinators:literal; )*) => {
        pub const ALL: &[Process] = &[$( Process {
            name: stringify!($name),
            coordinators: $coordinators,
            strike: |scene, at| Box::pin($name(scene, at)),
        } ),*];
    };
}

processes! {
    worker_killed: 1;
    worker_killed_and_back: 1;
    workers_killed: 1;
    worker_killed_twice: 1;
    worker_frozen: 1;
    worker_drained: 1;
    worker_joins: 1;
    leader_killed: 3;
    leader_frozen: 3;
    follower_killed: 3;
    coordinators_killed: 3;
    lone_coordinator_killed: 1;
    coordinator_replaced: 3;
    worker_and_leader_killed: 3;
    all_killed: 3;
}

impl Process {
    /// One cell: the job stands at the phase's point, this happens, the job completes.
    pub async fn run(&self, engine: Engine, phase: Phase, nth: u32) -> Option<Report> {
        let builder = Scene::builder(engine).coordinators(self.coordinators);
        let builder = builder.hold(phase, HOLD_MS).nth(nth);
        let mut scene = Box::pin(builder.start()).await?;
        let at = scene.reached().await;
        scene.mark_strike();
        (self.strike)(&mut scene, &at).await;
        Some(Box::pin(scene.finish()).await)
    }
}

/// Its share goes to the other.
async fn worker_killed(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).kill().await;
}

/// A new process of the same name, before the old one's lease is over.
async fn worker_killed_and_back(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).kill().await;
    scene.cluster.workers.retain(|worker| worker.name != at);
    scene.cluster.start_worker(at, &[]);
}

/// All of them; two others come.
async fn workers_killed(scene: &mut Scene, _: &str) {
    for worker in &mut scene.cluster.workers {
        worker.kill().await;
    }
    scene.cluster.start_worker("w8", &[]);
    scene.cluster.start_worker("w9", &[]);
}

/// The one that takes over dies at the same point.
async fn worker_killed_twice(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).kill().await;
    if let Some(second) = scene.reached_again(at).await {
        scene.cluster.worker(&second).kill().await;
    }
    scene.cluster.start_worker("w9", &[]);
}

/// Frozen until the leader has given it up, then awake: it goes on exactly where it stood.
async fn worker_frozen(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).signal("STOP");
    let cluster = &scene.cluster;
    until("the frozen worker to be lost", secs(60), || async {
        let finished = cluster.sterna(&["events", "-o", "json"]).run().await;
        let mut events = finished.stdout.lines();
        let lost = events.any(|line| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|event| event["event"] == "worker_lost" && event["name"] == at)
        });
        lost.then_some(())
    })
    .await;
    scene.cluster.worker(at).signal("CONT");
}

/// SIGTERM: it ends what it has and goes.
async fn worker_drained(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).signal("TERM");
    let worker = std::sync::Mutex::new(scene.cluster.worker(at));
    until("the drained worker to end", secs(60), || async {
        let gone = !worker.lock().expect("one task").is_running();
        gone.then_some(())
    })
    .await;
}

async fn worker_joins(scene: &mut Scene, _: &str) {
    scene.cluster.start_worker("w3", &[]);
    scene.cluster.until_workers(3).await;
}

/// It stays away.
async fn leader_killed(scene: &mut Scene, _: &str) {
    scene.cluster.kill_leader().await;
}

/// Frozen until another leads, then awake and of the opinion that it leads.
async fn leader_frozen(scene: &mut Scene, _: &str) {
    let old = scene.cluster.leader().await;
    let frozen = scene.cluster.index_of(&old).expect("one of ours");
    signal(scene, frozen, "STOP");
    let cluster = &scene.cluster;
    let old = old.as_str();
    until("another leader", secs(60), || async move {
        for (i, coordinator) in cluster.coordinators.iter().enumerate() {
            if i != frozen
                && let Some(leader) = cluster.leader_by(&coordinator.address).await
                && leader != old
            {
                return Some(());
            }
        }
        None
    })
    .await;
    signal(scene, frozen, "CONT");
}

fn signal(scene: &Scene, coordinator: usize, name: &str) {
    let process = scene.cluster.coordinators[coordinator].process.as_ref();
    process.expect("it runs").signal(name);
}

async fn kill_coordinator(scene: &mut Scene, index: usize) {
    let process = scene.cluster.coordinators[index].process.take();
    process.expect("it runs").kill().await;
}

/// One that doesn't lead.
async fn follower(scene: &Scene) -> usize {
    let leader = scene.cluster.leader().await;
    let others = scene.cluster.coordinators.iter();
    let mut others = others.enumerate().filter(|(_, c)| c.name != leader);
    others.next().expect("three of them").0
}

async fn follower_killed(scene: &mut Scene, _: &str) {
    let index = follower(scene).await;
    kill_coordinator(scene, index).await;
    scene.cluster.start_coordinator(index);
}

/// The whole control plane, back on its data.
async fn coordinators_killed(scene: &mut Scene, _: &str) {
    for index in 0..scene.cluster.coordinators.len() {
        kill_coordinator(scene, index).await;
    }
    for index in 0..scene.cluster.coordinators.len() {
        scene.cluster.start_coordinator(index);
    }
}

async fn lone_coordinator_killed(scene: &mut Scene, at: &str) {
    coordinators_killed(scene, at).await;
}

/// One loses its disk: it is removed, another one joins.
async fn coordinator_replaced(scene: &mut Scene, _: &str) {
    let index = follower(scene).await;
    let name = scene.cluster.coordinators[index].name.clone();
    kill_coordinator(scene, index).await;
    let data = scene.cluster.dir.file(&name);
    std::fs::remove_dir_all(data).expect("its data are there");
    let address = scene.cluster.add_coordinator().await;
    let cluster = &scene.cluster;
    for change in [
        &["operator", "raft", "remove-peer", name.as_str()][..],
        &["operator", "raft", "add-peer", "c4", &address],
    ] {
        cluster.sterna(change).ok().await;
    }
    let votes = |peers: &[Value]| {
        peers
            .iter()
            .any(|p| p["name"] == "c4" && p["voter"] == true)
    };
    cluster.until_peers("c4 to vote", votes).await;
}

async fn worker_and_leader_killed(scene: &mut Scene, at: &str) {
    scene.cluster.worker(at).kill().await;
    scene.cluster.kill_leader().await;
}

/// Power goes off: every process at once. The coordinators come back on their data, new workers.
async fn all_killed(scene: &mut Scene, at: &str) {
    for worker in &mut scene.cluster.workers {
        worker.kill().await;
    }
    coordinators_killed(scene, at).await;
    scene.cluster.start_worker("w8", &[]);
    scene.cluster.start_worker("w9", &[]);
}
