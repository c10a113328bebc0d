//! What a follow task shows of itself: how far it is behind, what is left of the source's log.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::change::{ChangeCounts, FollowProgress, LogState, Mark, Position};
use common::id::{JobUid, Millis};
use common::limits;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::connector::Connector;
use crate::meter::Meter;
use crate::task::TaskContext;

/// Less than this is soon used up.
const HEADROOM_MS_MIN: u64 = 3_600_000;

pub struct Show {
    meter: Arc<Meter>,
    progress: FollowProgress,
    began: Option<ChangeCounts>,
    committed_at: u64,
    /// Where the log's state is asked about.
    position: watch::Sender<Position>,
    log: watch::Receiver<LogState>,
    _asking: JoinSet<()>,
    shown: Option<Instant>,
}

impl Show {
    pub fn new(ctx: &TaskContext, source: Arc<dyn Connector>) -> Show {
        let (position, at) = watch::channel(Position::default());
        let (sender, log) = watch::channel(LogState::default());
        let mut asking = JoinSet::new();
        asking.spawn(ask(source, ctx.job.uid.clone(), at, sender));
        Show {
            meter: Arc::clone(&ctx.meter),
            progress: FollowProgress::default(),
            began: None,
            committed_at: 0,
            position,
            log,
            _asking: asking,
            shown: None,
        }
    }

    /// Counts since the task began.
    fn since(&mut self, counts: ChangeCounts) -> ChangeCounts {
        let began = *self.began.get_or_insert(counts);
        ChangeCounts {
            transactions: counts.transactions.saturating_sub(began.transactions),
            inserts: counts.inserts.saturating_sub(began.inserts),
            updates: counts.updates.saturating_sub(began.updates),
            deletes: counts.deletes.saturating_sub(began.deletes),
        }
    }

    /// So much was read from the log, applied or not.
    pub fn read(&mut self, counts: ChangeCounts) {
        self.progress.read = self.since(counts);
    }

    /// What was committed then waits longer than anything should.
    pub fn is_behind(&self, committed_at: Millis) -> bool {
        now_ms().saturating_sub(committed_at.0) > limits::FOLLOW_BEHIND_MS
    }

    /// The target has this now.
    pub fn applied(&mut self, mark: &Mark) {
        self.progress.position.clone_from(&mark.position.text);
        self.progress.applied = self.since(mark.counts);
        self.read(mark.counts);
        self.committed_at = mark.committed_at.0;
        self.position.send_replace(mark.position.clone());
        self.look();
    }

    /// The target shows whole transactions and is where the log ended not long ago.
    pub fn caught_up(&mut self) {
        self.progress.caught_up = true;
        self.look();
    }

    /// Whether the log's end was reached just now.
    pub fn lag(&mut self, at_end: bool) {
        if at_end {
            self.progress.lag_ms = 0;
        } else if self.committed_at > 0 {
            self.progress.lag_ms = now_ms().saturating_sub(self.committed_at);
        }
        self.look();
    }

    pub fn warn(&mut self, warning: Option<String>) {
        self.progress.warning = warning;
        self.shown = None;
        self.look();
    }

    pub fn look(&mut self) {
        let due = Duration::from_millis(limits::FOLLOW_SHOW_MS);
        if self.shown.is_some_and(|shown| shown.elapsed() < due) {
            return;
        }
        self.shown = Some(Instant::now());
        self.progress.log = *self.log.borrow();
        let mut progress = self.progress.clone();
        if progress.warning.is_none() {
            progress.warning = short(&progress.log);
        }
        self.meter.set_follow(progress);
    }
}

fn short(log: &LogState) -> Option<String> {
    let behind = log.behind_bytes;
    let bytes = log.headroom_bytes.filter(|room| *room < behind / 3);
    let time = log.headroom_ms.filter(|room| *room < HEADROOM_MS_MIN);
    if bytes.is_none() && time.is_none() {
        return None;
    }
    Some("the source will soon remove the part of its log that is still needed".to_owned())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

async fn ask(
    source: Arc<dyn Connector>,
    job: JobUid,
    at: watch::Receiver<Position>,
    log: watch::Sender<LogState>,
) {
    let every = Duration::from_millis(limits::FOLLOW_LOG_STATE_MS);
    loop {
        let position = at.borrow().clone();
        if position != Position::default()
            && let Ok(Ok(state)) = timeout(every, source.log_state(&job, &position)).await
        {
            log.send_replace(state);
        }
        sleep(every).await;
    }
}
