//! Clients that never say a thing twice, and remember what they were told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::id::{Millis, WorkerId};
use common::state::{Applied, Command, WorkerHello};

use crate::member::{World, lock};
use crate::rng::Rng;

/// An entry whose proposal was answered: it must never be lost.
#[derive(Clone, Debug)]
pub struct Ack {
    pub name: String,
    pub worker: WorkerId,
    /// Simulated time of question and answer.
    pub asked: Duration,
    pub answered: Duration,
}

#[derive(Default)]
pub struct History {
    pub acks: Mutex<Vec<Ack>>,
    next: AtomicU64,
    pub reads: AtomicU64,
    pub unanswered: AtomicU64,
    pub stop: AtomicBool,
}

/// Registers a worker of a name never used before, and puts the first worker to rest and back: two
/// more events, every time the entry is applied.
fn entry(name: &str) -> Vec<Command> {
    let drain = |drain| Command::DrainWorker {
        worker: WorkerId(1),
        drain,
    };
    let hello = WorkerHello {
        name: name.to_owned(),
        incarnation: 1,
        slots: 1,
        version: "1".to_owned(),
    };
    vec![Command::RegisterWorker(hello), drain(true), drain(false)]
}

/// Until it is told to stop: mostly proposes where somebody leads, sometimes reads anywhere.
pub async fn run(world: Arc<World>, history: Arc<History>, mut rng: Rng) {
    while !history.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(rng.ms(40, 160)).await;
        match rng.below(4) {
            0 => read(&world, &history, &mut rng).await,
            _ => propose(&world, &history).await,
        }
    }
}

async fn propose(world: &World, history: &History) {
    let Some((_, member)) = world.leading() else {
        return;
    };
    let number = history.next.fetch_add(1, Ordering::Relaxed);
    let name = format!("w{number}");
    let asked = turmoil::elapsed();
    let (commands, consensus) = (entry(&name), member.consensus.clone());
    let asking = member
        .handle
        .spawn(async move { Box::pin(consensus.propose(commands, Millis(number))).await });
    drop(member);
    let answered = tokio::time::timeout(Duration::from_secs(15), asking).await;
    let Ok(Ok(Ok(answers))) = answered else {
        history.unanswered.fetch_add(1, Ordering::Relaxed);
        return;
    };
    match answers.first() {
        Some(Ok(Applied::Worker(worker))) => lock(&history.acks).push(Ack {
            name,
            worker: *worker,
            asked,
            answered: turmoil::elapsed(),
        }),
        other => world.violation(format!("{name} was answered with {other:?}")),
    }
}

/// A read that a quorum has confirmed has everything acknowledged before it was asked for.
async fn read(world: &World, history: &History, rng: &mut Rng) {
    let before: Vec<String> = {
        let acks = lock(&history.acks);
        acks.iter().map(|ack| ack.name.clone()).collect()
    };
    let members = world.members();
    let Some((who, member)) = rng.pick(&members).cloned() else {
        return;
    };
    drop(members);
    let consensus = member.consensus.clone();
    let reading = member.handle.spawn(async move {
        let confirmed = Box::pin(consensus.confirm_leadership()).await;
        confirmed.ok().map(|()| {
            consensus.with_state(|state| {
                let all = state.workers();
                all.map(|(_, worker)| worker.hello.name.clone())
                    .collect::<BTreeSet<_>>()
            })
        })
    });
    drop(member);
    let Ok(Ok(Some(seen))) = tokio::time::timeout(Duration::from_secs(15), reading).await else {
        return;
    };
    history.reads.fetch_add(1, Ordering::Relaxed);
    for name in before {
        if !seen.contains(&name) {
            world.violation(format!("{who} confirmed a read that lacks {name}"));
        }
    }
}
