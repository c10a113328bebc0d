//! What a target knows of the source's changes: which it has, and the mark beside them.

use common::epoch::Epoch;

use crate::plant::Bug;
use crate::target::{Answer, Refusal, SessionId, Target};

impl Target {
    pub fn mark(&self, session: SessionId) -> Answer<Option<u64>> {
        self.check(session)?;
        match self.books {
            true => Ok(self.mark),
            false => Err(Refusal::Gone),
        }
    }

    /// Changes beyond `from`, up to `until`, in an open transaction of this session.
    pub fn apply_changes(&mut self, session: SessionId, from: u64, until: u64) -> Answer<()> {
        self.check(session)?;
        if self.full {
            return Err(Refusal::Statement);
        }
        self.applied.insert(session, (from, until));
        Ok(())
    }

    /// The fence, the mark, COMMIT.
    pub fn commit_changes(
        &mut self,
        session: SessionId,
        fence: Epoch,
        from: u64,
        until: u64,
    ) -> Answer<()> {
        self.check(session)?;
        if !self.books {
            return Err(Refusal::Gone);
        }
        let held = self.fence.get(&crate::chase::UNIT);
        let held = held.map(|row| row.epoch).unwrap_or_default();
        if held != fence && !self.bugs.has(Bug::NoMarkFence) {
            return Err(Refusal::Fenced(held));
        }
        if self.applied.remove(&session) != Some((from, until)) {
            return Err(Refusal::Statement);
        }
        self.changes.extend(from + 1..=until);
        // Beside the rows, or in a transaction of its own that may never come.
        if !(self.bugs.has(Bug::MarkApart) && until.is_multiple_of(3)) {
            self.mark = Some(until);
        }
        Ok(())
    }
}
