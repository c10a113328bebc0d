//! The failure detector: heartbeat times in, health out. It decides when work is given away, never
//! whether that is safe (the fence does).

use std::collections::BTreeMap;

use crate::id::{Millis, WorkerId};
use crate::limits::Limits;

/// What the leader thinks of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Live,
    /// Not heard for half a lease, or its connection broke a moment ago: gets no new work.
    Suspect,
    /// Loses its leases.
    Lost,
}

/// Last signs of life, by this leader's clock.
#[derive(Clone, Debug, Default)]
pub struct FailureDetector {
    heard: BTreeMap<WorkerId, Sign>,
}

#[derive(Clone, Copy, Debug)]
struct Sign {
    at: Millis,
    disconnected_at: Option<Millis>,
}

impl FailureDetector {
    /// A report came in.
    pub fn heard(&mut self, worker: WorkerId, now: Millis) {
        self.heard.insert(
            worker,
            Sign {
                at: now,
                disconnected_at: None,
            },
        );
    }

    /// Its connection ended without a goodbye.
    pub fn disconnected(&mut self, worker: WorkerId, now: Millis) {
        if let Some(sign) = self.heard.get_mut(&worker) {
            sign.disconnected_at.get_or_insert(now);
        }
    }

    pub fn forget(&mut self, worker: WorkerId) {
        self.heard.remove(&worker);
    }

    /// When it was last heard.
    pub fn last_heard(&self, worker: WorkerId) -> Option<Millis> {
        self.heard.get(&worker).map(|sign| sign.at)
    }

    /// A worker this leader never heard gets a whole lease from now on: the leader is new.
    pub fn health(&mut self, worker: WorkerId, now: Millis, limits: &Limits) -> Health {
        let sign = self.heard.entry(worker).or_insert(Sign {
            at: now,
            disconnected_at: None,
        });
        let silent_ms = now.since(sign.at);
        let gone_ms = sign.disconnected_at.map(|at| now.since(at));
        if silent_ms >= limits.lease_ms || gone_ms.is_some_and(|ms| ms >= limits.reconnect_ms) {
            Health::Lost
        } else if silent_ms * 2 >= limits.lease_ms || gone_ms.is_some() {
            Health::Suspect
        } else {
            Health::Live
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: WorkerId = WorkerId(1);

    #[test]
    fn silence_first_makes_suspect_then_lost() {
        let limits = Limits::default();
        let mut detector = FailureDetector::default();
        detector.heard(W, Millis(1_000));
        let mut at = |ms: u64| detector.health(W, Millis(1_000 + ms), &limits);
        assert_eq!(at(limits.lease_ms / 2 - 1), Health::Live);
        assert_eq!(at(limits.lease_ms / 2), Health::Suspect);
        assert_eq!(at(limits.lease_ms), Health::Lost);
    }

    #[test]
    fn a_broken_connection_shortens_the_wait_and_a_report_heals_it() {
        let limits = Limits::default();
        let mut detector = FailureDetector::default();
        detector.heard(W, Millis(0));
        detector.disconnected(W, Millis(10));
        assert_eq!(detector.health(W, Millis(20), &limits), Health::Suspect);
        detector.heard(W, Millis(30));
        assert_eq!(detector.health(W, Millis(40), &limits), Health::Live);
        detector.disconnected(W, Millis(50));
        assert_eq!(
            detector.health(W, Millis(50 + limits.reconnect_ms), &limits),
            Health::Lost
        );
    }

    #[test]
    fn a_new_leader_gives_every_worker_a_whole_lease_and_a_clock_may_jump_back() {
        let limits = Limits::default();
        let mut detector = FailureDetector::default();
        assert_eq!(detector.health(W, Millis(1_000_000), &limits), Health::Live);
        assert_eq!(detector.health(W, Millis(5), &limits), Health::Live);
        let later = Millis(1_000_000 + limits.lease_ms);
        assert_eq!(detector.health(W, later, &limits), Health::Lost);
    }
}
