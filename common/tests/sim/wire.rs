//! What lies between a worker and the target: statements that never arrive, answers that get lost,
//! connections whose end the server notices late, statements that fail.

use crate::plant::Bug;
use crate::rng::Rng;
use crate::target::{Answer, Mishap, Refusal, SessionId, Target, Txn};

/// Faults of one worker's connection, in thousandths of statements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub cut: bool,
    pub lost_before: u64,
    pub lost_after: u64,
    /// A server notices a broken connection only after this long.
    pub half_open_ms: u64,
    pub statement_fails: u64,
    pub statement_warns: u64,
}

pub struct Wire<'a> {
    pub target: &'a mut Target,
    pub rng: &'a mut Rng,
    pub weather: Weather,
    pub now: u64,
}

impl Wire<'_> {
    pub fn connect(&mut self) -> Answer<SessionId> {
        if self.weather.cut || self.rng.chance(self.weather.lost_before) {
            return Err(Refusal::Connection);
        }
        self.target.connect()
    }

    /// One statement on `session`.
    pub fn ask<T>(
        &mut self,
        session: SessionId,
        statement: impl FnOnce(&mut Target) -> Answer<T>,
    ) -> Answer<T> {
        if self.weather.cut || self.rng.chance(self.weather.lost_before) {
            self.hang_up(session);
            return Err(Refusal::Connection);
        }
        let answer = statement(self.target);
        if self.rng.chance(self.weather.lost_after) {
            self.hang_up(session);
            return Err(Refusal::Connection);
        }
        answer
    }

    /// One batch, which may go wrong by itself.
    pub fn load(&mut self, session: SessionId, txn: Txn) -> Answer<u32> {
        let mishap = match (self.weather.statement_fails, self.weather.statement_warns) {
            (fails, _) if self.rng.chance(fails) => Mishap::Fails,
            (_, warns) if self.rng.chance(warns) => Mishap::Warns,
            _ => Mishap::None,
        };
        self.ask(session, |target| target.load(session, txn, mishap))
    }

    /// The client is gone; the server notices sooner or later.
    pub fn hang_up(&mut self, session: SessionId) {
        if self.target.bugs.has(Bug::KeepsSessions) {
            return;
        }
        match self.weather.half_open_ms {
            0 => self.target.end_session(session),
            late => self.target.doomed.push((self.now + late, session)),
        }
    }
}
