//! Follows the source: reads its changes, nets them, applies them at the target with the position
//! they lead to. See DESIGN §6.
//!
//! Invariants: what is committed at the target is whole source transactions, in their order, and
//! the mark beside them says which; after any doubt about a commit the mark is read again, by a new
//! session under the fence; the source is told that a position is safe only after that commit.

mod images;
mod read;
mod show;
mod write;

use std::sync::Arc;
use std::time::Duration;

use common::change::{Mark, Position, Secured};
use common::code::{Code, ErrorClass};
use common::task::{FollowTo, TaskResult};
use common::{limits, retry};
use tokio::time::{Instant, sleep};

use self::images::{Table, Tables};
use self::read::Reading;
use self::show::Show;
use self::write::Set;
use crate::connector::changes::{Drift, Event};
use crate::connector::{Connector, Error, Result, StreamRequest};
use crate::meter::Wait;
use crate::task::{TaskContext, without_bounds};

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
            Ok(mark) => return Ok(TaskResult::Followed(Box::new(mark))),
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

    fn tables(&self) -> Result<Tables> {
        let plans = (0u32..)
            .map(common::id::TableNo)
            .zip(&self.ctx.plan()?.tables);
        let tables =
            plans.map(|(no, plan)| Ok((no, Table::new(self.ctx, without_bounds(plan), no)?)));
        tables.collect()
    }

    /// From the target's position to the end, or to an error.
    async fn once(&mut self) -> Result<Mark> {
        let tables = self.tables()?;
        let plans = tables.values().map(|table| table.plan.clone()).collect();
        let opening = Set::open(self.ctx, tables, self.strict(), &self.from);
        let mut set = self.ctx.meter.timed(Wait::Target, opening).await?;
        self.show.applied(set.mark());
        if self.is_there(&set.mark().position) {
            return Ok(set.mark().clone());
        }
        let request = StreamRequest {
            job: self.ctx.job.uid.clone(),
            tables: plans,
            after: set.mark().position.clone(),
            identity: self.from.identity.clone(),
        };
        let opening = self.source.changes(request);
        let stream = self.ctx.meter.timed(Wait::Source, opening).await?;
        let mut reading = Reading::start(stream);
        let followed = self.follow(&mut set, &mut reading).await;
        reading.end().await;
        followed?;
        Ok(set.mark().clone())
    }

    fn is_there(&self, position: &Position) -> bool {
        let there = |stop: &Position| position.order >= stop.order;
        self.stop.as_ref().is_some_and(there)
    }

    async fn follow(&mut self, set: &mut Set<'_>, reading: &mut Reading) -> Result<()> {
        let mut noted = Instant::now();
        loop {
            let event = self.ctx.meter.timed(Wait::Source, reading.next()).await?;
            self.show.look();
            let mut next = Some(event);
            // Takes what is at hand, until a transaction ends and there is no more, or enough.
            let mut idle = false;
            while let Some(event) = next.take() {
                let ended = matches!(event, Event::Commit { .. } | Event::Idle { .. });
                idle = matches!(event, Event::Idle { .. });
                self.take(set, reading, event).await?;
                let stop = ended && (set.is_full() || self.is_there(set.reached()));
                if !stop {
                    next = match ended {
                        true => reading.at_hand(),
                        false => Some(self.ctx.meter.timed(Wait::Source, reading.next()).await?),
                    };
                }
            }
            let due = noted.elapsed() >= Duration::from_millis(limits::FOLLOW_IDLE_MARK_MS);
            let there = self.is_there(set.reached());
            if set.has_work() || ((due || there) && set.has_moved()) {
                self.flush(set, reading).await?;
                noted = Instant::now();
            }
            self.show.lag(idle);
            if idle || (self.strict() && set.mark().position.order >= self.end.order) {
                self.show.caught_up();
            }
            if there {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, set: &mut Set<'_>, reading: &Reading, event: Event) -> Result<()> {
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
            Event::Drift(drift) => {
                self.flush(set, reading).await?;
                Err(self.drifted(&drift))
            }
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

    fn drifted(&self, drift: &Drift) -> Error {
        let what = format!(
            "{} was altered at the source while it was followed: {} (the target stands before it)",
            drift.name, drift.statement
        );
        let mut error = Error::permanent(Code::SchemaDrift, what);
        error.failure = error.failure.fix(
            "undo the change at the source's side of the job, or `sterna cancel` it and start over",
        );
        error
    }
}
