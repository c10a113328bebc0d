//! How fast a job goes and how long it will take: arithmetic over what was seen, no clock and no
//! terminal. Never claims more than 100 %: an estimate that was passed is raised and marked.

use std::collections::VecDeque;
use std::time::Duration;

use common::state::Phase;
use common::status::{JobStatus, TableStatus};

/// Rows per second over the last moments.
const WINDOW: Duration = Duration::from_secs(15);
/// Faster samples tell nothing.
const SAMPLES_MAX: usize = 128;

/// What was seen of one number that grows.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Duration, u64)>,
    first: Option<(Duration, u64)>,
}

impl Meter {
    /// `at` is the time since any fixed moment.
    pub fn see(&mut self, at: Duration, rows: u64) {
        self.first.get_or_insert((at, rows));
        // Rows in flight can be lost with a worker: a fall starts the window anew.
        if self.samples.back().is_some_and(|(_, last)| *last > rows) {
            self.samples.clear();
        }
        self.samples.push_back((at, rows));
        while self.samples.len() > SAMPLES_MAX
            || self.samples.front().is_some_and(|(t, _)| at - *t > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Rows per second lately.
    pub fn rate(&self) -> Option<f64> {
        per_second(*self.samples.front()?, *self.samples.back()?)
    }

    /// Rows per second since the first sample.
    fn mean(&self) -> Option<f64> {
        per_second(self.first?, *self.samples.back()?)
    }

    /// How long `rows` more will take: by the slower and by the faster of both rates.
    pub fn eta(&self, rows: u64) -> Option<(Duration, Duration)> {
        let (a, b) = (self.rate()?, self.mean()?);
        let (slow, fast) = (a.min(b), a.max(b));
        if slow <= 0.0 {
            return None;
        }
        let time = |rate: f64| Duration::try_from_secs_f64(rows as f64 / rate).ok();
        Some((time(fast)?, time(slow)?))
    }
}

fn per_second(from: (Duration, u64), until: (Duration, u64)) -> Option<f64> {
    let time = until.0.checked_sub(from.0)?.as_secs_f64();
    (time >= 0.2 && until.1 >= from.1).then(|| (until.1 - from.1) as f64 / time)
}

/// `~5m`, `4m10s–6m00s`: a band when both ends differ.
pub fn eta_text((low, high): (Duration, Duration)) -> String {
    let text = |time: Duration| match time.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..600 => format!("{}m{:02}s", seconds / 60, seconds % 60 / 10 * 10),
        seconds @ 600..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    };
    let (low, high) = (text(low), text(high));
    match low == high {
        true => format!("~{low}"),
        false => format!("{low} – {high}"),
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub done: u64,
    /// At least `done`.
    pub of: u64,
    /// The estimate was passed, or there is none.
    pub rebased: bool,
    pub finished: bool,
}

impl Share {
    fn new(done: u64, estimate: u64, finished: bool) -> Share {
        let rebased = !finished && done >= estimate;
        let of = match (finished, rebased) {
            (true, _) => done,
            // Something is left, else it would be finished: say 5 % of what was found.
            (_, true) => done + done / 20 + 1,
            _ => estimate,
        };
        Share {
            done,
            of,
            rebased,
            finished,
        }
    }

    /// 100 only when it is finished.
    pub fn percent(&self) -> u64 {
        match self.finished {
            true => 100,
            false => (self.done * 100 / self.of.max(1)).min(99),
        }
    }

    pub fn left(&self) -> u64 {
        self.of - self.done
    }
}

/// One table.
pub fn table_share(table: &TableStatus) -> Share {
    let finished = is_copied(table);
    let done = table.rows_copied + if finished { 0 } else { table.rows_in_flight };
    Share::new(done, table.rows_estimated, finished)
}

/// All of its partitions are committed.
pub fn is_copied(table: &TableStatus) -> bool {
    table.partitions_committed >= table.partitions
}

/// All tables: the sum of the tables' shares, so that one wrong estimate doesn't spoil it.
pub fn total_share(status: &JobStatus) -> Share {
    let shares = status.tables.iter().map(table_share);
    let zero = Share {
        done: 0,
        of: 0,
        rebased: false,
        finished: !status.tables.is_empty() || status.phase == Phase::Completed,
    };
    shares.fold(zero, |sum, share| Share {
        done: sum.done + share.done,
        of: sum.of + share.of,
        rebased: sum.rebased || share.rebased,
        finished: sum.finished && share.finished,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_never_passes_100() {
        let share = Share::new(50, 100, false);
        assert_eq!((share.percent(), share.rebased), (50, false));
        let passed = Share::new(250, 100, false);
        assert!(passed.percent() < 100 && passed.rebased && passed.left() > 0);
        assert_eq!(Share::new(250, 100, true).percent(), 100);
        assert_eq!(Share::new(0, 0, false).percent(), 0);
        assert_eq!(Share::new(0, 0, true).percent(), 100);
    }

    #[test]
    fn the_rate_is_of_late_and_a_fall_is_no_negative_rate() {
        let mut meter = Meter::default();
        for second in 0..60 {
            meter.see(Duration::from_secs(second), second * 100);
        }
        assert_eq!(meter.rate().map(f64::round), Some(100.0));
        meter.see(Duration::from_secs(60), 10);
        assert_eq!(meter.rate(), None);
        meter.see(Duration::from_secs(61), 60);
        assert_eq!(meter.rate(), Some(50.0));
    }

    #[test]
    fn the_eta_is_a_band() {
        let band = (Duration::from_secs(310), Duration::from_secs(365));
        assert_eq!(eta_text(band), "5m10s – 6m00s");
        let same = (Duration::from_secs(9), Duration::from_secs(9));
        assert_eq!(eta_text(same), "~9 s");
    }
}
