//! One partition's transaction in an SQLite file: `BEGIN IMMEDIATE`, rows by multi-row INSERT,
//! fence and ledger, held open until the decision, COMMIT. SQLite can't prepare: a transaction
//! whose process died is gone, and the partition is copied again under the next epoch.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use common::code::Code;
use common::epoch::{Epoch, TxnId, Unit};
use common::fault::Fault;
use common::limits;
use common::plan::{Loaded, TablePlan};
use common::schema::{CanonicalType, CellForm};
use common::value::RowBatch;
use sqlx::sqlite::SqliteArguments;
use tokio::time::Instant;

use super::cells::{Value, read_any, read_canonical};
use super::fence;
use super::session::{Access, Session, quote};
use super::types::Affinity;
use crate::connector::{Error, Recovered, Result, Role, TargetWriter};
use crate::faults;

/// Parameters of one INSERT: few enough for SQLite's 32,766, many enough that the way to SQLite's
/// thread and back is shared by some hundred cells.
const PARAMETERS_MAX: usize = 2_048;

/// How far the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This writer has opened nothing.
    Idle,
    Loading,
    Prepared,
    /// COMMIT was answered, or the ledger says so.
    Committed,
    /// An error came; only `rollback` may follow.
    Poisoned,
}

/// See [`TargetWriter`]. Dropping it closes its connection, and with that ends the transaction.
pub struct Writer {
    path: PathBuf,
    txn: TxnId,
    unit: String,
    insert: Insert,
    session: Option<Session>,
    stage: Stage,
    rows: u64,
    snapshot: Option<String>,
}

impl Writer {
    pub fn new(path: PathBuf, txn: TxnId, table: &TablePlan) -> Writer {
        Writer {
            path,
            unit: Unit::Partition(txn.partition).to_string(),
            txn,
            insert: Insert::new(table),
            session: None,
            stage: Stage::Idle,
            rows: 0,
            snapshot: None,
        }
    }

    fn expect_stage(&self, stage: Stage, call: &str) -> Result<()> {
        if self.stage == stage {
            return Ok(());
        }
        let what = format!("{}: {call} in stage {:?}", self.txn, self.stage);
        Err(Error::permanent(Code::Internal, what))
    }

    async fn open(&self) -> Result<Session> {
        Session::open(&self.path, Role::Target, Access::Write, 2).await
    }

    /// Raises the fence for good, then opens T: should T be rolled back, older epochs stay out.
    async fn try_begin(&self, session: &mut Session) -> Result<Recovered> {
        let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
        for last in [false, true] {
            // The only transaction an older epoch can have is one that is held open by a process
            // that is still alive; its write lock is what is waited for here.
            let wait = deadline.saturating_duration_since(Instant::now());
            session.begin_write(wait.as_millis() as u64).await?;
            self.check_job(session).await?;
            if let Some(epoch) = fence::committed(session, &self.txn).await? {
                return Ok(Recovered::Committed(epoch));
            }
            if !last {
                faults::point(Fault::TargetBeforeFence).await?;
            }
            fence::raise(session, &self.txn.job, &self.unit, self.txn.epoch).await?;
            if !last {
                session.commit().await?;
                faults::point(Fault::TargetAfterFence).await?;
            }
        }
        Ok(Recovered::Absent)
    }

    /// A worker that comes after the job's end must not begin anew.
    async fn check_job(&self, session: &mut Session) -> Result<()> {
        if fence::exists(session).await? && fence::knows(session, &self.txn.job).await? {
            return Ok(());
        }
        let what = format!(
            "{}: the job's fence is gone; the job has ended here",
            self.path.display()
        );
        Err(Error::permanent(Code::TargetRejected, what))
    }

    async fn try_load(&mut self, batch: RowBatch) -> Result<u64> {
        let rows = self.insert.values(&batch)?;
        // A row of 64 MiB would otherwise be in memory once more while SQLite takes it in.
        drop(batch);
        let Some(session) = &mut self.session else {
            return Err(Error::permanent(Code::Internal, "no open transaction"));
        };
        self.insert.run(session, rows).await
    }

    async fn try_prepare(&mut self, loaded: &Loaded) -> Result<()> {
        if self.rows != loaded.digest.rows {
            let what = format!(
                "{}: {} rows were read, SQLite took {}",
                self.txn, loaded.digest.rows, self.rows
            );
            return Err(Error::permanent(Code::ValueChanged, what));
        }
        let Some(session) = &mut self.session else {
            return Err(Error::permanent(Code::Internal, "no open transaction"));
        };
        faults::point(Fault::TargetBeforeBooks).await?;
        fence::count(session, &self.txn.job, &self.unit, self.txn.epoch).await?;
        fence::record(session, &self.txn, loaded).await?;
        faults::point(Fault::TargetAfterBooks).await
    }

    /// What the file itself says: whether T's ledger row is there.
    async fn look(&self) -> Result<bool> {
        let mut session = self.open().await?;
        let found = match fence::exists(&mut session).await {
            Ok(true) => fence::committed(&mut session, &self.txn).await,
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        session.close().await;
        Ok(found? == Some(self.txn.epoch))
    }
}

#[async_trait]
impl TargetWriter for Writer {
    async fn begin(&mut self, _decided: Option<Epoch>) -> Result<Recovered> {
        self.expect_stage(Stage::Idle, "begin")?;
        let mut session = self.open().await?;
        let recovered = self.try_begin(&mut session).await;
        match recovered {
            Ok(Recovered::Absent) => {
                self.session = Some(session);
                self.stage = Stage::Loading;
            }
            _ => {
                // Closing rolls back; an error of ROLLBACK itself would say nothing new.
                let _ = session.rollback().await;
                session.close().await;
            }
        }
        recovered
    }

    async fn load(&mut self, batch: RowBatch) -> Result<()> {
        self.expect_stage(Stage::Loading, "load")?;
        self.stage = Stage::Poisoned;
        self.rows += self.try_load(batch).await?;
        self.stage = Stage::Loading;
        Ok(())
    }

    fn note_snapshot(&mut self, snapshot: String) {
        self.snapshot = Some(snapshot);
    }

    async fn prepare(&mut self, loaded: Loaded) -> Result<()> {
        self.expect_stage(Stage::Loading, "prepare")?;
        self.stage = Stage::Poisoned;
        self.try_prepare(&loaded).await?;
        self.stage = Stage::Prepared;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        match self.stage {
            Stage::Committed => return Ok(()),
            Stage::Idle => {}
            Stage::Loading | Stage::Poisoned => self.expect_stage(Stage::Prepared, "commit")?,
            Stage::Prepared => {
                let Some(session) = &mut self.session else {
                    return Err(Error::permanent(Code::Internal, "no open transaction"));
                };
                let committed = session.commit().await;
                let answer = faults::point(Fault::TargetInDoubt).await;
                if let Err(error) = committed.and(answer) {
                    // Whether it came through is asked of the file, once nobody can still do it.
                    self.rollback().await?;
                    self.stage = Stage::Idle;
                    if !self.look().await? {
                        return Err(error);
                    }
                }
                self.stage = Stage::Committed;
                if let Some(session) = self.session.take() {
                    session.close().await;
                }
                return Ok(());
            }
        }
        if self.look().await? {
            self.stage = Stage::Committed;
            return Ok(());
        }
        let what = format!(
            "{}: its transaction was held open by a process that is gone; it must be copied again",
            self.txn
        );
        Err(Error::transient(Code::TargetRejected, what))
    }

    async fn rollback(&mut self) -> Result<()> {
        if let Some(mut session) = self.session.take() {
            // Closing does it as well, so the answer doesn't matter.
            let _ = session.rollback().await;
            session.close().await;
        }
        if self.stage != Stage::Committed {
            self.stage = Stage::Poisoned;
        }
        Ok(())
    }
}

/// A column that is written.
struct Target {
    name: String,
    /// Of the rows as they travel.
    canonical: CanonicalType,
    affinity: Affinity,
}

/// How rows become INSERT statements.
struct Insert {
    table: String,
    head: String,
    columns: Vec<Target>,
    form: CellForm,
    /// Rows of the largest statement; smaller ones are halves of it.
    rows_max: usize,
}

impl Insert {
    fn new(table: &TablePlan) -> Insert {
        let rows = table.rows().copied_columns();
        let columns: Vec<Target> = table
            .target
            .copied_columns()
            .zip(rows)
            .map(|(column, row)| Target {
                name: column.name.clone(),
                canonical: row.canonical.clone(),
                affinity: Affinity::of(&column.native_type),
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
        // OR ABORT overrides a conflict clause of the table's own that would drop rows.
        let head = format!(
            "INSERT OR ABORT INTO {} ({}) VALUES ",
            quote(&table.target.name),
            names.join(", ")
        );
        let fitting = (PARAMETERS_MAX / columns.len().max(1)).max(1);
        Insert {
            table: table.target.name.clone(),
            head,
            form: table.form,
            rows_max: 1 << fitting.ilog2(),
            columns,
        }
    }

    /// The batch's rows as values, one after the other.
    fn values(&self, batch: &RowBatch) -> Result<Vec<Value>> {
        if batch.columns() != self.columns.len() {
            let what = format!(
                "{}: {} cells for {} columns",
                self.table,
                batch.columns(),
                self.columns.len()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        let mut values = Vec::with_capacity(batch.rows() * self.columns.len());
        for (cell, column) in batch.cells().zip(self.columns.iter().cycle()) {
            let value = match (cell, self.form) {
                (None, _) => Ok(Value::Null),
                (Some(cell), CellForm::Native) => read_any(cell),
                (Some(cell), CellForm::Canonical) => {
                    read_canonical(&column.canonical, column.affinity, cell)
                }
            };
            values.push(value.map_err(|reason| {
                let what = format!("{}.{}: {reason}", self.table, column.name);
                Error::permanent(Code::NotRepresentable, what)
            })?);
        }
        Ok(values)
    }

    /// Inserts them. Returns how many rows SQLite says it took.
    async fn run(&self, session: &mut Session, values: Vec<Value>) -> Result<u64> {
        let width = self.columns.len();
        let raw = |value: &Value| matches!(value, Value::RawText(_));
        let mut odd = Vec::new();
        let mut plain = values;
        if plain.iter().any(raw) {
            let mut rest = Vec::with_capacity(plain.len());
            for row in plain.chunks(width) {
                match row.iter().any(raw) {
                    true => odd.push(row.to_vec()),
                    false => rest.extend_from_slice(row),
                }
            }
            plain = rest;
        }
        let mut inserted = 0;
        let mut left = plain.len() / width;
        let mut values = plain.into_iter();
        while left > 0 {
            let rows = self.rows_max.min(1 << left.ilog2());
            let mut arguments = SqliteArguments::default();
            for value in values.by_ref().take(rows * width) {
                value.bind(&mut arguments);
            }
            let marks = format!("({})", vec!["?"; width].join(","));
            let sql = format!("{}{}", self.head, vec![marks; rows].join(","));
            inserted += session.run(&sql, arguments).await?;
            left -= rows;
        }
        for row in odd {
            inserted += self.run_odd(session, row).await?;
        }
        Ok(inserted)
    }

    /// A row that holds text which isn't UTF-8: handed over as bytes, made text by SQLite.
    async fn run_odd(&self, session: &mut Session, row: Vec<Value>) -> Result<u64> {
        let mut arguments = SqliteArguments::default();
        let mut marks = Vec::with_capacity(row.len());
        for value in row {
            marks.push(match value {
                Value::RawText(_) => "CAST(? AS TEXT)",
                _ => "?",
            });
            value.bind(&mut arguments);
        }
        let sql = format!("{}({})", self.head, marks.join(","));
        session.run_once(&sql, arguments).await
    }
}
