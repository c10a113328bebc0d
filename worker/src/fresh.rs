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
pub struct Moment {
    at: Instant,
    uptime: Option<Duration>,
}

impl Moment {
    pub fn now() -> Moment {
        Moment {
            at: Instant::now(),
            uptime: uptime(),
        }
    }

    fn since(&self, earlier: &Moment) -> Duration {
        let with_sleep = match (earlier.uptime, self.uptime) {
            // Hundredths of a second, cut off.
            (Some(then), Some(now)) => now.saturating_sub(then + Duration::from_millis(10)),
            _ => Duration::ZERO,
        };
        let awake = self.at.saturating_duration_since(earlier.at);
        awake.max(with_sleep)
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
    fn holds(&self, now: Moment) -> bool {
        now.since(&self.sent) < self.keep
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
    pub fn next(&mut self, now: Moment) -> u64 {
        self.seq += 1;
        let grain_is_over = |(_, first): &(u64, Moment)| now.since(first) >= GRAIN;
        if self.sent.back().is_none_or(grain_is_over) {
            if self.sent.len() == limits::REPORTS_REMEMBERED_MAX {
                self.sent.pop_front();
            }
            self.sent.push_back((self.seq, now));
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
            patience: Duration::from_millis(limits::FRESH_WAIT_MS),
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
    patience: Duration,
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
        let Some(mut at) = self.0.clone() else {
            return Ok(());
        };
        let holds = |proof: &Option<Proof>| proof.is_some_and(|p| p.holds(Moment::now()));
        let waited = timeout(at.patience, at.proof.wait_for(holds)).await;
        let is_ours = waited.is_ok_and(|found| found.is_ok());
        // In this order: the word is said before the proof is.
        if at.word.borrow().stop.is_some() || at.word.has_changed().is_err() {
            let what = "the unit was taken away";
            return Err(Error::transient(Code::Internal, what));
        }
        if !is_ours {
            let what = "no leader confirmed in time that this unit is still this worker's";
            return Err(Error::transient(Code::NoLeader, what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Stop;

    const KEEP_MS: u64 = 2_000;

    struct Bench {
        start: Instant,
        pulse: Pulse,
        fresh: Freshness,
        word: watch::Sender<Word>,
        current: Current,
    }

    fn bench() -> Bench {
        let (word, seen) = watch::channel(Word::default());
        let fresh = Freshness::new();
        let mut current = fresh.of(seen);
        if let Some(watched) = &mut current.0 {
            watched.patience = Duration::from_millis(30);
        }
        Bench {
            start: Instant::now(),
            pulse: Pulse::new(),
            fresh,
            word,
            current,
        }
    }

    impl Bench {
        fn moment(&self, ms: u64) -> Moment {
            Moment {
                at: self.start + Duration::from_millis(ms),
                uptime: None,
            }
        }

        fn report(&mut self, ms: u64) -> u64 {
            let at = self.moment(ms);
            self.pulse.next(at)
        }

        fn heard(&mut self, seq: u64) {
            self.pulse.heard(seq, KEEP_MS, &self.fresh);
        }

        fn holds(&self, ms: u64) -> bool {
            let proof = *self.fresh.0.borrow();
            proof.is_some_and(|proof| proof.holds(self.moment(ms)))
        }
    }

    #[test]
    fn what_counts_is_when_a_report_was_sent_not_when_its_echo_came() {
        let mut bench = bench();
        assert!(!bench.holds(0), "nobody said so yet");
        let first = bench.report(100);
        let second = bench.report(350);
        bench.heard(first);
        assert!(bench.holds(2_099));
        assert!(!bench.holds(2_100));
        bench.heard(second);
        assert!(bench.holds(2_349));
        // A process that slept finds echoes of old reports in its buffers.
        bench.report(60_000);
        bench.heard(second);
        assert!(!bench.holds(60_000));
        // Nor does an older echo that comes late take back what a newer one proved.
        let third = bench.report(61_000);
        bench.heard(third);
        bench.heard(first);
        assert!(bench.holds(62_999));
    }

    #[test]
    fn a_suspended_machine_counts_its_sleep() {
        let at = Instant::now();
        let moment = |s| Moment {
            at,
            uptime: Some(Duration::from_secs(s)),
        };
        let proof = Proof {
            sent: moment(10),
            keep: Duration::from_secs(2),
        };
        assert!(proof.holds(moment(11)));
        assert!(!proof.holds(moment(13)));
        assert!(uptime().is_none_or(|uptime| uptime > Duration::ZERO));
    }

    #[test]
    fn many_reports_are_remembered_as_one_sent_when_the_first_was() {
        let mut bench = bench();
        let mut last = 0;
        for no in 0..10 * limits::REPORTS_REMEMBERED_MAX as u64 {
            last = bench.report(no * 5);
        }
        assert!(bench.pulse.sent.len() <= limits::REPORTS_REMEMBERED_MAX);
        let end = last * 5;
        bench.heard(1);
        bench.heard(last + 1);
        assert!(!bench.holds(0), "forgotten, or never sent: proves nothing");
        bench.heard(last);
        assert!(bench.holds(end + KEEP_MS - 30));
        assert!(!bench.holds(end + KEEP_MS));
    }

    #[tokio::test]
    async fn a_unit_waits_for_an_echo_and_sees_that_it_was_taken_away() {
        let mut bench = bench();
        let seq = bench.pulse.next(Moment::now());
        let error = bench.current.still_ours().await.expect_err("not said yet");
        assert_eq!(error.failure.code, Code::NoLeader);
        let current = bench.current.clone();
        let echo = async {
            tokio::task::yield_now().await;
            bench.heard(seq);
        };
        let (found, ()) = futures::future::join(current.still_ours(), echo).await;
        found.expect("confirmed while it waited");
        let stop = Some(Stop::Away);
        bench.word.send_replace(Word {
            stop,
            ..Word::default()
        });
        bench.heard(seq);
        bench.current.still_ours().await.expect_err("taken away");
    }
}
