//! The tasks of a running member: who leads, whether somebody should, and whether the log is small
//! enough. All end when the member stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ServerState;
use tokio::time::Instant;

use super::bootstrap::Bootstrap;
use super::timing::{
    LEADER_NEAR, LOG_BYTES_MAX, WATCHDOG_AFTER, WATCHDOG_INTERVAL, WATCHDOG_JITTER_MS, is_leading,
    random,
};
use super::types::Metrics;
use super::{Consensus, RaftConfig, Role};

impl Consensus {
    /// Starts the tasks.
    pub(super) async fn watch_over(&self, config: RaftConfig) {
        let mut tasks = self.inner.tasks.lock().await;
        let bootstrap = Bootstrap {
            raft: self.inner.raft.clone(),
            links: self.inner.links.clone(),
            franchise: self.inner.franchise.clone(),
            join: config.join,
            expect: config.bootstrap_expect,
            poison: self.inner.poison.clone(),
        };
        let stop = self.inner.stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(bootstrap.run())).await;
        });
        let (stop, this) = (self.inner.stop.clone(), self.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(this.watch_role()).await;
        });
        let (stop, this) = (self.inner.stop.clone(), self.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(this.watch_health()).await;
        });
    }

    /// Keeps `role` true. The library reports at every tick, so a leader that hears no quorum
    /// any more is noticed although nothing happens.
    async fn watch_role(&self) {
        let mut metrics = self.inner.raft.metrics();
        loop {
            let now = metrics.borrow_and_update().clone();
            let ended = now.running_state.is_err();
            let role = self.role_of(&now);
            self.inner.role.send_if_modified(|held| {
                if held.leader != role.leader && role.leader.is_some() {
                    self.inner.leader_changes.fetch_add(1, Ordering::Relaxed);
                }
                let changed = *held != role;
                *held = role;
                changed
            });
            if ended || metrics.changed().await.is_err() {
                break;
            }
        }
        // However the library ended, by an error or a panic: nobody leads here any more.
        self.inner.role.send_modify(|role| {
            role.leading = false;
            role.leader = None;
        });
    }

    fn role_of(&self, metrics: &Metrics) -> Role {
        let own = metrics.current_leader == Some(self.inner.links.id());
        let quorum = is_leading(metrics) && self.inner.poison.get().is_none();
        let applied = metrics.last_applied.is_some_and(|applied| {
            applied.leader_id == metrics.vote.leader_id && applied.index >= self.inner.last_at_start
        });
        let leader = match metrics.running_state.is_err() || (own && !quorum) {
            true => None,
            false => self.leader_of(metrics),
        };
        Role {
            term: metrics.current_term,
            leading: quorum && applied && !self.inner.handing_over.load(Ordering::Acquire),
            leader,
        }
    }

    async fn watch_health(&self) {
        let raft = &self.inner.raft;
        let mut led_at = Instant::now();
        loop {
            tokio::time::sleep(WATCHDOG_INTERVAL).await;
            let handing_over = self.inner.handing_over.load(Ordering::Acquire);
            let may_stand = self.inner.franchise.may_vote() && !handing_over;
            // The library counts from the start of the last write, which may have taken long.
            let near = self
                .leader_silence()
                .is_some_and(|silence| silence < LEADER_NEAR);
            raft.runtime_config().elect(may_stand && !near);
            if self.is_led() {
                led_at = Instant::now();
            }
            let called = if may_stand && led_at.elapsed() > WATCHDOG_AFTER {
                led_at = Instant::now();
                tokio::time::sleep(Duration::from_millis(random(WATCHDOG_JITTER_MS))).await;
                match self.is_led() {
                    true => Ok(()),
                    false => {
                        tracing::warn!("nobody leads; calling an election");
                        raft.trigger().elect().await
                    }
                }
            } else if self.inner.log.grown_bytes() > LOG_BYTES_MAX {
                self.inner.log.forget_growth();
                raft.trigger().snapshot().await
            } else {
                Ok(())
            };
            if called.is_err() {
                return;
            }
        }
    }

    /// This member leads, has no vote, or heard its leader lately.
    fn is_led(&self) -> bool {
        let metrics = self.metrics();
        let me = self.inner.links.id();
        let mut voters = metrics.membership_config.membership().voter_ids();
        metrics.state == ServerState::Leader
            || !voters.any(|voter| voter == me)
            || self
                .leader_silence()
                .is_some_and(|silence| silence < WATCHDOG_AFTER)
    }

    /// How long ago the leader spoke; None if there is none.
    fn leader_silence(&self) -> Option<Duration> {
        let leader = self.metrics().current_leader?;
        self.inner.links.silence(leader)
    }
}
