//! What the leader observes of the cluster now: never logged, lost with the leader.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::change::{ChangeCounts, FollowProgress};
use crate::detect::Health;
use crate::directive::Progress;
use crate::epoch::Lease;
use crate::id::{Millis, WorkerId};

/// Input of `schedule` beside the state.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    pub now: Millis,
    /// Workers this leader knows, by health.
    pub workers: BTreeMap<WorkerId, WorkerView>,
    /// Follow tasks, over more than one report.
    pub following: BTreeMap<Lease, FollowSeen>,
}

impl ClusterView {
    /// Takes in what a follow task says of itself, and forgets those that say nothing any more.
    pub fn see_follow(&mut self, lease: Lease, progress: &FollowProgress) {
        let now = self.now;
        self.following
            .retain(|_, seen| now.since(seen.seen_at()) < FOLLOW_FORGOTTEN_MS);
        self.following.entry(lease).or_default().see(now, progress);
    }
}

/// Rates are taken over this long.
const RATE_WINDOW_MS: u64 = 10_000;
/// Closer samples tell nothing; with the window it bounds their number.
const RATE_SAMPLE_MS: u64 = 500;
/// Longer than a lease: whoever is silent for this long has been replaced.
const FOLLOW_FORGOTTEN_MS: u64 = 60_000;

/// What was seen of one follow task.
#[derive(Clone, Debug, Default)]
pub struct FollowSeen {
    /// Since when it is caught up without a break, as far as this leader saw.
    pub caught_up_since: Option<Millis>,
    samples: VecDeque<(Millis, ChangeCounts, ChangeCounts)>,
}

/// Changes per second, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeRates {
    pub transactions: f64,
    pub inserts: f64,
    pub updates: f64,
    pub deletes: f64,
}

impl ChangeRates {
    pub fn rows(&self) -> f64 {
        self.inserts + self.updates + self.deletes
    }

    fn between(from: &ChangeCounts, to: &ChangeCounts, ms: u64) -> ChangeRates {
        // In thousandths, as times are; a count that went back is a task that began again.
        let rate = |from: u64, to: u64| {
            let grown = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
            let seconds = f64::from(u32::try_from(ms.max(1)).unwrap_or(u32::MAX)) / 1_000.0;
            (f64::from(grown) / seconds * 10.0).round() / 10.0
        };
        ChangeRates {
            transactions: rate(from.transactions, to.transactions),
            inserts: rate(from.inserts, to.inserts),
            updates: rate(from.updates, to.updates),
            deletes: rate(from.deletes, to.deletes),
        }
    }
}

impl FollowSeen {
    fn seen_at(&self) -> Millis {
        self.samples.back().map_or(Millis(0), |(at, _, _)| *at)
    }

    fn see(&mut self, now: Millis, progress: &FollowProgress) {
        self.caught_up_since = match (progress.caught_up, self.caught_up_since) {
            (false, _) => None,
            (true, since) => Some(since.unwrap_or(now)),
        };
        if self.samples.is_empty() || now.since(self.seen_at()) >= RATE_SAMPLE_MS {
            self.samples
                .push_back((now, progress.read, progress.applied));
        }
        while self.samples.len() > 2 && now.since(self.samples[0].0) > RATE_WINDOW_MS {
            self.samples.pop_front();
        }
    }

    /// (read, applied) over the last seconds.
    pub fn rates(&self) -> (ChangeRates, ChangeRates) {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return Default::default();
        };
        let ms = last.0.since(first.0);
        if ms == 0 {
            return Default::default();
        }
        (
            ChangeRates::between(&first.1, &last.1, ms),
            ChangeRates::between(&first.2, &last.2, ms),
        )
    }
}

/// One worker as last reported.
#[derive(Clone, Debug)]
pub struct WorkerView {
    pub health: Health,
    /// It asked for no more work.
    pub draining: bool,
    pub memory_bytes: u64,
    pub progress: BTreeMap<Lease, Progress>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_seconds_and_caught_up_has_a_beginning() {
        let mut seen = FollowSeen::default();
        assert_eq!(seen.rates().0, ChangeRates::default());
        for second in 0..30u64 {
            let counts = ChangeCounts {
                transactions: second,
                inserts: 100 * second,
                updates: if second < 15 { 0 } else { 7 * (second - 15) },
                deletes: 0,
            };
            let progress = FollowProgress {
                read: counts,
                applied: counts,
                caught_up: second >= 20,
                ..FollowProgress::default()
            };
            seen.see(Millis(second * 1_000), &progress);
        }
        let (read, applied) = seen.rates();
        assert_eq!(
            (read.inserts, read.updates, read.rows()),
            (100.0, 7.0, 107.0)
        );
        assert_eq!(read, applied);
        assert_eq!(seen.caught_up_since, Some(Millis(20_000)));
        assert!(seen.samples.len() <= 12);
    }
}
