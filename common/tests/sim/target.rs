//! A model of a target: sessions, transactions that can be prepared, one fence row per unit, the
//! ledger, and the rows themselves, of a table without any key that would catch a second copy.
//! How servers differ is in `dialect`. A prepared transaction and the rows it modified stay locked
//! through disconnects and crashes; an active one is rolled back.

use std::collections::BTreeMap;

use common::epoch::{Epoch, Unit};
use common::id::PartitionNo;

pub use crate::dialect::Dialect;
use crate::plant::{Bug, Bugs};

/// T of the one job.
pub type Txn = (PartitionNo, Epoch);
pub type SessionId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No connection, or it broke: what was asked may have been done.
    Connection,
    LockTimeout,
    /// 1397.
    Nota,
    /// The statement failed; the transaction goes on without it.
    Statement,
    /// Fence and ledger are not there: the job has ended.
    Gone,
    /// The fence stands at another epoch.
    Fenced(Epoch),
}

pub type Answer<T> = Result<T, Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Prepared,
    RollingBack { until: u64 },
}

/// What goes wrong with one statement by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    None,
    /// It fails: a deadlock, a bad value.
    Fails,
    /// It succeeds with a warning, and rows are missing.
    Warns,
}

/// What a transaction has done so far.
#[derive(Clone, Debug)]
pub struct Branch {
    pub state: State,
    /// None = its session is gone.
    pub session: Option<SessionId>,
    /// Batches loaded, of how many there are.
    pub loaded: u32,
    locks_fence: bool,
    ledger: bool,
    began: u64,
    /// A statement failed, and the dialect lets nothing but a rollback follow.
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct FenceRow {
    pub epoch: Epoch,
    pub session: SessionId,
    pub life: u64,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub dialect: Dialect,
    pub bugs: Bugs,
    pub now: u64,
    pub up: bool,
    /// No statement that writes succeeds.
    pub full: bool,
    /// Start time of the server.
    pub life: u64,
    /// Rolling back takes this many times as long as loading took.
    pub rollback_factor: u64,
    next_session: SessionId,
    sessions: BTreeMap<SessionId, ()>,
    pub branches: BTreeMap<Txn, Branch>,
    pub books: bool,
    pub fence: BTreeMap<Unit, FenceRow>,
    pub ledger: BTreeMap<PartitionNo, Epoch>,
    /// Committed loads of each partition: (epoch, batches).
    pub data: BTreeMap<PartitionNo, Vec<(Epoch, u32)>>,
    /// Sessions whose client is gone and that the server will notice at that time.
    pub doomed: Vec<(u64, SessionId)>,
    /// Every transaction that was ever committed, in order.
    pub commits: Vec<Txn>,
    /// Every transaction whose rollback was asked for while it was prepared.
    pub aborted: Vec<Txn>,
    /// Transactions of the source, in the order they were committed here.
    pub changes: Vec<u64>,
    /// The row of our books that says how far they go.
    pub mark: Option<u64>,
    /// What a session has applied and not committed: (beyond, up to).
    pub applied: BTreeMap<SessionId, (u64, u64)>,
}

impl Target {
    pub fn new(dialect: Dialect, bugs: Bugs) -> Target {
        Target {
            dialect,
            bugs,
            now: 0,
            up: true,
            full: false,
            life: 1,
            rollback_factor: 1,
            next_session: 0,
            sessions: BTreeMap::new(),
            branches: BTreeMap::new(),
            books: false,
            fence: BTreeMap::new(),
            ledger: BTreeMap::new(),
            data: BTreeMap::new(),
            doomed: Vec::new(),
            commits: Vec::new(),
            aborted: Vec::new(),
            changes: Vec::new(),
            mark: None,
            applied: BTreeMap::new(),
        }
    }

    /// Time passes: rollbacks end.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        let (gone, doomed) = self.doomed.drain(..).partition(|(at, _)| *at <= now);
        self.doomed = doomed;
        let gone: Vec<(u64, SessionId)> = gone;
        for (_, session) in gone {
            self.end_session(session);
        }
        self.branches.retain(
            |_, branch| !matches!(branch.state, State::RollingBack { until } if until <= now),
        );
    }

    pub fn connect(&mut self) -> Answer<SessionId> {
        if !self.up {
            return Err(Refusal::Connection);
        }
        self.next_session += 1;
        self.sessions.insert(self.next_session, ());
        Ok(self.next_session)
    }

    pub fn is_alive(&self, session: SessionId) -> bool {
        self.up && self.sessions.contains_key(&session)
    }

    /// The server still undoes something by itself: that ends without anybody's help.
    pub fn rolls_back(&self) -> bool {
        let mut branches = self.branches.values();
        branches.any(|branch| matches!(branch.state, State::RollingBack { .. }))
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn check(&self, session: SessionId) -> Answer<()> {
        match self.is_alive(session) {
            true => Ok(()),
            false => Err(Refusal::Connection),
        }
    }

    /// KILL, by another session. SQLite has none: its writer is a process, not a session.
    pub fn kill(&mut self, session: SessionId) -> Answer<()> {
        if self.dialect != Dialect::Sqlite && !self.bugs.has(Bug::NoKill) {
            self.end_session(session);
        }
        Ok(())
    }

    /// The session ends: by KILL, or because its client is gone.
    pub fn end_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.applied.remove(&session);
        let now = self.now;
        for branch in self.branches.values_mut() {
            if branch.session == Some(session) {
                branch.session = None;
                if branch.state == State::Active {
                    let loaded_for = (now - branch.began).min(4_000);
                    let until = match self.dialect.undoes() {
                        true => now + (loaded_for * self.rollback_factor).min(30_000),
                        false => now,
                    };
                    branch.state = State::RollingBack { until };
                }
            }
        }
    }

    /// kill -9 of the server.
    pub fn crash(&mut self) {
        self.up = false;
        self.sessions.clear();
        self.applied.clear();
        for branch in self.branches.values_mut() {
            branch.session = None;
            if branch.state == State::Active {
                branch.state = State::RollingBack { until: 0 };
            }
        }
    }

    pub fn restart(&mut self) {
        self.up = true;
        self.life += 1;
    }

    pub fn make_books(&mut self, session: SessionId) -> Answer<()> {
        self.check(session)?;
        if self.another_writes(None) {
            return Err(Refusal::LockTimeout);
        }
        self.books = true;
        Ok(())
    }

    pub fn drop_books(&mut self, session: SessionId) -> Answer<()> {
        self.check(session)?;
        if self.another_writes(None) {
            return Err(Refusal::LockTimeout);
        }
        self.books = false;
        self.fence.clear();
        self.mark = None;
        self.ledger.clear();
        Ok(())
    }

    pub fn holder(&self, session: SessionId, unit: Unit) -> Answer<Option<FenceRow>> {
        self.check(session)?;
        if !self.books {
            return Err(Refusal::Gone);
        }
        Ok(self.fence.get(&unit).copied())
    }

    /// `UPDATE fence SET epoch = …, session = … WHERE epoch < …`, by itself.
    pub fn raise(
        &mut self,
        session: SessionId,
        unit: Unit,
        epoch: Epoch,
        owner: SessionId,
    ) -> Answer<()> {
        self.check(session)?;
        if !self.books {
            return Err(Refusal::Gone);
        }
        if self.is_fence_locked(unit, None) || self.another_writes(None) {
            return Err(Refusal::LockTimeout);
        }
        let row = self.fence.entry(unit).or_default();
        if row.epoch > epoch {
            return Err(Refusal::Fenced(row.epoch));
        }
        *row = FenceRow {
            epoch,
            session: owner,
            life: self.life,
        };
        Ok(())
    }

    fn is_fence_locked(&self, unit: Unit, but: Option<Txn>) -> bool {
        let Unit::Partition(no) = unit else {
            return false;
        };
        self.branches
            .iter()
            .any(|(txn, branch)| txn.0 == no && Some(*txn) != but && branch.locks_fence)
    }

    /// One writer at a time.
    fn another_writes(&self, but: Option<Txn>) -> bool {
        let open = |(txn, _): (&Txn, &Branch)| Some(*txn) != but;
        self.dialect == Dialect::Sqlite && self.branches.iter().any(open)
    }

    pub fn committed(&self, session: SessionId, no: PartitionNo) -> Answer<Option<Epoch>> {
        self.check(session)?;
        match self.books {
            true => Ok(self.ledger.get(&no).copied()),
            false => Err(Refusal::Gone),
        }
    }

    /// Prepared transactions of a partition, as XA RECOVER lists them.
    pub fn listed(&self, session: SessionId, no: PartitionNo) -> Answer<Vec<Txn>> {
        self.check(session)?;
        Ok(self
            .all_listed()
            .into_iter()
            .filter(|txn| txn.0 == no)
            .collect())
    }

    pub fn all_listed(&self) -> Vec<Txn> {
        let prepared = self
            .branches
            .iter()
            .filter(|(_, branch)| branch.state == State::Prepared);
        prepared.map(|(txn, _)| *txn).collect()
    }

    pub fn start(&mut self, session: SessionId, txn: Txn) -> Answer<()> {
        self.check(session)?;
        if self.branches.contains_key(&txn) {
            return Err(Refusal::Statement);
        }
        if self.another_writes(None) {
            return Err(Refusal::LockTimeout);
        }
        let branch = Branch {
            state: State::Active,
            session: Some(session),
            loaded: 0,
            locks_fence: false,
            ledger: false,
            began: self.now,
            failed: false,
        };
        self.branches.insert(txn, branch);
        Ok(())
    }

    fn active(&mut self, session: SessionId, txn: Txn) -> Answer<&mut Branch> {
        self.check(session)?;
        match self.branches.get_mut(&txn) {
            Some(branch) if branch.session == Some(session) && branch.state == State::Active => {
                Ok(branch)
            }
            _ => Err(Refusal::Statement),
        }
    }

    /// One batch; how many warnings came with the answer.
    pub fn load(&mut self, session: SessionId, txn: Txn, mishap: Mishap) -> Answer<u32> {
        let (full, dialect) = (self.full, self.dialect);
        let branch = self.active(session, txn)?;
        if branch.failed {
            return Err(Refusal::Statement);
        }
        match mishap {
            Mishap::None if !full => {
                branch.loaded += 1;
                Ok(0)
            }
            Mishap::Warns if dialect.only_warns() && !full => Ok(1),
            _ => {
                branch.failed = dialect.fails_whole();
                Err(Refusal::Statement)
            }
        }
    }

    /// The last statements of T: fence row, ledger row.
    pub fn seal(&mut self, session: SessionId, txn: Txn) -> Answer<()> {
        if self.active(session, txn)?.failed {
            return Err(Refusal::Statement);
        }
        if !self.books {
            return Err(Refusal::Gone);
        }
        let unit = Unit::Partition(txn.0);
        if !self.bugs.has(Bug::NoFence) {
            if self.is_fence_locked(unit, Some(txn)) {
                return Err(Refusal::LockTimeout);
            }
            let row = self.fence.get(&unit);
            let held = row.map(|row| row.epoch).unwrap_or_default();
            if held != txn.1 {
                return Err(Refusal::Fenced(held));
            }
            self.active(session, txn)?.locks_fence = true;
        }
        if !self.bugs.has(Bug::NoLedger) {
            let other = |(other, branch): (&Txn, &Branch)| {
                *other != txn && other.0 == txn.0 && branch.ledger
            };
            let has_key = !self.bugs.has(Bug::NoLedgerKey);
            if has_key && self.branches.iter().any(other) {
                return Err(Refusal::LockTimeout);
            }
            if has_key && self.ledger.contains_key(&txn.0) {
                return Err(Refusal::Statement);
            }
            self.active(session, txn)?.ledger = true;
        }
        Ok(())
    }

    pub fn prepare(&mut self, session: SessionId, txn: Txn) -> Answer<()> {
        let drops_share = self.dialect == Dialect::Mariadb && self.bugs.has(Bug::ShareLock);
        let (dialect, tag_counts) = (self.dialect, !self.bugs.has(Bug::TagNotLooked));
        let branch = self.active(session, txn)?;
        if branch.failed {
            // Success, with the tag ROLLBACK.
            self.branches.remove(&txn);
            return match tag_counts {
                true => Err(Refusal::Statement),
                false => Ok(()),
            };
        }
        if drops_share {
            branch.locks_fence = false;
        }
        if dialect.is_durable() {
            branch.state = State::Prepared;
        }
        if dialect == Dialect::Postgres {
            branch.session = None;
        }
        Ok(())
    }

    /// XA COMMIT, or COMMIT of a held transaction.
    pub fn commit(&mut self, session: SessionId, txn: Txn) -> Answer<()> {
        self.end(session, txn)?;
        let branch = self.branches.remove(&txn).expect("end() found it");
        self.data
            .entry(txn.0)
            .or_default()
            .push((txn.1, branch.loaded));
        if branch.ledger {
            self.ledger.insert(txn.0, txn.1);
        }
        self.commits.push(txn);
        Ok(())
    }

    pub fn rollback(&mut self, session: SessionId, txn: Txn) -> Answer<()> {
        self.end(session, txn)?;
        if self
            .branches
            .get(&txn)
            .is_some_and(|branch| branch.state == State::Prepared)
        {
            self.aborted.push(txn);
        }
        self.branches.remove(&txn);
        Ok(())
    }

    /// Whether this session may end the transaction.
    fn end(&self, session: SessionId, txn: Txn) -> Answer<()> {
        self.check(session)?;
        let Some(branch) = self.branches.get(&txn) else {
            return Err(Refusal::Nota);
        };
        match branch.state {
            State::Active if branch.session == Some(session) => Ok(()),
            State::Active | State::RollingBack { .. } => Err(Refusal::Nota),
            State::Prepared => {
                let other = branch.session.is_some_and(|owner| owner != session);
                match self.dialect == Dialect::Mariadb && other {
                    true => Err(Refusal::Nota),
                    false => Ok(()),
                }
            }
        }
    }
}
