//! What befalls the processes, the lines and the servers of a job that follows a living source. The
//! job goes on by itself, unless it says why it can't.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::catchup::End;
use super::hands::pass;
use super::points::{Action, Cell};
use super::pool::Engine;
use super::scene::Report;
use crate::follow::living::{JOB, Living, Set};
use crate::harness::proxy::{Proxy, Trap};
use crate::harness::wait::{secs, until};

/// Longer than a lease of the scene.
const LONG: Duration = Duration::from_secs(4);
/// So much more may be written to a disk that is full soon.
const LEFT: u64 = 64 << 10;

/// w1 is alone until it has hit the armed point; then w2 comes, and the job follows on.
pub async fn at_point(cell: Cell, armed: &str) -> Option<Report> {
    let started = Instant::now();
    let set = Set::new(cell.engine, cell.engine).workers(1);
    let mut living = set.armed("w1", armed).start().await?;
    living.until_says(cell.fault.as_str()).await;
    match cell.action {
        Action::Exit => {
            until("w1 to end", secs(20), || {
                let gone = !living.worker("w1").is_running();
                async move { gone.then_some(()) }
            })
            .await;
            living.cluster.workers.clear();
            living.cluster.start_worker("w2", &[]);
        }
        Action::Stall => {
            living.worker("w1").signal("STOP");
            living.cluster.start_worker("w2", &[]);
            follows_again(&living, "w1").await;
            pass(LONG).await;
            living.worker("w1").signal("CONT");
        }
        Action::LoseAnswer => living.cluster.start_worker("w2", &[]),
    }
    living.until_caught_up().await;
    living.live_on(60).await;
    living.settle().await;
    living.complete().await;
    Some(Report {
        redone: 0,
        partitions: 0,
        wall: started.elapsed(),
        recovery: None,
    })
}

async fn kill(living: &mut Living, worker: &str) {
    living.worker(worker).kill().await;
    living.cluster.workers.retain(|w| w.name != worker);
}

/// Its share goes to the other one.
pub async fn follower_killed(living: &mut Living) -> End {
    let worker = living.follower().await;
    kill(living, &worker).await;
    End::GoesOn
}

/// Whoever follows dies; another comes.
pub async fn follower_killed_thrice(living: &mut Living) -> End {
    for (new, rest) in [("w7", 15), ("w8", 40), ("w9", 5)] {
        let worker = living.follower().await;
        kill(living, &worker).await;
        living.cluster.start_worker(new, &[]);
        living.live_on(rest).await;
        follows_again(living, &worker).await;
    }
    End::GoesOn
}

/// Another worker than `old` follows now.
async fn follows_again(living: &Living, old: &str) {
    until("another worker to follow", secs(60), || async {
        (living.follower().await != old).then_some(())
    })
    .await;
}

/// Frozen until its lease is lost and another follows, and for a lease more; then awake.
pub async fn follower_frozen(living: &mut Living) -> End {
    let worker = living.follower().await;
    living.worker(&worker).signal("STOP");
    follows_again(living, &worker).await;
    pass(LONG).await;
    living.worker(&worker).signal("CONT");
    End::GoesOn
}

pub async fn follower_drained(living: &mut Living) -> End {
    let worker = living.follower().await;
    living.worker(&worker).signal("TERM");
    follows_again(living, &worker).await;
    End::GoesOn
}

pub async fn leader_killed(living: &mut Living) -> End {
    living.cluster.kill_leader().await;
    End::GoesOn
}

pub async fn leader_and_follower_killed(living: &mut Living) -> End {
    let worker = living.follower().await;
    kill(living, &worker).await;
    living.cluster.kill_leader().await;
    End::GoesOn
}

pub async fn paused_and_resumed(living: &mut Living) -> End {
    living.cluster.sterna(&["pause", "-j", JOB]).ok().await;
    living.live_on(60).await;
    living.resume().await;
    End::GoesOn
}

fn target(living: &Living) -> &Proxy {
    living.to_target.as_ref().expect("asked for with proxies")
}

fn source(living: &Living) -> &Proxy {
    living.to_source.as_ref().expect("asked for with proxies")
}

pub async fn target_cut(living: &mut Living) -> End {
    for _ in 0..3 {
        target(living).cut();
        living.live_on(15).await;
    }
    End::GoesOn
}

pub async fn source_cut(living: &mut Living) -> End {
    for _ in 0..3 {
        source(living).cut();
        living.live_on(15).await;
    }
    End::GoesOn
}

/// Nobody but the follower says COMMIT to the target now.
async fn trapped(living: &Living, trap: Trap) {
    let proxy = target(living);
    proxy.trap(b"COMMIT", trap);
    until("the first trap to spring", secs(60), || async {
        (proxy.sprung() >= 1).then_some(())
    })
    .await;
    proxy.trap(b"COMMIT", trap);
    until("the second trap to spring", secs(90), || async {
        (proxy.sprung() >= 2).then_some(())
    })
    .await;
}

pub async fn commit_unheard(living: &mut Living) -> End {
    trapped(living, Trap::LoseRequest).await;
    End::GoesOn
}

pub async fn commit_unanswered(living: &mut Living) -> End {
    trapped(living, Trap::LoseAnswer).await;
    End::GoesOn
}

/// The answer doesn't come, nor does a close; then the line is cut.
pub async fn commit_silent(living: &mut Living) -> End {
    let proxy = target(living);
    proxy.trap(b"COMMIT", Trap::Silence);
    until("the trap to spring", secs(60), || async {
        (proxy.sprung() >= 1).then_some(())
    })
    .await;
    pass(LONG).await;
    proxy.cut();
    End::GoesOn
}

/// The fault point behind the commit is armed: it is passed by every following.
pub async fn commit_taken_for_lost(living: &mut Living) -> End {
    living.until_says("follow-after-commit").await;
    End::GoesOn
}

pub async fn target_killed(living: &mut Living) -> End {
    living.target_server().kill();
    living.target_server().run().await;
    End::GoesOn
}

pub async fn target_restarted(living: &mut Living) -> End {
    living.target_server().stop().await;
    living.target_server().run().await;
    End::GoesOn
}

pub async fn source_killed(living: &mut Living) -> End {
    living.source_server().kill();
    living.source_server().run().await;
    End::GoesOn
}

pub async fn source_restarted(living: &mut Living) -> End {
    living.source_server().stop().await;
    living.source_server().run().await;
    End::GoesOn
}

pub async fn both_killed(living: &mut Living) -> End {
    living.target_server().kill();
    living.source_server().kill();
    living.source_server().run().await;
    living.target_server().run().await;
    End::GoesOn
}

/// The job may wait for space or stop by name; with space it goes on, after `resume` if it stopped.
pub async fn target_full(living: &mut Living) -> End {
    let disk = living.disk.as_ref().expect("asked for with a disk");
    disk.leave(LEFT);
    living.workload().big().await;
    pass(LONG).await;
    disk.free();
    if living.from == Engine::Mariadb || living.from == Engine::PostgresPrepared {
        // A server that couldn't write its own log may have ended itself.
        living.target_server().kill_if_running();
        living.target_server().run().await;
    }
    let settled = |status: &Value| status["phase"] == "Failed" || status["phase"] == "Following";
    let status = living.status_when("it to stop or go on", settled).await;
    if status["phase"] == "Failed" {
        assert!(status["failure"]["code"].is_string(), "{status:#}");
        living.resume().await;
    }
    End::GoesOn
}
