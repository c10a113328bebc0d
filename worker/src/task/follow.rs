//! Follows the source: reads its changes, nets them, applies them at the target with the position
//! they lead to. See DESIGN §6.
//!
//! Invariants: what is committed at the target is whole source transactions, in their order, and
//! the mark beside them says which; after any doubt about a commit the mark is read again, by a new
//! session under the fence; the source is told that a position is safe only after that commit.

mod drift;
mod images;
mod read;
mod show;
mod write;

use std::sync::Arc;
use std::time::Duration;

use common::change::{Mark, Position, Secured};
use common::code::ErrorClass;
use common::task::{FollowTo, TaskResult};
use common::{limits, retry};
use tokio::time::{Instant, sleep, timeout};

use self::drift::Settled;
use self::read::Reading;
use self::show::Show;
use self::write::Set;
use crate::connector::changes::{Drift, Event};
use crate::connector::{Connector, Result, StreamRequest};
use crate::meter::Wait;
use crate::task::TaskContext;

/// Everything one follow task works with.
struct Follow<'a> {
    ctx: &'a TaskContext,
    source: Arc<dyn Connector>,
    from: Secured,
    to: FollowTo,
    /// Where to stop; None = never.
    stop: Option<Position>,
    /// Where the log ended when the task began: beyond it the target is as near as it gets, however
    /// busy the source is.
    end: Position,
    show: Show,
    /// The last commit at the target, for patience.
    moved: Instant,
}

pub async fn run(ctx: &TaskContext, from: Secured, to: FollowTo) -> Result<TaskResult> {
    let source: Arc<dyn Connector> = ctx.source()?.into();
    let end = ctx.meter.timed(Wait::Source, source.log_end()).await?;
    let stop = (to != FollowTo::Open).then(|| end.clone());
    let mut follow = Follow {
        ctx,
        show: Show::new(ctx, Arc::clone(&source)),
        source,
        from,
        to,
        stop,
        end,
        moved: Instant::now(),
    };
    let patience = Duration::from_millis(limits::FOLLOW_PATIENCE_MS);
    let mut attempt = 0;
    loop {
        let began = Instant::now();
        let error = match follow.once().await {
            Ok(Some(mark)) => return Ok(TaskResult::Followed(Box::new(mark))),
            Ok(None) => continue,
            Err(error) => error,
        };
        if error.class != ErrorClass::Transient || follow.moved.elapsed() > patience {
            return Err(error);
        }
        attempt = match follow.moved > began {
            true => 1,
            false => attempt + 1,
        };
        tracing::warn!(lease = %ctx.lease, attempt, %error, "following is taken up again");
        follow.show.warn(Some(error.failure.what.clone()));
        sleep(Duration::from_millis(retry::wait_ms(
            attempt,
            u64::from(attempt),
        )))
        .await;
    }
}

impl Follow<'_> {
    fn strict(&self) -> bool {
        self.to != FollowTo::EndOfCopy
    }

    /// From the target's position to the end, or to an error; None = to where a table was altered,
    /// which is dealt with.
    async fn once(&mut self) -> Result<Option<Mark>> {
        let opening = Set::open(self.ctx, self.strict(), &self.from);
        let mut set = self.ctx.meter.timed(Wait::Target, opening).await?;
        self.show.applied(set.mark());
        if self.is_there(&set.mark().position) {
            return Ok(Some(set.mark().clone()));
        }
        let request = StreamRequest {
            job: self.ctx.job.uid.clone(),
            tables: set.plans(),
            after: set.mark().position.clone(),
            identity: self.from.identity.clone(),
        };
        let opening = self.source.changes(request);
        let stream = self.ctx.meter.timed(Wait::Source, opening).await?;
        let mut reading = Reading::start(stream);
        let followed = self.follow(&mut set, &mut reading).await;
        reading.end().await;
        match followed? {
            None => Ok(Some(set.mark().clone())),
            Some(drift) => {
                self.drifted(&mut set, &drift).await?;
                Ok(None)
            }
        }
    }

    fn is_there(&self, position: &Position) -> bool {
        let there = |stop: &Position| position.order >= stop.order;
        self.stop.as_ref().is_some_and(there)
    }

    /// Some = up to where a table was altered.
    async fn follow(&mut self, set: &mut Set<'_>, reading: &mut Reading) -> Result<Option<Drift>> {
        let mut noted = Instant::now();
        loop {
            let event = self.ctx.meter.timed(Wait::Source, reading.next()).await?;
            self.show.look();
            let mut next = Some(event);
            // Takes what is at hand, until a transaction ends and there is no more, or enough.
            let mut idle = false;
            let mut drift = None;
            let gathering = Instant::now();
            while let Some(event) = next.take() {
                let ended = matches!(event, Event::Commit { .. } | Event::Idle { .. });
                idle = matches!(event, Event::Idle { .. });
                if let Event::Drift(found) = event {
                    drift = Some(found);
                    break;
                }
                self.take(set, event).await?;
                let enough = ended && (set.is_full() || self.is_there(set.reached()));
                if !enough {
                    next = match ended {
                        true => {
                            let behind = set.has_work() && self.show.is_behind(set.reached_at());
                            more(reading, gathering, behind).await
                        }
                        false => Some(self.ctx.meter.timed(Wait::Source, reading.next()).await?),
                    };
                }
            }
            self.show.read(set.read());
            let due = noted.elapsed() >= Duration::from_millis(limits::FOLLOW_IDLE_MARK_MS);
            let there = self.is_there(set.reached());
            if set.has_work() || ((due || there || drift.is_some()) && set.has_moved()) {
                self.flush(set, reading).await?;
                noted = Instant::now();
            }
            if idle {
                // Heard from the source, and nothing waits.
                self.moved = Instant::now();
            }
            self.show.lag(idle);
            if idle || (self.strict() && set.mark().position.order >= self.end.order) {
                self.show.caught_up();
            }
            if there || drift.is_some() {
                return Ok(drift);
            }
        }
    }

    async fn take(&mut self, set: &mut Set<'_>, event: Event) -> Result<()> {
        match event {
            Event::Begin(origin) => set.begin(&*self.source, &origin),
            Event::Rows(batch) => set.rows(&*self.source, batch).await,
            Event::Commit { position, at } => {
                set.end(position, at);
                Ok(())
            }
            Event::Idle { position } => {
                set.idle(position);
                Ok(())
            }
            // The caller's.
            Event::Drift(_) => Ok(()),
        }
    }

    /// Everything gathered, and the mark, in one transaction of the target.
    async fn flush(&mut self, set: &mut Set<'_>, reading: &Reading) -> Result<()> {
        let writing = set.commit(&*self.source);
        self.ctx.meter.timed(Wait::Target, writing).await?;
        self.moved = Instant::now();
        reading.confirm(&set.mark().position);
        self.show.applied(set.mark());
        self.show.warn(None);
        Ok(())
    }

    /// Goes beyond a statement that altered a table, or stops with the position before it.
    async fn drifted(&mut self, set: &mut Set<'_>, drift: &Drift) -> Result<()> {
        let settled = drift::settle(self.ctx, &*self.source, set, drift).await?;
        let before = set.mark().position.clone();
        let altered = match settled {
            Settled::AsItWas if drift.position.order <= before.order => {
                let why = "what it changed isn't seen in the columns it has now";
                return Err(drift::stop(drift, why));
            }
            Settled::AsItWas => None,
            Settled::Altered(no, table) => Some((no, *table)),
        };
        set.pass(&drift.position, altered).await?;
        self.moved = Instant::now();
        self.show.applied(set.mark());
        Ok(())
    }
}

/// The next event after the end of a transaction, if there is one. What is far behind waits a
/// moment for more: others are in its way, and a large set costs the target little more.
async fn more(reading: &mut Reading, gathering: Instant, behind: bool) -> Option<Event> {
    if let Some(event) = reading.at_hand() {
        return Some(event);
    }
    let linger = Duration::from_millis(limits::FOLLOW_LINGER_MS);
    match linger.checked_sub(gathering.elapsed()) {
        Some(left) if behind => timeout(left, reading.event()).await.ok().flatten(),
        _ => None,
    }
}
