//! One partition's transaction T in the target, loaded by COPY. The order of its steps, and
//! recovery: `recovery`.
//!
//! Where the server has prepared transactions T is prepared and anybody may commit it; where it has
//! none (`max_prepared_transactions = 0`) T is held open until the decision, and lost with its
//! session. Any error poisons the writer: a failed transaction would answer PREPARE and COMMIT
//! with success.

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use super::copytext::{Encoder, Field};
use super::quote::{idents, qualified, text};
use super::session::{Host, Purpose, Session};
use super::{fence, prepared, types};
use crate::connector::recovery::books::Books;
use crate::connector::recovery::writer::{Loader, Writer};
use crate::connector::recovery::{Server, Verdict};
use crate::connector::{Error, Result, Role};

/// Into which table, and how.
pub struct Load {
    pub table: String,
    /// Quoted, with its schema.
    pub relation: String,
    pub fields: Vec<Field>,
    copy: String,
}

impl Load {
    pub fn new(host: &Host, plan: &TablePlan) -> Load {
        let rows = plan.rows().copied_columns();
        let fields: Vec<Field> = plan
            .target
            .copied_columns()
            .zip(rows)
            .map(|(column, row)| Field {
                name: column.name.clone(),
                shape: types::shape(column, &row.canonical, plan.form),
            })
            .collect();
        let names = idents(fields.iter().map(|field| field.name.as_str()));
        let relation = qualified(
            host.schema_of(plan.target.schema.as_deref()),
            &plan.target.name,
        );
        // An empty list of columns is no syntax.
        let list = match names.is_empty() {
            true => String::new(),
            false => format!(" ({names})"),
        };
        Load {
            table: plan.target.full_name(),
            copy: format!("COPY {relation}{list} FROM STDIN"),
            relation,
            fields,
        }
    }

    /// Turns the table's own triggers and foreign keys off for this session, if we may: a trigger
    /// would change rows, a foreign key ask for an order of tables. Not where a unique key can be
    /// deferred: it is checked by a trigger too, and would be off with them (measured).
    async fn quiet(&self, session: &mut Session) {
        let relation = text(&self.relation);
        let sql = format!(
            "SELECT set_config('session_replication_role', 'replica', false) WHERE NOT EXISTS \
             (SELECT FROM pg_constraint WHERE condeferrable AND contype IN ('p', 'u', 'x') AND \
             conrelid IN (SELECT relid FROM pg_partition_tree({relation}::regclass) UNION ALL \
             SELECT {relation}::regclass))"
        );
        // Without the right to say so, they act as they are defined.
        let _ = session.run(&sql).await;
    }

    /// Loads the batch, all of it or an error.
    pub async fn run(&self, session: &mut Session, batch: &RowBatch) -> Result<()> {
        if batch.columns() != self.fields.len() {
            let (given, wanted) = (batch.columns(), self.fields.len());
            let what = format!("table {}: {given} cells for {wanted} columns", self.table);
            return Err(Error::permanent(Code::Internal, what));
        }
        let encoder = Encoder::new(&self.table, &self.fields, batch);
        let copied = session.copy_in(&self.copy, encoder).await;
        let taken = copied.map_err(|mut error| {
            let what = &mut error.failure.what;
            *what = format!("table {}: {what}", self.table);
            error
        })?;
        if taken != batch.rows() as u64 {
            let (table, rows) = (&self.table, batch.rows());
            let what = format!("table {table}: the target took {taken} rows of {rows}");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        Ok(())
    }
}

/// Into which table of which server.
pub struct Copying {
    host: Host,
    load: Load,
}

pub fn open(host: &Host, txn: TxnId, table: &TablePlan) -> Writer<Copying> {
    let load = Load::new(host, table);
    let host = host.clone();
    Writer::new(Copying { host, load }, txn)
}

/// A session for recovery, and the bookkeeping if it is there.
pub async fn connect(host: &Host) -> Result<(Session, Option<Books>)> {
    let mut session = host.open(Role::Target, Purpose::Load).await?;
    let books = fence::find(&mut session, host).await?;
    Ok((session, books))
}

/// The server has prepared transactions.
fn durable(session: &Session) -> bool {
    session.facts.max_prepared_transactions > 0
}

#[async_trait]
impl Loader for Copying {
    type Session = Session;

    async fn connect(&self) -> Result<(Session, Option<Books>)> {
        connect(&self.host).await
    }

    async fn open(&self, session: &mut Session, _txn: &TxnId) -> Result<()> {
        self.load.quiet(session).await;
        session.run("BEGIN").await?;
        Ok(())
    }

    async fn load(&self, session: &mut Session, batch: RowBatch) -> Result<()> {
        self.load.run(session, &batch).await
    }

    async fn check(&self, session: &mut Session) -> Result<()> {
        // What is deferred to the commit is checked while the answer still decides something.
        let check = "SET CONSTRAINTS ALL IMMEDIATE";
        session
            .run_within(check, limits::TRANSFER_DEADLINE_MS)
            .await?;
        Ok(())
    }

    async fn prepare(&self, session: &mut Session, txn: &TxnId) -> Result<()> {
        if !durable(session) {
            return Ok(());
        }
        let prepare = format!("PREPARE TRANSACTION {}", prepared::gid(txn));
        session
            .run_within(&prepare, limits::BEGIN_DEADLINE_MS)
            .await?;
        if !prepared::list(session).await?.contains(txn) {
            let what = format!("{txn}: the target rolled it back instead of preparing it");
            return Err(Error::transient(Code::TargetRejected, what));
        }
        Ok(())
    }

    async fn commit(&self, session: &mut Session, books: &Books, txn: &TxnId) -> bool {
        if durable(session) {
            return matches!(session.end(txn, Verdict::Commit).await, Ok(true));
        }
        let commit = session.run_within("COMMIT", limits::BEGIN_DEADLINE_MS);
        if commit.await.is_err() {
            return false;
        }
        matches!(books.committed(session, txn).await, Ok(Some(epoch)) if epoch == txn.epoch)
    }

    async fn rollback(&self, session: &mut Session, txn: &TxnId) -> bool {
        let rollback = session.run_within("ROLLBACK", limits::BEGIN_DEADLINE_MS);
        if rollback.await.is_err() {
            return false;
        }
        match prepared::list(session).await {
            Ok(listed) if !listed.contains(txn) => true,
            Ok(_) => matches!(session.end(txn, Verdict::Rollback).await, Ok(true)),
            Err(_) => false,
        }
    }

    fn lost(&self, session: &Session, txn: &TxnId) -> Error {
        if durable(session) {
            let what = format!("{txn} is neither committed nor prepared");
            return Error::transient(Code::InDoubt, what);
        }
        let what = format!(
            "{txn}: its transaction was held open by a session that is gone; it must be copied \
             again (max_prepared_transactions is 0)"
        );
        Error::transient(Code::TargetRejected, what)
    }
}
