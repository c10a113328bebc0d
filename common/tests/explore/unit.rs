//! A unit of a worker: the steps of its `copy` and `resolve` and of a connector's writer, one
//! statement that changes something at a time. Reads in front of it belong to the same step where
//! nothing between the two could make a difference.

use crate::plant::Bug;
use crate::target::{Answer, Dialect, PARTITIONS, Refusal, Server, Sid, Stmt, Target, Weather};

/// What a unit said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    Nothing,
    Prepared,
    Committed(u8),
    Resolved,
    Released,
    Transient,
    Permanent,
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pc {
    /// Looks at the holder of the fence and kills its session.
    Begin,
    /// Ends older prepared transactions by what was decided.
    End,
    Raise,
    Reread,
    Load,
    Seal,
    Prepare,
    Check,
    Await,
    Finish,
    Undo,
    UndoOutside,
    /// A resolve task, at that partition.
    Settle(u8),
    Sweep,
    DropBooks,
}

/// What a resolve task ends of a partition; fence 0 = nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resolve {
    pub fence: u8,
    pub decided: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unit {
    pub is_task: bool,
    pub no: u8,
    pub epoch: u8,
    /// The older epoch whose decision is Commit; 0 = none.
    decided: u8,
    pub pc: Pc,
    pub session: Sid,
    pub claim: Sid,
    pub resolve: [Resolve; PARTITIONS],
    pub drop_books: bool,
    /// What the runner told it.
    pub commit: bool,
    pub away: bool,
    /// What the runner keeps.
    pub running: bool,
    pub wanted: bool,
    pub said: Said,
    /// What is said once T is undone.
    after: Said,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Goes,
    Ended(Said),
    /// Prepared, and left as it is.
    Left,
}

/// The world around one step.
pub struct Around<'a> {
    pub target: &'a mut Target,
    pub server: Server,
    pub weather: Weather,
    /// A number for a new session.
    pub free: Sid,
}

impl Around<'_> {
    pub fn ask(&mut self, session: Sid, stmt: Stmt) -> Answer {
        self.target.ask(self.server, session, stmt, self.weather)
    }

    /// A read in front of a statement: what the weather does, it does to the statement.
    pub fn look_alive(&mut self, session: Sid) -> Answer {
        match self.target.is_open(session) {
            true => Ok(()),
            false => Err(Refusal::Connection),
        }
    }

    /// A read, which only a connection that breaks can disturb.
    pub fn look(&mut self, session: Sid) -> Answer {
        if self.weather != Weather::Fair {
            self.target.hang_up(session);
        }
        match self.target.is_open(session) {
            true => Ok(()),
            false => Err(Refusal::Connection),
        }
    }
}

impl Unit {
    pub fn copying(no: u8, epoch: u8, decided: u8) -> Unit {
        Unit {
            is_task: false,
            no,
            epoch,
            decided,
            pc: Pc::Begin,
            session: 0,
            claim: 0,
            resolve: [Resolve::default(); PARTITIONS],
            drop_books: false,
            commit: false,
            away: false,
            running: true,
            wanted: true,
            said: Said::Nothing,
            after: Said::Nothing,
        }
    }

    /// A unit that commits what an earlier run of the lease prepared.
    pub fn finishing(no: u8, epoch: u8) -> Unit {
        let mut unit = Unit::copying(no, epoch, 0);
        unit.pc = Pc::Finish;
        unit
    }

    pub fn resolving(no: u8, epoch: u8, resolve: [Resolve; PARTITIONS], drop_books: bool) -> Unit {
        let mut unit = Unit::copying(no, epoch, 0);
        unit.is_task = true;
        unit.pc = Pc::Settle(0);
        unit.resolve = resolve;
        unit.drop_books = drop_books;
        unit
    }

    pub fn step(&mut self, around: &mut Around<'_>) -> Step {
        let went = match self.pc {
            Pc::Await => return self.wait(around),
            Pc::Finish => return self.finish(around),
            Pc::Undo | Pc::UndoOutside => return self.undo_step(around),
            Pc::Settle(_) | Pc::Sweep | Pc::DropBooks => return self.resolve_step(around),
            Pc::Load if self.away => return self.undo(Said::Released),
            Pc::Begin | Pc::End | Pc::Raise | Pc::Reread => self.begin(around),
            Pc::Load => self.load(around, true),
            Pc::Seal | Pc::Prepare | Pc::Check => self.prepare(around),
        };
        match went {
            Ok(step) => step,
            Err(Refusal::Fenced) => self.undo(Said::Fenced),
            Err(_) => self.undo(Said::Transient),
        }
    }

    fn begin(&mut self, around: &mut Around<'_>) -> Result<Step, Refusal> {
        let (no, epoch) = (self.no, self.epoch);
        match self.pc {
            Pc::Begin => {
                self.session = around.target.connect(around.free);
                around.look(self.session)?;
                if !around.target.books {
                    return Err(Refusal::Fenced);
                }
                self.kill_holder(around)?;
                self.pc = Pc::End;
            }
            Pc::End => match around.target.listed(no) {
                Some(older) if !around.server.has(Bug::NoRecovery) => {
                    around.look_alive(self.session)?;
                    if older > epoch {
                        return Err(Refusal::Fenced);
                    }
                    let commit = older == self.decided && !around.server.has(Bug::DecisionIgnored);
                    match around.ask(self.session, end(no, older, commit)) {
                        Err(Refusal::Connection) => return Err(Refusal::Connection),
                        // Its owner is at work still: look again.
                        Err(_) => self.kill_holder(around)?,
                        Ok(()) => {}
                    }
                }
                _ => {
                    around.look(self.session)?;
                    self.pc = Pc::Raise;
                }
            },
            Pc::Raise => {
                let owner = self.session;
                match around.ask(owner, Stmt::Raise { no, epoch, owner }) {
                    Ok(()) => {
                        self.claim = owner;
                        self.pc = Pc::Reread;
                    }
                    // A transaction of an older epoch is about to prepare: look again.
                    Err(Refusal::LockTimeout) => {
                        self.kill_holder(around)?;
                        self.pc = Pc::End;
                    }
                    Err(other) => return Err(other),
                }
            }
            _ => {
                around.look(self.session)?;
                let found = around.target.ledger[no as usize];
                if found != 0 && !around.server.has(Bug::LedgerNotReread) {
                    around.target.hang_up(self.session);
                    return Ok(Step::Ended(Said::Committed(found)));
                }
                self.pc = Pc::Load;
            }
        }
        Ok(Step::Goes)
    }

    fn kill_holder(&mut self, around: &mut Around<'_>) -> Answer {
        let holder = around.target.fence[self.no as usize];
        if holder.epoch > self.epoch {
            return Err(Refusal::Fenced);
        }
        around
            .target
            .kill(around.server, self.session, holder.session);
        Ok(())
    }

    /// XA START and all of x; `fine` = every statement succeeded.
    pub fn load(&mut self, around: &mut Around<'_>, fine: bool) -> Result<Step, Refusal> {
        let (no, epoch) = (self.no, self.epoch);
        let whole = fine;
        around.ask(self.session, Stmt::Start { no, epoch, whole })?;
        self.pc = Pc::Seal;
        Ok(Step::Goes)
    }

    /// A statement of the load failed.
    pub fn fail_to_load(&mut self, around: &mut Around<'_>, says: Said) -> Step {
        match self.load(around, false) {
            Ok(_) if around.server.has(Bug::NoPoison) => Step::Goes,
            _ => self.undo(says),
        }
    }

    fn prepare(&mut self, around: &mut Around<'_>) -> Result<Step, Refusal> {
        let (no, epoch, session) = (self.no, self.epoch, self.session);
        match self.pc {
            Pc::Seal => {
                around.look_alive(session)?;
                let whole = around.target.is_whole(no, epoch);
                if !whole && !around.server.has(Bug::NoRowCheck) {
                    return Err(Refusal::Statement);
                }
                around.ask(session, Stmt::Seal { no, epoch })?;
                if around.server.is_durable() {
                    self.pc = Pc::Prepare;
                } else {
                    self.say_prepared();
                }
            }
            Pc::Prepare => {
                around.ask(session, Stmt::Prepare { no, epoch })?;
                match around.server.dialect == Dialect::Postgres {
                    true => self.pc = Pc::Check,
                    false => self.say_prepared(),
                }
            }
            _ => {
                around.look(session)?;
                if !around.target.lists(no, epoch) && !around.server.has(Bug::NoTagCheck) {
                    return Err(Refusal::Statement);
                }
                self.say_prepared();
            }
        }
        if self.said == Said::Prepared && around.server.has(Bug::CommitUndecided) {
            self.commit = true;
        }
        Ok(Step::Goes)
    }

    fn say_prepared(&mut self) {
        self.said = Said::Prepared;
        self.pc = Pc::Await;
    }

    fn wait(&mut self, around: &mut Around<'_>) -> Step {
        let (no, epoch) = (self.no, self.epoch);
        if self.commit {
            return match around.ask(self.session, end(no, epoch, true)) {
                Ok(()) => self.committed(around),
                Err(Refusal::Nota) if around.server.has(Bug::NotaIsDone) => self.committed(around),
                Err(_) => {
                    self.lose_session(around);
                    self.pc = Pc::Finish;
                    Step::Goes
                }
            };
        }
        if !self.away {
            return Step::Goes;
        }
        if around.server.is_durable() && !around.server.has(Bug::RollBackDecided) {
            self.lose_session(around);
            return Step::Left;
        }
        self.undo(Said::Released)
    }

    fn committed(&mut self, around: &mut Around<'_>) -> Step {
        self.lose_session(around);
        Step::Ended(Said::Committed(self.epoch))
    }

    pub fn lose_session(&mut self, around: &mut Around<'_>) {
        around.target.hang_up(self.session);
        self.session = 0;
    }

    /// The ledger, then the list; never the error code.
    fn finish(&mut self, around: &mut Around<'_>) -> Step {
        match self.finish_once(around) {
            Ok(Step::Goes) => Step::Goes,
            Ok(step) => {
                self.lose_session(around);
                step
            }
            Err(refusal) => {
                self.lose_session(around);
                match refusal {
                    Refusal::Fenced => Step::Ended(Said::Fenced),
                    Refusal::Connection if !self.away => Step::Goes,
                    _ => Step::Ended(Said::Transient),
                }
            }
        }
    }

    fn finish_once(&mut self, around: &mut Around<'_>) -> Result<Step, Refusal> {
        let (no, epoch) = (self.no, self.epoch);
        if self.session == 0 {
            self.session = around.target.connect(around.free);
        }
        around.look_alive(self.session)?;
        if !around.target.books {
            return Err(Refusal::Fenced);
        }
        let found = around.target.ledger[no as usize];
        if found == epoch {
            return Ok(Step::Ended(Said::Committed(epoch)));
        }
        if found != 0 {
            return Err(Refusal::Fenced);
        }
        let holder = around.target.fence[no as usize];
        if holder.epoch == epoch {
            around
                .target
                .kill(around.server, self.session, holder.session);
        }
        if !around.target.lists(no, epoch) {
            around.look(self.session)?;
            return Ok(Step::Ended(Said::Transient));
        }
        match around.ask(self.session, end(no, epoch, true)) {
            Err(Refusal::Nota) if around.server.has(Bug::NotaIsDone) => {
                Ok(Step::Ended(Said::Committed(epoch)))
            }
            Err(Refusal::Connection) => Err(Refusal::Connection),
            _ => Ok(Step::Goes),
        }
    }

    pub fn undo(&mut self, after: Said) -> Step {
        self.said = Said::Nothing;
        self.after = after;
        self.pc = Pc::Undo;
        Step::Goes
    }

    /// Patience is over.
    pub fn give_up(&mut self, around: &mut Around<'_>) -> Option<Step> {
        match self.pc {
            Pc::End | Pc::Raise => Some(self.undo(Said::Transient)),
            Pc::Finish | Pc::Settle(_) | Pc::Sweep | Pc::DropBooks => {
                self.lose_session(around);
                Some(Step::Ended(Said::Transient))
            }
            Pc::UndoOutside => {
                self.lose_session(around);
                Some(Step::Ended(self.after))
            }
            _ => None,
        }
    }

    /// Ends T on its own session, else from outside; best effort, the next owner does the rest.
    fn undo_step(&mut self, around: &mut Around<'_>) -> Step {
        let (no, epoch) = (self.no, self.epoch);
        if self.pc == Pc::Undo {
            let here = !around.target.has(no, epoch)
                || around.ask(self.session, end(no, epoch, false)).is_ok();
            self.lose_session(around);
            if here {
                return Step::Ended(self.after);
            }
            self.pc = Pc::UndoOutside;
            return Step::Goes;
        }
        if self.session == 0 {
            self.session = around.target.connect(around.free);
        }
        let holder = around.target.fence[no as usize];
        let at_work = match self.claim {
            0 if holder.epoch == epoch => holder.session,
            claim => claim,
        };
        around.target.kill(around.server, self.session, at_work);
        if around.target.lists(no, epoch)
            && around.ask(self.session, end(no, epoch, false)) == Err(Refusal::Nota)
        {
            return Step::Goes;
        }
        self.lose_session(around);
        Step::Ended(self.after)
    }
}

pub fn end(no: u8, epoch: u8, commit: bool) -> Stmt {
    match commit {
        true => Stmt::Commit { no, epoch },
        false => Stmt::Rollback { no, epoch },
    }
}
