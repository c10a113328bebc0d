//! The network between a worker and its databases, and between the parts of the cluster: cut, half
//! open, slow, deaf in one direction, silent at the worst moment. The job goes on by itself.

use std::time::Duration;

use super::hands::pass;
use super::pool::Engine;
use super::scene::Scene;
use crate::harness::lan::{Lan, Party};
use crate::harness::proxy::{Proxy, Trap, Way};
use crate::harness::wait::{secs, until};

/// Longer than a lease of the scene and than a leader's silence.
const LONG: Duration = Duration::from_secs(4);
/// One round trip.
const SLOW: Duration = Duration::from_millis(300);

fn to_target(scene: &Scene) -> &Proxy {
    scene.to_target.as_ref().expect("asked for with proxies")
}

fn to_source(scene: &Scene) -> &Proxy {
    scene.to_source.as_ref().expect("asked for with proxies")
}

pub async fn target_cut(scene: &mut Scene) {
    to_target(scene).cut();
}

pub async fn source_cut(scene: &mut Scene) {
    to_source(scene).cut();
}

/// No connection at all for a while.
pub async fn target_away(scene: &mut Scene) {
    to_target(scene).down();
    pass(LONG).await;
    to_target(scene).refuse(0);
}

pub async fn source_away(scene: &mut Scene) {
    to_source(scene).down();
    pass(LONG).await;
    to_source(scene).refuse(0);
}

/// The first connection made after the cut is cut too.
pub async fn target_cut_twice(scene: &mut Scene) {
    to_target(scene).refuse(2);
    to_target(scene).cut();
}

async fn half_open(proxy: &Proxy, way: Way) {
    proxy.hold(way);
    pass(LONG).await;
    proxy.release();
}

/// What was said meanwhile arrives late, statements of workers that gave up among them.
pub async fn target_hears_late(scene: &mut Scene) {
    half_open(to_target(scene), Way::ToServer).await;
}

pub async fn target_heard_late(scene: &mut Scene) {
    half_open(to_target(scene), Way::ToClient).await;
}

pub async fn source_heard_late(scene: &mut Scene) {
    half_open(to_source(scene), Way::Both).await;
}

/// Held in both directions, then never heard of again.
pub async fn target_held_then_cut(scene: &mut Scene) {
    let proxy = to_target(scene);
    proxy.hold(Way::Both);
    pass(LONG).await;
    proxy.cut();
    proxy.release();
}

pub async fn target_slow(scene: &mut Scene) {
    to_target(scene).delay(SLOW);
    pass(LONG).await;
    to_target(scene).delay(Duration::ZERO);
}

pub async fn source_slow(scene: &mut Scene) {
    to_source(scene).delay(SLOW);
    pass(LONG).await;
    to_source(scene).delay(Duration::ZERO);
}

/// How a worker says it to the engine; for COMMIT alone, what it has said before.
fn prepare(engine: Engine) -> &'static [u8] {
    match engine {
        Engine::Mariadb | Engine::Mysql9 => b"XA PREPARE",
        _ => b"PREPARE TRANSACTION",
    }
}

fn commit(engine: Engine) -> (Option<&'static [u8]>, &'static [u8]) {
    match engine {
        Engine::Mariadb | Engine::Mysql9 => (None, b"XA COMMIT"),
        Engine::PostgresPrepared => (None, b"COMMIT PREPARED"),
        // The only COMMIT that follows an entry in the ledger.
        _ => (Some(b"row_count, byte_count, digest"), b"COMMIT\0"),
    }
}

async fn sprung(proxy: &Proxy, times: u64) {
    until("the traps to spring", secs(60), || async {
        (proxy.sprung() >= times).then_some(())
    })
    .await;
}

async fn trapped_prepare(scene: &Scene, trap: Trap) {
    let proxy = to_target(scene);
    proxy.trap(prepare(scene.engine), trap);
    proxy.trap(prepare(scene.engine), trap);
    sprung(proxy, 2).await;
}

async fn trapped_commit(scene: &Scene, trap: Trap) {
    let (proxy, (after, pattern)) = (to_target(scene), commit(scene.engine));
    proxy.trap_after(after, pattern, trap);
    proxy.trap_after(after, pattern, trap);
    sprung(proxy, 2).await;
}

/// T is prepared, its worker sees a cut.
pub async fn prepare_unanswered(scene: &mut Scene) {
    trapped_prepare(scene, Trap::LoseAnswer).await;
}

pub async fn prepare_unheard(scene: &mut Scene) {
    trapped_prepare(scene, Trap::LoseRequest).await;
}

pub async fn commit_unanswered(scene: &mut Scene) {
    trapped_commit(scene, Trap::LoseAnswer).await;
}

pub async fn commit_unheard(scene: &mut Scene) {
    trapped_commit(scene, Trap::LoseRequest).await;
}

/// The answer doesn't come, nor does a close; then the line is cut.
pub async fn commit_silent(scene: &mut Scene) {
    trapped_commit(scene, Trap::Silence).await;
    pass(LONG).await;
    to_target(scene).cut();
}

fn lan(scene: &Scene) -> &Lan {
    scene.props.lan.as_ref().expect("asked for with a network")
}

/// The leader's place among the coordinators, and the others'.
async fn places(scene: &Scene) -> (usize, Vec<usize>) {
    let name = scene.cluster.leader().await;
    let leader = scene.cluster.index_of(&name).expect("one of ours");
    let all = 0..scene.cluster.coordinators.len();
    (leader, all.filter(|i| *i != leader).collect())
}

async fn cut_for_long(scene: &Scene, ways: &[(Party, Party)]) {
    for (from, to) in ways {
        lan(scene).cut(*from, *to);
    }
    pass(LONG).await;
    lan(scene).heal();
}

fn coordinators(of: &[usize]) -> Vec<Party> {
    of.iter().map(|i| Party::Coordinator(*i)).collect()
}

/// What the leader says reaches no other coordinator; it hears them.
pub async fn leader_unheard(scene: &mut Scene) {
    let (leader, others) = places(scene).await;
    let leader = Party::Coordinator(leader);
    let ways: Vec<_> = { coordinators(&others).into_iter() }
        .map(|other| (leader, other))
        .collect();
    cut_for_long(scene, &ways).await;
}

/// The leader hears no other coordinator; they hear it.
pub async fn leader_deaf(scene: &mut Scene) {
    let (leader, others) = places(scene).await;
    let leader = Party::Coordinator(leader);
    let ways: Vec<_> = { coordinators(&others).into_iter() }
        .map(|other| (other, leader))
        .collect();
    cut_for_long(scene, &ways).await;
}

/// The leader and the other coordinators are apart; all reach the workers.
pub async fn leader_apart(scene: &mut Scene) {
    let (leader, others) = places(scene).await;
    let leader = Party::Coordinator(leader);
    let ways: Vec<_> = { coordinators(&others).into_iter() }
        .flat_map(|other| [(leader, other), (other, leader)])
        .collect();
    cut_for_long(scene, &ways).await;
}

/// The workers don't hear the leader, which hears them.
pub async fn workers_deaf(scene: &mut Scene) {
    let leader = Party::Coordinator(places(scene).await.0);
    cut_for_long(scene, &[(leader, Party::Machine)]).await;
}

/// The leader doesn't hear the workers, which hear it.
pub async fn workers_unheard(scene: &mut Scene) {
    let leader = Party::Coordinator(places(scene).await.0);
    cut_for_long(scene, &[(Party::Machine, leader)]).await;
}

/// Workers and leader are apart; the coordinators are together.
pub async fn workers_apart(scene: &mut Scene) {
    let leader = Party::Coordinator(places(scene).await.0);
    let ways = [(Party::Machine, leader), (leader, Party::Machine)];
    cut_for_long(scene, &ways).await;
}
