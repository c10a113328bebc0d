//! A small model of a target: sessions, statements on their way to it, transactions, one fence row
//! per partition, the ledger, and how often each partition's rows are there, in a table without a
//! key that would catch a second copy. The semantics are those measured on the servers, see
//! [`Dialect`]. Rolling back takes no time here: a worker waits until a killed session is gone.

use crate::plant::Bug;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Only the preparing session may end T while it is connected, everybody else is told
    /// XAER_NOTA; share locks are dropped at XA PREPARE.
    Mariadb,
    /// Anyone may end T once it is prepared.
    Mysql,
    /// As MySQL; PREPARE of a failed transaction answers with success and rolls it back.
    Postgres,
    /// No prepare: T stays open until the decision and dies with its session (PostgreSQL with
    /// max_prepared_transactions = 0, SQLite).
    Held,
}

/// A session; 0 = none. Numbers are used again once nobody remembers them.
pub type Sid = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The connection broke: what was asked may have been done, or may be done later.
    Connection,
    LockTimeout,
    Nota,
    /// The statement failed; the transaction goes on without it.
    Statement,
    /// The fence stands higher, or is not there any more.
    Fenced,
}

pub type Answer = Result<(), Refusal>;

/// What changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stmt {
    Raise { no: u8, epoch: u8, owner: Sid },
    Start { no: u8, epoch: u8, whole: bool },
    Seal { no: u8, epoch: u8 },
    Prepare { no: u8, epoch: u8 },
    Commit { no: u8, epoch: u8 },
    Rollback { no: u8, epoch: u8 },
    DropBooks,
}

/// What the network does to one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weather {
    Fair,
    /// It never arrives.
    Before,
    /// It was executed, the answer is lost.
    After,
    /// The client gives up; the server executes it later, if the session lives that long.
    Late,
}

/// T at the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Branch {
    pub no: u8,
    pub epoch: u8,
    pub prepared: bool,
    /// 0 = its session is gone.
    session: Sid,
    whole: bool,
    /// A statement failed: PostgreSQL will roll it back.
    broken: bool,
    locks_fence: bool,
    /// The ledger row is in it: nothing but the end may follow.
    pub sealed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fence {
    pub epoch: u8,
    pub session: Sid,
}

pub const PARTITIONS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub books: bool,
    pub fence: [Fence; PARTITIONS],
    /// 0 = no row.
    pub ledger: [u8; PARTITIONS],
    /// How often the rows of a partition are there, and whether some are missing.
    pub copies: [u8; PARTITIONS],
    pub partial: bool,
    /// Epochs that were committed, and that were rolled back after their prepare, as bits.
    pub committed: [u16; PARTITIONS],
    pub aborted: [u16; PARTITIONS],
    pub branches: Vec<Branch>,
    /// Sessions as bits: that the server knows, and of those the ones whose client is gone.
    pub alive: u16,
    pub gone: u16,
    /// Statements whose client gave up.
    pub pending: Vec<(Sid, Stmt)>,
}

/// What doesn't change.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub dialect: Dialect,
    /// Our user may kill our sessions.
    pub may_kill: bool,
    pub bugs: &'static [Bug],
}

impl Server {
    pub fn has(&self, bug: Bug) -> bool {
        self.bugs.contains(&bug)
    }

    pub fn is_durable(&self) -> bool {
        self.dialect != Dialect::Held
    }
}

impl Target {
    pub fn new() -> Target {
        Target {
            books: true,
            fence: [Fence::default(); PARTITIONS],
            ledger: [0; PARTITIONS],
            copies: [0; PARTITIONS],
            partial: false,
            committed: [0; PARTITIONS],
            aborted: [0; PARTITIONS],
            branches: Vec::new(),
            alive: 0,
            gone: 0,
            pending: Vec::new(),
        }
    }

    pub fn connect(&mut self, free: Sid) -> Sid {
        self.alive |= 1 << free;
        free
    }

    pub fn is_open(&self, session: Sid) -> bool {
        session != 0 && self.alive & !self.gone & (1 << session) != 0
    }

    /// The client is gone; the server notices later if there is something to notice.
    pub fn hang_up(&mut self, session: Sid) {
        if !self.is_open(session) {
            return;
        }
        self.gone |= 1 << session;
        let holds = self.branches.iter().any(|b| b.session == session);
        if !holds && !self.pending.iter().any(|(of, _)| *of == session) {
            self.end_session(session);
        }
    }

    /// The session ends: by KILL, or because the server noticed.
    pub fn end_session(&mut self, session: Sid) {
        self.alive &= !(1 << session);
        self.gone &= !(1 << session);
        self.pending.retain(|(of, _)| *of != session);
        self.branches.retain(|b| b.prepared || b.session != session);
        for branch in &mut self.branches {
            if branch.session == session {
                branch.session = 0;
            }
        }
    }

    pub fn kill(&mut self, server: Server, by: Sid, session: Sid) {
        if server.may_kill && session != by && session != 0 {
            self.end_session(session);
        }
    }

    /// kill -9 of the server, and its start.
    pub fn restart(&mut self) {
        for session in 1..16 {
            if self.alive & (1 << session) != 0 {
                self.end_session(session);
            }
        }
    }

    /// A statement whose client gave up is executed after all.
    pub fn land(&mut self, server: Server, session: Sid) -> bool {
        let Some(at) = self.pending.iter().position(|(of, _)| *of == session) else {
            return false;
        };
        let (_, stmt) = self.pending.remove(at);
        // Nobody hears the answer.
        let _ = self.execute(server, session, stmt);
        if !self.branches.iter().any(|b| b.session == session) {
            self.end_session(session);
        }
        true
    }

    /// The oldest prepared transaction of a partition, as the server lists them.
    pub fn listed(&self, no: u8) -> Option<u8> {
        let prepared = self.branches.iter().filter(|b| b.no == no && b.prepared);
        prepared.map(|b| b.epoch).min()
    }

    pub fn lists(&self, no: u8, epoch: u8) -> bool {
        { self.branches.iter() }.any(|b| (b.no, b.epoch, b.prepared) == (no, epoch, true))
    }

    pub fn has(&self, no: u8, epoch: u8) -> bool {
        self.branches.iter().any(|b| (b.no, b.epoch) == (no, epoch))
    }

    pub fn is_whole(&self, no: u8, epoch: u8) -> bool {
        { self.branches.iter() }.any(|b| (b.no, b.epoch, b.whole) == (no, epoch, true))
    }

    fn is_fence_locked(&self, no: u8, but: u8) -> bool {
        { self.branches.iter() }.any(|b| b.no == no && b.epoch != but && b.locks_fence)
    }

    pub fn ask(&mut self, server: Server, session: Sid, stmt: Stmt, weather: Weather) -> Answer {
        if !self.is_open(session) {
            return Err(Refusal::Connection);
        }
        match weather {
            Weather::Fair => return self.execute(server, session, stmt),
            Weather::Before => {}
            Weather::After => {
                let _ = self.execute(server, session, stmt);
            }
            Weather::Late => self.pending.push((session, stmt)),
        }
        self.hang_up(session);
        Err(Refusal::Connection)
    }

    fn execute(&mut self, server: Server, session: Sid, stmt: Stmt) -> Answer {
        match stmt {
            Stmt::Raise { no, epoch, owner } => self.raise(no, epoch, owner),
            Stmt::Start { no, epoch, whole } => self.start(session, no, epoch, whole),
            Stmt::Seal { no, epoch } => self.seal(server, session, no, epoch),
            Stmt::Prepare { no, epoch } => self.prepare(server, session, no, epoch),
            Stmt::Commit { no, epoch } => self.end(server, session, no, epoch, true),
            Stmt::Rollback { no, epoch } => self.end(server, session, no, epoch, false),
            Stmt::DropBooks => {
                if (0..PARTITIONS as u8).any(|no| self.is_fence_locked(no, 0)) {
                    return Err(Refusal::LockTimeout);
                }
                self.books = false;
                self.fence = [Fence::default(); PARTITIONS];
                self.ledger = [0; PARTITIONS];
                Ok(())
            }
        }
    }

    fn raise(&mut self, no: u8, epoch: u8, owner: Sid) -> Answer {
        if !self.books {
            return Err(Refusal::Fenced);
        }
        if self.is_fence_locked(no, 0) {
            return Err(Refusal::LockTimeout);
        }
        let row = &mut self.fence[no as usize];
        if row.epoch > epoch {
            return Err(Refusal::Fenced);
        }
        *row = Fence {
            epoch,
            session: owner,
        };
        Ok(())
    }

    fn start(&mut self, session: Sid, no: u8, epoch: u8, whole: bool) -> Answer {
        if self.has(no, epoch) {
            return Err(Refusal::Statement);
        }
        self.branches.push(Branch {
            no,
            epoch,
            prepared: false,
            session,
            whole,
            broken: !whole,
            locks_fence: false,
            sealed: false,
        });
        self.branches.sort();
        Ok(())
    }

    fn active(&mut self, session: Sid, no: u8, epoch: u8) -> Result<&mut Branch, Refusal> {
        let mine = |b: &&mut Branch| (b.no, b.epoch, b.session) == (no, epoch, session);
        let found = self.branches.iter_mut().find(mine);
        found.filter(|b| !b.prepared).ok_or(Refusal::Statement)
    }

    /// The last statements of T: fence row, then ledger row. Both rows stay locked by T.
    fn seal(&mut self, server: Server, session: Sid, no: u8, epoch: u8) -> Answer {
        let has_ledger = self.ledger[no as usize] != 0;
        let rival = { self.branches.iter() }.any(|b| b.no == no && b.epoch != epoch && b.sealed);
        let (locked, fence) = (self.is_fence_locked(no, epoch), self.fence[no as usize]);
        let books = self.books;
        let branch = self.active(session, no, epoch)?;
        if branch.broken && server.dialect == Dialect::Postgres {
            // "current transaction is aborted"; without poison nobody minds.
            return match server.has(Bug::NoPoison) {
                true => Ok(()),
                false => Err(Refusal::Statement),
            };
        }
        if !books {
            return Err(Refusal::Fenced);
        }
        if !server.has(Bug::NoFence) {
            if locked {
                return Err(Refusal::LockTimeout);
            }
            if fence.epoch != epoch {
                return Err(Refusal::Fenced);
            }
            branch.locks_fence = true;
        }
        if !server.has(Bug::NoLedgerKey) {
            if rival {
                return Err(Refusal::LockTimeout);
            }
            if has_ledger {
                return Err(Refusal::Statement);
            }
        }
        branch.sealed = true;
        Ok(())
    }

    fn prepare(&mut self, server: Server, session: Sid, no: u8, epoch: u8) -> Answer {
        let drops = server.has(Bug::ShareLock) && server.dialect == Dialect::Mariadb;
        let branch = self.active(session, no, epoch)?;
        if branch.broken && server.dialect == Dialect::Postgres {
            self.branches.retain(|b| (b.no, b.epoch) != (no, epoch));
            return Ok(());
        }
        branch.prepared = true;
        branch.locks_fence &= !drops;
        if server.dialect != Dialect::Mariadb {
            branch.session = 0;
        }
        self.branches.sort();
        Ok(())
    }

    /// COMMIT or ROLLBACK, of a prepared transaction or of the session's own open one.
    fn end(&mut self, server: Server, session: Sid, no: u8, epoch: u8, commit: bool) -> Answer {
        let found = { self.branches.iter() }.position(|b| (b.no, b.epoch) == (no, epoch));
        let at = found.ok_or(Refusal::Nota)?;
        let branch = &self.branches[at];
        let own = branch.session == session;
        let allowed = match (branch.prepared, server.dialect) {
            (false, Dialect::Held) => own,
            (false, _) => own && !commit,
            (true, Dialect::Mariadb) => own || branch.session == 0,
            (true, _) => true,
        };
        if !allowed {
            return Err(Refusal::Nota);
        }
        let branch = self.branches.remove(at);
        if commit {
            self.copies[no as usize] += 1;
            self.partial |= !branch.whole;
            self.committed[no as usize] |= 1 << epoch;
            if branch.sealed {
                self.ledger[no as usize] = epoch;
            }
        } else if branch.prepared {
            self.aborted[no as usize] |= 1 << epoch;
        }
        Ok(())
    }
}
