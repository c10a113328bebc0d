//! Changes into an SQLite file. One write transaction holds the rows and the marks, behind the fence;
//! what a dead process left open is gone with it. Foreign keys don't act here (the session has them
//! off); triggers would, so a followed target gets its triggers only at the end of the job.

mod alter;
mod shape;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use common::change::net::{NetChanges, Patch};
use common::code::Code;
use common::fault::Fault;
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use self::shape::Shape;
use super::fence;
use super::session::{Access, Session, args};
use crate::connector::changes::Marks;
use crate::connector::{ApplyWork, Error, Result, Role, TargetApplier};
use crate::faults;

/// Opens a session; touches nothing.
pub async fn open(path: &Path, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
    let session = Session::open(path, Role::Target, Access::Write, 2).await?;
    let shapes = work.tables.iter().map(Shape::new).collect();
    Ok(Box::new(Applier {
        path: path.to_owned(),
        work,
        shapes,
        session,
        is_open: false,
    }))
}

/// See [`TargetApplier`]. Dropping it closes its connection, and with that ends the transaction.
struct Applier {
    path: PathBuf,
    work: ApplyWork,
    shapes: Vec<Shape>,
    session: Session,
    /// A transaction is.
    is_open: bool,
}

impl Applier {
    async fn begin_write(&mut self) -> Result<()> {
        if !self.is_open {
            let wait = limits::BEGIN_DEADLINE_MS;
            self.session.begin_write(wait).await?;
            self.is_open = true;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.session.commit().await?;
        self.is_open = false;
        Ok(())
    }

    /// The write lock is ours, so no older owner has a transaction; none of its later ones passes
    /// the raised fence.
    async fn register(&mut self) -> Result<Marks> {
        let job = &self.work.job;
        let known =
            fence::exists(&mut self.session).await? && fence::knows(&mut self.session, job).await?;
        if !known {
            let what = format!(
                "{}: the job's fence is gone; the job has ended here",
                self.path.display()
            );
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        faults::point(Fault::TargetBeforeFence).await?;
        let (unit, epoch) = (self.work.unit(), self.work.fence());
        fence::raise(&mut self.session, job, &unit, epoch).await?;
        // A target that an older version made.
        fence::create(&mut self.session).await?;
        fence::marks(&mut self.session, job).await
    }

    /// After an error nothing is kept, least of all the write lock.
    async fn or_end<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            // Closing does it as well, so the answer doesn't matter.
            let _ = self.session.rollback().await;
            self.is_open = false;
        }
        done
    }

    async fn try_commit(&mut self, marks: &[(u32, String)]) -> Result<()> {
        faults::point(Fault::TargetBeforeBooks).await?;
        let job = &self.work.job;
        for (lane, mark) in marks {
            fence::note(&mut self.session, job, *lane, mark).await?;
        }
        let (unit, epoch) = (self.work.unit(), self.work.fence());
        fence::count(&mut self.session, job, &unit, epoch).await?;
        faults::point(Fault::TargetAfterBooks).await?;
        self.end().await
    }

    async fn try_apply(&mut self, changes: NetChanges) -> Result<Vec<Vec<Vec<u8>>>> {
        let NetChanges {
            table,
            truncate,
            deletes,
            inserts,
            patches,
            strict,
        } = changes;
        let Some(shape) = self.shapes.get(table.0 as usize) else {
            let what = format!("changes of table {}, of which the plan has none", table.0);
            return Err(Error::permanent(Code::Internal, what));
        };
        let session = &mut self.session;
        if truncate {
            session.run(&shape.truncation(), args([])).await?;
        }
        shape.delete(session, &deletes, strict).await?;
        if !strict && shape.has_key() {
            let keys = shape.keys_of(&inserts)?;
            shape.delete(session, &keys, false).await?;
        }
        insert(shape, session, inserts, strict).await?;
        let mut missing = Vec::new();
        for patch in patches {
            if !self.patch(table.0 as usize, &patch, strict).await? {
                missing.push(patch.key);
            }
        }
        Ok(missing)
    }

    /// Whether its row was there.
    async fn patch(&mut self, table: usize, patch: &Patch, strict: bool) -> Result<bool> {
        let shape = &self.shapes[table];
        let changed = match patch.cells.is_empty() {
            true => u64::from(shape.is_there(&mut self.session, &patch.key).await?),
            false => {
                let (sql, arguments) = shape.patch(patch)?;
                self.session.run(&sql, arguments).await?
            }
        };
        match changed {
            1 => Ok(true),
            0 if !strict => Ok(false),
            _ => Err(shape.mismatch(&patch.key, "is to be updated and is not there")),
        }
    }
}

async fn insert(shape: &Shape, session: &mut Session, rows: RowBatch, strict: bool) -> Result<()> {
    let wanted = rows.rows() as u64;
    if wanted == 0 {
        return Ok(());
    }
    let values = shape.insert.values(&rows)?;
    let inserted = match strict && shape.has_key() {
        false => shape.insert.run(session, values).await?,
        true => {
            session.quick("SAVEPOINT sterna_insert", args([])).await?;
            match shape.insert.run(session, values).await {
                Ok(inserted) => {
                    session.quick("RELEASE sterna_insert", args([])).await?;
                    inserted
                }
                Err(error) => {
                    session.quick("ROLLBACK TO sterna_insert", args([])).await?;
                    let keys = shape.keys_of(&rows)?;
                    return match shape.find(session, &keys, true).await? {
                        Some(key) => {
                            Err(shape.mismatch(&key, "is to be inserted and is there already"))
                        }
                        None => Err(error),
                    };
                }
            }
        }
    };
    if inserted != wanted {
        let what = format!(
            "{}: {wanted} rows were to be inserted, SQLite took {inserted}",
            shape.insert.table()
        );
        return Err(Error::permanent(Code::ReplayMismatch, what));
    }
    Ok(())
}

#[async_trait]
impl TargetApplier for Applier {
    async fn begin(&mut self) -> Result<Marks> {
        self.begin_write().await?;
        let marks = self.register().await?;
        self.end().await?;
        faults::point(Fault::TargetAfterFence).await?;
        Ok(marks)
    }

    async fn apply(&mut self, changes: NetChanges) -> Result<Vec<Vec<Vec<u8>>>> {
        self.begin_write().await?;
        let applied = self.try_apply(changes).await;
        self.or_end(applied).await
    }

    async fn commit(&mut self, marks: &[(u32, String)]) -> Result<()> {
        self.begin_write().await?;
        let committed = self.try_commit(marks).await;
        self.or_end(committed).await?;
        faults::point(Fault::TargetInDoubt).await
    }

    async fn rollback(&mut self) -> Result<()> {
        if self.is_open {
            self.session.rollback().await?;
            self.is_open = false;
        }
        Ok(())
    }

    async fn alter(&mut self, before: Option<&TablePlan>, table: &TablePlan) -> Result<()> {
        self.rollback().await?;
        self.begin_write().await?;
        let altered = async {
            // The fence stands between this and a worker that was stopped for a while.
            let (unit, epoch) = (self.work.unit(), self.work.fence());
            fence::count(&mut self.session, &self.work.job, &unit, epoch).await?;
            self.work.current.still_ours().await?;
            alter::alter(&mut self.session, before, table).await
        };
        if let Err(error) = altered.await {
            self.rollback().await?;
            return Err(error);
        }
        self.end().await?;
        let same = |other: &TablePlan| other.source.name == table.source.name;
        match self.work.tables.iter().position(same) {
            Some(place) => {
                self.work.tables[place] = table.clone();
                self.shapes[place] = Shape::new(table);
            }
            None => {
                self.work.tables.push(table.clone());
                self.shapes.push(Shape::new(table));
            }
        }
        Ok(())
    }
}
