//! One partition's transaction T in the target: an XA branch, loaded by LOAD DATA LOCAL from
//! memory. The order of its steps, and recovery: `recovery`.
//!
//! LOAD DATA LOCAL reports what it changed or skipped as warnings only, even in strict mode, and
//! MariaDB prepares after a failed statement (both measured): rows and warnings are checked after
//! every load, and any error poisons the writer.

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use super::load::Load;
use super::session::{Host, Purpose, Session};
use super::{fence, xa};
use crate::connector::recovery::books::Books;
use crate::connector::recovery::writer::{Loader, Writer};
use crate::connector::recovery::{Server, Verdict};
use crate::connector::{Error, Result, Role};

/// Into which table of which server.
pub struct Branch {
    host: Host,
    load: Load,
}

pub fn open(host: &Host, txn: TxnId, table: &TablePlan) -> Writer<Branch> {
    let load = Load::new(&host.database, &table.target, table.form);
    let host = host.clone();
    Writer::new(Branch { host, load }, txn)
}

/// A session for recovery, and the bookkeeping if it is there.
pub async fn connect(host: &Host) -> Result<(Session, Option<Books>)> {
    let mut session = host.open(Role::Target, Purpose::Load).await?;
    let books = fence::find(&mut session, &host.database).await?;
    Ok((session, books))
}

#[async_trait]
impl Loader for Branch {
    type Session = Session;

    async fn connect(&self) -> Result<(Session, Option<Books>)> {
        connect(&self.host).await
    }

    async fn open(&self, session: &mut Session, txn: &TxnId) -> Result<()> {
        session.run(&format!("XA START {}", xa::xid(txn))).await?;
        Ok(())
    }

    async fn load(&self, session: &mut Session, batch: RowBatch) -> Result<()> {
        self.load.run(session, batch).await
    }

    async fn check(&self, _session: &mut Session) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, session: &mut Session, txn: &TxnId) -> Result<()> {
        let xid = xa::xid(txn);
        session.run(&format!("XA END {xid}")).await?;
        let prepare = format!("XA PREPARE {xid}");
        session
            .run_within(&prepare, limits::BEGIN_DEADLINE_MS)
            .await?;
        Ok(())
    }

    async fn commit(&self, session: &mut Session, _books: &Books, txn: &TxnId) -> bool {
        matches!(session.end(txn, Verdict::Commit).await, Ok(true))
    }

    async fn rollback(&self, session: &mut Session, txn: &TxnId) -> bool {
        let xid = xa::xid(txn);
        // An error means that it ended already; what counts is the answer of ROLLBACK.
        let _ = session.run(&format!("XA END {xid}")).await;
        let rollback = format!("XA ROLLBACK {xid}");
        let ended = session.run_within(&rollback, limits::BEGIN_DEADLINE_MS);
        ended.await.is_ok()
    }

    fn lost(&self, _session: &Session, txn: &TxnId) -> Error {
        let what = format!("{txn} is neither committed nor prepared");
        Error::transient(Code::InDoubt, what)
    }
}
