//! A model of a partition's unit: the steps of the worker's `copy` and of a connector's writer, one
//! statement each, so that anything can happen between two of them.

use common::code::{Code, ErrorClass, Failure};
use common::directive::Outcome;
use common::epoch::{Epoch, Unit as UnitId};
use common::id::PartitionNo;
use common::limits;

use crate::plant::Bug;
use crate::target::{Answer, Refusal, SessionId, Txn};
use crate::wire::Wire;

/// How a unit ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Said(Outcome),
    /// Prepared, and left as it is.
    Left,
}

/// What a unit does next.
#[derive(Debug)]
pub enum Step {
    In(u64),
    /// `PrepareAck`, then it waits for a word.
    Prepared,
    Waits,
    Ended(Ended),
}

/// What the runner told it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word {
    pub commit: bool,
    pub away: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pc {
    Connect,
    Look,
    EndOlder,
    Raise,
    Reread,
    Start,
    Load,
    Seal,
    Prepare,
    Await,
    Commit,
    Finish,
    UndoHere,
    UndoOutside,
}

#[derive(Clone, Debug)]
pub struct Copy {
    pub txn: Txn,
    decided: Option<Epoch>,
    pub batches: u32,
    tried: u32,
    pc: Pc,
    session: Option<SessionId>,
    claim: Option<(SessionId, u64)>,
    deadline: u64,
    nowhere: u32,
    /// What is said once T is undone.
    after: Option<Outcome>,
}

const LOOK_AGAIN_MS: u64 = 100;

impl Copy {
    pub fn new(
        no: PartitionNo,
        epoch: Epoch,
        decided: Option<Epoch>,
        batches: u32,
        now: u64,
    ) -> Copy {
        Copy {
            txn: (no, epoch),
            decided,
            batches,
            tried: 0,
            pc: Pc::Connect,
            session: None,
            claim: None,
            deadline: now + limits::BEGIN_DEADLINE_MS,
            nowhere: 0,
            after: None,
        }
    }

    /// A unit that finishes what an earlier run of the lease prepared.
    pub fn finishing(no: PartitionNo, epoch: Epoch, now: u64) -> Copy {
        let mut copy = Copy::new(no, epoch, None, 0, now);
        copy.finish_from(now);
        copy
    }

    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    fn finish_from(&mut self, now: u64) {
        self.pc = Pc::Finish;
        self.deadline = now + limits::COMMIT_DEADLINE_MS;
        self.nowhere = 0;
    }

    fn unit(&self) -> UnitId {
        UnitId::Partition(self.txn.0)
    }

    /// One statement, or one look at the word.
    pub fn step(&mut self, wire: &mut Wire, word: Word) -> Step {
        let answer = match self.pc {
            Pc::Await => return self.wait(wire, word),
            Pc::Commit | Pc::Finish => return self.committing(wire, word),
            Pc::UndoHere | Pc::UndoOutside => return self.undoing(wire),
            Pc::Load if word.away => return self.undo(released()),
            Pc::Connect | Pc::Look | Pc::EndOlder | Pc::Raise | Pc::Reread => self.beginning(wire),
            Pc::Start | Pc::Load | Pc::Seal | Pc::Prepare => self.loading(wire),
        };
        match answer {
            Ok(step) => step,
            Err(Refusal::Fenced(_)) => self.undo(failed(ErrorClass::Fenced)),
            Err(_) => self.undo(failed(ErrorClass::Transient)),
        }
    }

    fn beginning(&mut self, wire: &mut Wire) -> Answer<Step> {
        let (txn, unit) = (self.txn, self.unit());
        if self.pc == Pc::Connect {
            self.session = Some(wire.connect()?);
            self.pc = Pc::Look;
            return Ok(Step::In(1));
        }
        let session = self.session.ok_or(Refusal::Connection)?;
        match self.pc {
            Pc::Look => {
                if let Some(holder) = wire.ask(session, |t| t.holder(session, unit))? {
                    if holder.epoch > txn.1 {
                        return Err(Refusal::Fenced(holder.epoch));
                    }
                    if holder.life == wire.target.life && holder.session != session {
                        wire.ask(session, |t| t.kill(holder.session))?;
                    }
                }
                self.pc = match wire.target.bugs.has(Bug::OlderLeft) {
                    true => Pc::Raise,
                    false => Pc::EndOlder,
                };
            }
            Pc::EndOlder => {
                for older in wire.ask(session, |t| t.listed(session, txn.0))? {
                    if older.1 > txn.1 {
                        return Err(Refusal::Fenced(older.1));
                    }
                    let commit = self.decided == Some(older.1);
                    let ended = wire.ask(session, |t| match commit {
                        true => t.commit(session, older),
                        false => t.rollback(session, older),
                    });
                    if ended == Err(Refusal::Connection) {
                        return Err(Refusal::Connection);
                    }
                }
                if !wire.ask(session, |t| t.listed(session, txn.0))?.is_empty() {
                    return self.look_again(wire);
                }
                self.pc = Pc::Raise;
            }
            Pc::Raise => match wire.ask(session, |t| t.raise(session, unit, txn.1, session)) {
                Ok(()) => {
                    self.claim = Some((session, wire.target.life));
                    self.pc = Pc::Reread;
                }
                Err(Refusal::LockTimeout) => return self.look_again(wire),
                Err(other) => return Err(other),
            },
            _ => {
                let blind = wire.target.bugs.has(Bug::LedgerNotReread);
                match wire.ask(session, |t| t.committed(session, txn.0))? {
                    Some(epoch) if !blind => {
                        wire.hang_up(session);
                        return Ok(Step::Ended(Ended::Said(Outcome::Committed(epoch))));
                    }
                    _ => self.pc = Pc::Start,
                }
            }
        }
        Ok(Step::In(1))
    }

    fn look_again(&mut self, wire: &Wire) -> Answer<Step> {
        self.pc = Pc::Look;
        match wire.now < self.deadline {
            true => Ok(Step::In(LOOK_AGAIN_MS)),
            false => Err(Refusal::LockTimeout),
        }
    }

    fn loading(&mut self, wire: &mut Wire) -> Answer<Step> {
        let txn = self.txn;
        let session = self.session.ok_or(Refusal::Connection)?;
        match self.pc {
            Pc::Start => match wire.ask(session, |t| t.start(session, txn)) {
                Ok(()) => self.pc = Pc::Load,
                Err(Refusal::LockTimeout) => return self.look_again(wire),
                Err(other) => return Err(other),
            },
            Pc::Load => {
                let poisons = !wire.target.bugs.has(Bug::NoPoison);
                match wire.load(session, txn) {
                    Ok(warnings) if warnings > 0 && !wire.target.bugs.has(Bug::NoWarnings) => {
                        return Err(Refusal::Statement);
                    }
                    Ok(_) => {}
                    Err(Refusal::Statement) if !poisons => {}
                    Err(other) => return Err(other),
                }
                self.tried += 1;
                if self.tried == self.batches {
                    self.pc = Pc::Seal;
                }
                return Ok(Step::In(wire.rng.between(20, 400)));
            }
            Pc::Seal => {
                let poisons = !wire.target.bugs.has(Bug::NoPoison);
                match wire.ask(session, |t| t.seal(session, txn)) {
                    Ok(()) => {}
                    Err(Refusal::Statement) if !poisons => {}
                    Err(other) => return Err(other),
                }
                self.pc = Pc::Prepare;
            }
            _ => {
                wire.ask(session, |t| t.prepare(session, txn))?;
                self.pc = match wire.target.bugs.has(Bug::CommitUndecided) {
                    true => Pc::Commit,
                    false => Pc::Await,
                };
                return Ok(Step::Prepared);
            }
        }
        Ok(Step::In(2))
    }

    fn wait(&mut self, wire: &mut Wire, word: Word) -> Step {
        if word.commit {
            self.pc = Pc::Commit;
            self.deadline = wire.now + limits::COMMIT_DEADLINE_MS;
            return Step::In(1);
        }
        if !word.away {
            return Step::Waits;
        }
        let durable = wire.target.dialect.is_durable();
        if durable && !wire.target.bugs.has(Bug::RollBackDecided) {
            if let Some(session) = self.session.take() {
                wire.hang_up(session);
            }
            return Step::Ended(Ended::Left);
        }
        self.undo(released())
    }

    fn committing(&mut self, wire: &mut Wire, word: Word) -> Step {
        let said = match self.pc {
            Pc::Commit => self.commit_here(wire),
            _ => self.finish(wire),
        };
        match said {
            Ok(true) => {
                if let Some(session) = self.session.take() {
                    wire.hang_up(session);
                }
                Step::Ended(Ended::Said(Outcome::Committed(self.txn.1)))
            }
            Ok(false) => Step::In(LOOK_AGAIN_MS),
            Err(Refusal::Fenced(_)) => Step::Ended(Ended::Said(failed(ErrorClass::Fenced))),
            Err(_) if wire.now > self.deadline || word.away => {
                Step::Ended(Ended::Said(failed(ErrorClass::Transient)))
            }
            Err(_) => {
                if let Some(session) = self.session.take() {
                    wire.hang_up(session);
                }
                self.pc = Pc::Finish;
                self.nowhere = 0;
                Step::In(400)
            }
        }
    }

    fn commit_here(&mut self, wire: &mut Wire) -> Answer<bool> {
        let txn = self.txn;
        let Some(session) = self.session else {
            return Err(Refusal::Connection);
        };
        match wire.ask(session, |t| t.commit(session, txn)) {
            Ok(()) => Ok(true),
            Err(Refusal::Nota) if wire.target.bugs.has(Bug::NotaIsDone) => Ok(true),
            Err(_) => {
                wire.hang_up(session);
                self.session = None;
                self.pc = Pc::Finish;
                self.nowhere = 0;
                Ok(false)
            }
        }
    }

    /// The ledger, then the list, re-read until stable.
    fn finish(&mut self, wire: &mut Wire) -> Answer<bool> {
        let (txn, unit) = (self.txn, self.unit());
        let session = match self.session {
            Some(session) => session,
            None => wire.connect()?,
        };
        self.session = Some(session);
        match wire.ask(session, |t| t.committed(session, txn.0))? {
            Some(epoch) if epoch == txn.1 => return Ok(true),
            Some(epoch) => return Err(Refusal::Fenced(epoch)),
            None => {}
        }
        if let Some(holder) = wire.ask(session, |t| t.holder(session, unit))?
            && holder.epoch == txn.1
            && holder.life == wire.target.life
            && holder.session != session
        {
            wire.ask(session, |t| t.kill(holder.session))?;
        }
        if wire
            .ask(session, |t| t.listed(session, txn.0))?
            .contains(&txn)
        {
            let done = wire.ask(session, |t| t.commit(session, txn));
            if done == Err(Refusal::Nota) && wire.target.bugs.has(Bug::NotaIsDone) {
                return Ok(true);
            }
        } else {
            self.nowhere += 1;
        }
        match self.nowhere >= 4 || wire.now > self.deadline {
            true => Err(Refusal::LockTimeout),
            false => Ok(false),
        }
    }

    fn undo(&mut self, after: Outcome) -> Step {
        self.after = Some(after);
        self.pc = Pc::UndoHere;
        Step::In(1)
    }

    /// Ends T on its own session, or from outside: best effort, the next owner does the rest.
    fn undoing(&mut self, wire: &mut Wire) -> Step {
        let txn = self.txn;
        let here = match (self.pc, self.session) {
            (Pc::UndoHere, Some(session)) => {
                let ended = wire.ask(session, |t| t.rollback(session, txn));
                wire.hang_up(session);
                ended.is_ok()
            }
            _ => false,
        };
        if !here && self.pc == Pc::UndoHere {
            self.session = None;
            self.pc = Pc::UndoOutside;
            return Step::In(5);
        }
        if !here {
            // An error here is the next owner's to deal with.
            let _ = self.undo_outside(wire);
        }
        let after = self.after.take().unwrap_or_else(released);
        Step::Ended(Ended::Said(after))
    }

    fn undo_outside(&mut self, wire: &mut Wire) -> Answer<()> {
        let txn = self.txn;
        let session = wire.connect()?;
        if let Some((ours, life)) = self.claim
            && life == wire.target.life
        {
            wire.ask(session, |t| t.kill(ours))?;
        }
        let listed = wire.ask(session, |t| t.listed(session, txn.0))?;
        if listed.contains(&txn) {
            wire.ask(session, |t| t.rollback(session, txn))?;
        }
        wire.hang_up(session);
        Ok(())
    }
}

fn released() -> Outcome {
    Outcome::Released
}

pub fn failed(class: ErrorClass) -> Outcome {
    let failure = Failure::new(Code::Internal, "a fault of the simulation");
    Outcome::Failed { class, failure }
}
