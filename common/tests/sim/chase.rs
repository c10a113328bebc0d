//! A model of a follow task: begins as an owner of its fence's unit, reads the target's mark, and
//! applies whole transactions of the source from there, each set in one transaction with the mark.

use common::change::{LogOrder, Mark, Position, Secured};
use common::epoch::{Epoch, Lease, Unit};
use common::id::{TableNo, TaskNo};
use common::task::{FollowTo, TaskResult};

use crate::log::Log;
use crate::plant::Bug;
use crate::target::{Answer, Refusal, SessionId};
use crate::wire::Wire;

/// The fence's unit of following: no task has that number.
pub const UNIT: Unit = Unit::Task(TaskNo(u32::MAX));

/// Where a follow task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chase {
    begun: Option<u64>,
    at: u64,
    /// Applied in the open transaction, up to here.
    open: Option<u64>,
}

pub fn position(at: u64) -> Position {
    Position {
        order: LogOrder(0, at),
        text: at.to_string(),
    }
}

/// As a worker's: of a later task, or of a later epoch of one task, it is higher.
fn fence(lease: Lease) -> Epoch {
    let Unit::Task(no) = lease.unit else {
        return lease.epoch;
    };
    Epoch(no.0 << 16 | lease.epoch.0)
}

impl Chase {
    /// One statement. Some = it got where it was to go.
    pub fn step(
        &mut self,
        wire: &mut Wire,
        session: SessionId,
        lease: Lease,
        (from, to): (&Secured, FollowTo),
    ) -> Answer<Option<TaskResult>> {
        let fence = fence(lease);
        let Some(end) = self.begun else {
            self.begin(wire, session, fence, from)?;
            return Ok(None);
        };
        let end = match to {
            FollowTo::Open => Log::end(wire.now),
            FollowTo::EndOfCopy | FollowTo::Now => end,
        };
        if let Some(until) = self.open.take() {
            let at = self.at;
            wire.ask(session, |t| t.commit_changes(session, fence, at, until))?;
            self.at = until;
            return Ok(None);
        }
        if self.at < end {
            let until = end.min(self.at + wire.rng.between(1, 3));
            let at = self.at;
            wire.ask(session, |t| t.apply_changes(session, at, until))?;
            self.open = Some(until);
            return Ok(None);
        }
        Ok((to != FollowTo::Open).then(|| self.result()))
    }

    fn begin(
        &mut self,
        wire: &mut Wire,
        session: SessionId,
        fence: Epoch,
        from: &Secured,
    ) -> Answer<()> {
        if let Some(holder) = wire.ask(session, |t| t.holder(session, UNIT))? {
            if holder.epoch > fence {
                return Err(Refusal::Fenced(holder.epoch));
            }
            if holder.life == wire.target.life && holder.session != session {
                wire.ask(session, |t| t.kill(holder.session))?;
            }
        }
        wire.ask(session, |t| t.raise(session, UNIT, fence, session))?;
        let mark = wire.ask(session, |t| t.mark(session))?;
        let end = Log::end(wire.now);
        self.at = match wire.target.bugs.has(Bug::FollowsFromNow) {
            true => end,
            false => mark.unwrap_or(from.position.order.1),
        };
        self.begun = Some(end);
        Ok(())
    }

    fn result(&self) -> TaskResult {
        TaskResult::Followed(Box::new(Mark {
            position: position(self.at),
            touched: [TableNo(1)].into(),
            ..Mark::default()
        }))
    }
}
