//! A model of a task's unit: what it reads or leaves at the target, one statement at a time.

use common::change::Secured;
use common::code::ErrorClass;
use common::digest::Digest;
use common::directive::Outcome;
use common::epoch::{Epoch, Lease, Unit};
use common::id::PartitionNo;
use common::limits;
use common::plan::Loaded;
use common::task::{Compared, ResolveUnit, Settled, TaskKind, TaskResult};

use crate::chase::{self, Chase};
use crate::log::Log;
use crate::plant::Bug;
use crate::scene;
use crate::target::{Answer, Refusal, SessionId, Txn};
use crate::unit::{Ended, Step, failed};
use crate::wire::Wire;

/// A task at work.
#[derive(Clone, Debug)]
pub struct Errand {
    lease: Lease,
    kind: TaskKind,
    chase: Chase,
    session: Option<SessionId>,
    /// Units of a resolve task that are done.
    settled: usize,
    left_ms: u64,
    deadline: u64,
    /// Since when it waits for a leader's word.
    unsure_since: Option<u64>,
}

const PIECE_MS: u64 = 60;

/// What a task meets besides the target.
pub struct Ends<'a> {
    /// The table of each partition.
    pub tables: &'a [u32],
    pub source_up: bool,
    pub log: &'a mut Log,
}

impl Errand {
    pub fn new(lease: Lease, kind: TaskKind, work_ms: u64, now: u64) -> Errand {
        Errand {
            lease,
            kind,
            chase: Chase::default(),
            session: None,
            settled: 0,
            left_ms: work_ms,
            deadline: now + 60_000,
            unsure_since: None,
        }
    }

    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// `ours`: no leader can have given the lease away.
    pub fn step(&mut self, wire: &mut Wire, away: bool, ours: bool, ends: Ends<'_>) -> Step {
        if away {
            self.hang_up(wire);
            return Step::Ended(Ended::Said(Outcome::Released));
        }
        // What changes a target waits for a leader's word that the lease is still its own: the fence
        // that would stop it may be gone with the job.
        if self.left_ms == 0 && self.changes_target() && !ours {
            let since = *self.unsure_since.get_or_insert(wire.now);
            if wire.now < since + limits::FRESH_WAIT_MS {
                return Step::In(PIECE_MS);
            }
            self.hang_up(wire);
            return Step::Ended(Ended::Said(failed(ErrorClass::Transient)));
        }
        self.unsure_since = None;
        match self.work(wire, ends) {
            Ok(Some(result)) => {
                self.hang_up(wire);
                Step::Ended(Ended::Said(Outcome::Task(result)))
            }
            Ok(None) => Step::In(PIECE_MS),
            Err(Refusal::LockTimeout) if wire.now < self.deadline => Step::In(PIECE_MS),
            Err(Refusal::Fenced(_)) => {
                self.hang_up(wire);
                Step::Ended(Ended::Said(failed(ErrorClass::Fenced)))
            }
            Err(_) => {
                self.hang_up(wire);
                Step::Ended(Ended::Said(failed(ErrorClass::Transient)))
            }
        }
    }

    fn changes_target(&self) -> bool {
        !matches!(
            self.kind,
            TaskKind::Inspect { .. }
                | TaskKind::Settle { .. }
                | TaskKind::Verify { .. }
                | TaskKind::Compare { .. }
                | TaskKind::Release
                // The fence is looked at with every commit.
                | TaskKind::Follow { .. }
        )
    }

    fn reads_source(&self) -> bool {
        match &self.kind {
            TaskKind::Inspect { .. } | TaskKind::Settle { .. } | TaskKind::Compare { .. } => true,
            TaskKind::Secure | TaskKind::Release | TaskKind::Follow { .. } => true,
            TaskKind::Verify { at_source, .. } => *at_source,
            _ => false,
        }
    }

    fn hang_up(&mut self, wire: &mut Wire) {
        if let Some(session) = self.session.take() {
            wire.hang_up(session);
        }
    }

    fn work(&mut self, wire: &mut Wire, ends: Ends<'_>) -> Answer<Option<TaskResult>> {
        let Ends {
            tables,
            source_up,
            log,
        } = ends;
        let session = match self.session {
            Some(session) => session,
            None => wire.connect()?,
        };
        self.session = Some(session);
        if self.left_ms > 0 {
            self.left_ms = self.left_ms.saturating_sub(PIECE_MS);
            wire.ask(session, |_| Ok(()))?;
            return Ok(None);
        }
        if self.reads_source() && !source_up {
            return Err(Refusal::Connection);
        }
        Ok(Some(match self.kind.clone() {
            TaskKind::Secure => {
                log.kept = true;
                TaskResult::Secured(Secured {
                    position: chase::position(Log::end(wire.now)),
                    identity: "sim".to_owned(),
                })
            }
            TaskKind::Follow { from, to } => {
                return self.chase.step(wire, session, self.lease, (&from, to));
            }
            TaskKind::Release => {
                log.kept &= wire.target.bugs.has(Bug::KeepsLog);
                TaskResult::Done
            }
            TaskKind::Compare { .. } => TaskResult::Compared(equal()),
            kind @ (TaskKind::Examine { .. } | TaskKind::Repair { .. }) => unreachable!("{kind:?}"),
            TaskKind::Inspect { .. } => {
                TaskResult::Inspected(Box::new(scene::catalog(wire.target.dialect)))
            }
            TaskKind::Create => {
                wire.ask(session, |t| t.make_books(session))?;
                TaskResult::Done
            }
            TaskKind::Settle { .. } => match wire.rng.chance(500) {
                true => TaskResult::Settled(Settled::Unmoved),
                false => TaskResult::Settled(Settled::Unknown),
            },
            TaskKind::Key { .. }
            | TaskKind::Index { .. }
            | TaskKind::ForeignKeys { .. }
            | TaskKind::Objects => TaskResult::Done,
            kind @ TaskKind::Verify { .. } => read_back(&kind, wire, session, tables)?,
            TaskKind::Resolve {
                units,
                drop_bookkeeping,
            } => {
                return self.resolve(wire, session, &units, drop_bookkeeping);
            }
        }))
    }

    fn resolve(
        &mut self,
        wire: &mut Wire,
        session: SessionId,
        units: &[ResolveUnit],
        drop_books: bool,
    ) -> Answer<Option<TaskResult>> {
        if let Some(unit) = units.get(self.settled) {
            match settle(wire, session, unit) {
                Ok(()) | Err(Refusal::Fenced(_)) | Err(Refusal::Gone) => self.settled += 1,
                Err(other) => return Err(other),
            }
            return Ok(None);
        }
        if !wire.target.bugs.has(Bug::NoResolve) {
            for txn in wire.ask(session, |t| Ok(t.all_listed()))? {
                let decided = units
                    .iter()
                    .find(|unit| unit.partition == txn.0)
                    .and_then(|unit| unit.decided);
                end(wire, session, txn, decided)?;
            }
            if !wire.ask(session, |t| Ok(t.all_listed()))?.is_empty() {
                return Ok(None);
            }
        }
        if drop_books && !wire.target.bugs.has(Bug::KeepsBooks) {
            wire.ask(session, |t| t.drop_books(session))?;
        }
        Ok(Some(TaskResult::Resolved {
            committed: 0,
            rolled_back: 0,
        }))
    }
}

/// Rows aren't modelled: that the changes are all there is asked by a checker.
fn equal() -> Compared {
    Compared {
        at_source: Digest::default(),
        at_target: Digest::default(),
        written_since: false,
    }
}

fn settle(wire: &mut Wire, session: SessionId, unit: &ResolveUnit) -> Answer<()> {
    let name = Unit::Partition(unit.partition);
    if let Some(holder) = wire.ask(session, |t| t.holder(session, name))?
        && holder.life == wire.target.life
        && holder.session != session
    {
        wire.ask(session, |t| t.kill(holder.session))?;
    }
    if !wire.target.bugs.has(Bug::NoResolve) {
        for txn in wire.ask(session, |t| t.listed(session, unit.partition))? {
            end(wire, session, txn, unit.decided)?;
        }
    }
    wire.ask(session, |t| t.raise(session, name, unit.fence, 0))
}

fn end(wire: &mut Wire, session: SessionId, txn: Txn, decided: Option<Epoch>) -> Answer<()> {
    let commit = decided == Some(txn.1);
    let ended = wire.ask(session, |t| match commit {
        true => t.commit(session, txn),
        false => t.rollback(session, txn),
    });
    match ended {
        Ok(()) | Err(Refusal::Nota) => Ok(()),
        Err(other) => Err(other),
    }
}

/// What reading a table or a part of it again gives.
fn read_back(
    kind: &TaskKind,
    wire: &mut Wire,
    session: SessionId,
    tables: &[u32],
) -> Answer<TaskResult> {
    let TaskKind::Verify {
        table,
        at_source,
        expected,
        part,
        ..
    } = kind
    else {
        unreachable!("{kind:?} reads nothing again");
    };
    if *at_source || wire.target.bugs.has(Bug::BlindVerify) {
        return Ok(TaskResult::Digested(*expected));
    }
    let of = |no: PartitionNo| {
        let inside = part.is_none_or(|part| (part.first..part.end).contains(&no));
        inside && tables.get(no.0 as usize) == Some(&table.0)
    };
    let digest = wire.ask(session, |t| Ok(digest_of(&t.data, of)))?;
    Ok(TaskResult::Digested(digest))
}

/// What reading a table back gives: whole loads add up to what was read, anything else differs.
fn digest_of(
    data: &std::collections::BTreeMap<PartitionNo, Vec<(Epoch, u32)>>,
    of: impl Fn(PartitionNo) -> bool,
) -> Digest {
    let mut digest = Digest::default();
    for (no, loads) in data.iter().filter(|(no, _)| of(**no)) {
        for (_, batches) in loads {
            digest += match *batches == scene::batches(*no) {
                true => loaded(*no).digest,
                false => Digest {
                    rows: u64::from(*batches),
                    sum: 1,
                },
            };
        }
    }
    digest
}

/// What a partition holds, by its number alone: every epoch loads the same rows.
pub fn loaded(no: PartitionNo) -> Loaded {
    let rows = u64::from(no.0) + 1;
    Loaded {
        bytes: rows * 10,
        digest: Digest {
            rows,
            sum: u128::from(no.0 + 1) << 64,
        },
    }
}
