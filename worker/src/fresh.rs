//! How long the leader can't have given this worker's leases away: from the sending of a report that
//! it took in, for the time its directives name. Asked right before every statement that makes or
//! destroys something at a target and that no fence row guards. Sends nothing, knows no units.
//!
//! A process that was stopped (SIGSTOP, a frozen machine) finds its last report too old when it
//! goes on, whatever directives still lie in its buffers: those echo old reports. What remains is a
//! process stopped between the check and the sending of its one statement; then the session's
//! row in the fence is what saves the target: the next owner kills the session.

use std::collections::VecDeque;
use std::time::Duration;

use common::code::Code;
use common::limits;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::connector::{Error, Result};
use crate::task::Word;

/// Reports sent within this time are remembered as one, sent when its first was.
const GRAIN: Duration = Duration::from_millis(20);

/// A moment, by a clock that runs on while the process or the machine sleeps. [`Instant`] is
/// CLOCK_MONOTONIC on Linux, which counts while a process is stopped but not while its machine is
/// suspended; the kernel's uptime counts both.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    uptime: Option<Duration>,
}

impl Moment {
    fn now() -> Moment {
        Moment {
            at: Instant::now(),
            uptime: uptime(),
        }
    }

    fn elapsed(&self) -> Duration {
        let suspended = match (self.uptime, uptime()) {
            // Hundredths of a second, cut off.
            (Some(then), Some(now)) => now.saturating_sub(then + Duration::from_millis(10)),
            _ => Duration::ZERO,
        };
        self.at.elapsed().max(suspended)
    }
}

/// CLOCK_BOOTTIME, as far as this system tells.
fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What the newest directives prove.
#[derive(Clone, Copy, Debug)]
struct Proof {
    sent: Moment,
    keep: Duration,
}

impl Proof {
    fn holds(&self) -> bool {
        self.sent.elapsed() < self.keep
    }
}

/// The session's side: numbers reports, and learns which were heard.
#[derive(Debug)]
pub struct Pulse {
    seq: u64,
    /// First number and moment of each grain, oldest first.
    sent: VecDeque<(u64, Moment)>,
}

impl Pulse {
    pub fn new() -> Pulse {
        Pulse {
            seq: 0,
            sent: VecDeque::new(),
        }
    }

    /// The number of a report that is about to be sent.
    pub fn next(&mut self) -> u64 {
        self.seq += 1;
        let grain_is_over = |(_, moment): &(u64, Moment)| moment.at.elapsed() >= GRAIN;
        if self.sent.back().is_none_or(grain_is_over) {
            if self.sent.len() == limits::REPORTS_REMEMBERED_MAX {
                self.sent.pop_front();
            }
            self.sent.push_back((self.seq, Moment::now()));
        }
        self.seq
    }

    /// The leader took in report `seq`. Not before the same directives' units were started and
    /// stopped: who sees the proof must see also that its lease is gone.
    pub fn heard(&mut self, seq: u64, keep_ms: u64, fresh: &Freshness) {
        if seq > self.seq {
            tracing::warn!(
                seq,
                newest = self.seq,
                "a report that was never sent was heard"
            );
            return;
        }
        // Too old to be remembered = too old to prove anything.
        while self.sent.get(1).is_some_and(|(first, _)| *first <= seq) {
            self.sent.pop_front();
        }
        if let Some((_, sent)) = self.sent.front().filter(|(first, _)| *first <= seq) {
            let keep = Duration::from_millis(keep_ms);
            fresh.0.send_replace(Some(Proof { sent: *sent, keep }));
        }
    }
}

/// What all units of a worker look at.
#[derive(Debug)]
pub struct Freshness(watch::Sender<Option<Proof>>);

impl Freshness {
    pub fn new() -> Freshness {
        Freshness(watch::Sender::new(None))
    }

    /// A unit's view of it, with the word that may take its lease away.
    pub fn of(&self, word: watch::Receiver<Word>) -> Current {
        Current(Some(Watched {
            proof: self.0.subscribe(),
            word,
        }))
    }
}

/// Whether a unit is still this worker's.
#[derive(Clone, Debug)]
pub struct Current(Option<Watched>);

#[derive(Clone, Debug)]
struct Watched {
    proof: watch::Receiver<Option<Proof>>,
    word: watch::Receiver<Word>,
}

impl Current {
    /// For work that is nobody's lease.
    pub fn always() -> Current {
        Current(None)
    }

    /// Ok: the leader can't have given the unit to anybody else yet. Waits some time for directives
    /// that say so (a leader change, a busy machine); an error means that the statement behind it
    /// must not be sent, and that another attempt may find things better.
    pub async fn still_ours(&self) -> Result<()> {
        let Some(Watched { mut proof, word }) = self.0.clone() else {
            return Ok(());
        };
        let patience = Duration::from_millis(limits::FRESH_WAIT_MS);
        let holds = |proof: &Option<Proof>| proof.is_some_and(|proof| proof.holds());
        let found = timeout(patience, proof.wait_for(holds)).await;
        // In this order: the word is said before the proof is.
        if word.borrow().stop.is_some() || word.has_changed().is_err() {
            let what = "the unit was taken away";
            return Err(Error::transient(Code::Internal, what));
        }
        match found {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let what = "no leader confirmed in time that this unit is still this worker's";
                Err(Error::transient(Code::NoLeader, what))
            }
        }
    }
}
