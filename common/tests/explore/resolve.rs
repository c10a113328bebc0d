//! The steps of a resolve task: the end of a job at the target. Sessions of older resolve tasks are
//! left alone here, so that every one of them may be a zombie.

use crate::plant::Bug;
use crate::target::{PARTITIONS, Refusal, Stmt};
use crate::unit::{Around, Pc, Said, Step, Unit, end};

impl Unit {
    pub fn resolve_step(&mut self, around: &mut Around<'_>) -> Step {
        if self.away {
            self.lose_session(around);
            return Step::Ended(Said::Released);
        }
        let ended = match self.resolve_once(around) {
            // Somebody is at work still: look again.
            Ok(Step::Goes) | Err(Refusal::LockTimeout | Refusal::Nota) => return Step::Goes,
            Ok(step) => step,
            Err(Refusal::Fenced) => Step::Ended(Said::Fenced),
            Err(_) => Step::Ended(Said::Transient),
        };
        self.lose_session(around);
        ended
    }

    fn resolve_once(&mut self, around: &mut Around<'_>) -> Result<Step, Refusal> {
        if self.session == 0 {
            self.session = around.target.connect(around.free);
        }
        around.look_alive(self.session)?;
        match self.pc {
            Pc::Settle(no) if (no as usize) < PARTITIONS => self.settle(around, no)?,
            Pc::Settle(_) => self.pc = Pc::Sweep,
            Pc::Sweep => self.sweep(around)?,
            _ => {
                if self.drop_books && around.target.books {
                    around.ask(self.session, Stmt::DropBooks)?;
                }
                return Ok(Step::Ended(Said::Resolved));
            }
        }
        Ok(Step::Goes)
    }

    fn settle(&mut self, around: &mut Around<'_>, no: u8) -> Result<(), Refusal> {
        let unit = self.resolve[no as usize];
        if unit.fence == 0 || !around.target.books {
            self.pc = Pc::Settle(no + 1);
            return Ok(());
        }
        let blind = around.server.has(Bug::ResolveNewer);
        let holder = around.target.fence[no as usize];
        if holder.epoch > unit.fence && !blind {
            return Err(Refusal::Fenced);
        }
        around
            .target
            .kill(around.server, self.session, holder.session);
        let listed = around.target.listed(no);
        if let Some(txn) = listed.filter(|_| !around.server.has(Bug::NoResolve)) {
            if txn > unit.fence && !blind {
                return Err(Refusal::Fenced);
            }
            let commit = unit.decided == txn;
            return around.ask(self.session, end(no, txn, commit));
        }
        let (epoch, owner) = (unit.fence, 0);
        match around.ask(self.session, Stmt::Raise { no, epoch, owner }) {
            Err(Refusal::Fenced) if blind => {}
            raised => raised?,
        }
        self.pc = Pc::Settle(no + 1);
        Ok(())
    }

    /// Whatever of the job is still prepared: partitions that are committed, by another epoch.
    fn sweep(&mut self, around: &mut Around<'_>) -> Result<(), Refusal> {
        let ends = !around.server.has(Bug::NoResolve);
        let left = |no| around.target.listed(no).map(|txn| (no, txn));
        let left = (0..PARTITIONS as u8).find_map(left).filter(|_| ends);
        let Some((no, txn)) = left else {
            around.look(self.session)?;
            self.pc = Pc::DropBooks;
            return Ok(());
        };
        let unit = self.resolve[no as usize];
        let known = match unit.fence {
            0 => !around.target.books || around.target.ledger[no as usize] != 0,
            fence => txn <= fence,
        };
        if !known && !around.server.has(Bug::ResolveNewer) {
            return Err(Refusal::Fenced);
        }
        around.ask(self.session, end(no, txn, unit.decided == txn))
    }
}
