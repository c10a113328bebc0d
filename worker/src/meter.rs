//! How far one running unit is and where its time goes: written by the unit, read by reports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::change::FollowProgress;
use common::directive::{Busy, Progress};
use common::epoch::Lease;

/// What a unit waits for.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    Source,
    Target,
    Decision,
}

/// Counters of one unit; relaxed, because nothing but a display depends on them.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    bytes: AtomicU64,
    source_us: AtomicU64,
    target_us: AtomicU64,
    decision_us: AtomicU64,
    follow: Mutex<Option<Box<FollowProgress>>>,
}

impl Meter {
    pub fn add_rows(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn add_wait(&self, wait: Wait, time: Duration) {
        let counter = match wait {
            Wait::Source => &self.source_us,
            Wait::Target => &self.target_us,
            Wait::Decision => &self.decision_us,
        };
        counter.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// What a follow task shows of itself.
    pub fn set_follow(&self, progress: FollowProgress) {
        *self.lock_follow() = Some(Box::new(progress));
    }

    fn lock_follow(&self) -> MutexGuard<'_, Option<Box<FollowProgress>>> {
        self.follow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` and books its time.
    pub async fn timed<T>(&self, wait: Wait, work: impl Future<Output = T>) -> T {
        let started = tokio::time::Instant::now();
        let result = work.await;
        self.add_wait(wait, started.elapsed());
        result
    }

    pub fn progress(&self, lease: Lease) -> Progress {
        let ms = |counter: &AtomicU64| counter.load(Ordering::Relaxed) / 1_000;
        Progress {
            lease,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            busy: Busy {
                source_ms: ms(&self.source_us),
                target_ms: ms(&self.target_us),
                decision_ms: ms(&self.decision_us),
            },
            follow: self.lock_follow().clone(),
        }
    }
}
