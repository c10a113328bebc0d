//! Fence and ledger: the two tables Sterna keeps in the target. In a schema named `sterna` where
//! the rights allow, else as `sterna_fence` and `sterna_ledger` in the default schema.
//!
//! The fence row says which epoch may write; it is raised only after everything older has ended,
//! and modified by every transaction as it prepares. A partition's row is created only while the
//! job has another one: after the job's end nobody can begin again.

use common::code::{Code, ErrorClass, Failure};
use common::epoch::{Epoch, TxnId};
use common::id::JobUid;
use common::limits;

use super::error::{Failed, UNIQUE_VIOLATION};
use super::quote::{ident, qualified, text};
use super::session::{Host, Session};
use crate::connector::{Current, Error};

/// Our schema on a target.
pub const SCHEMA: &str = "sterna";
/// Our tables where we may not have a schema.
pub const FENCE_BESIDE: &str = "sterna_fence";
pub const LEDGER_BESIDE: &str = "sterna_ledger";

/// Where the two tables are, as quoted names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub fence: String,
    pub ledger: String,
    /// They are in a schema of their own.
    apart: bool,
}

/// A session of the server, for ever: process ids are reused, beginnings are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionId {
    /// 0 = none.
    pub pid: u64,
    /// Microseconds since 1970.
    pub started: u64,
}

/// A fence row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub epoch: Epoch,
    pub session: SessionId,
}

/// What came of raising a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    Done,
    /// It stands higher.
    Higher(Epoch),
    /// The job has no bookkeeping here any more.
    Gone,
}

/// Who raises a fence.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub epoch: Epoch,
    pub session: SessionId,
}

/// The error of a writer whose job has no bookkeeping: it ended, everything of it is history.
pub fn gone() -> Error {
    Error {
        class: ErrorClass::Fenced,
        failure: Failure::new(
            Code::Internal,
            "the job has no fence at the target: it ended, or was never created",
        ),
    }
}

impl Books {
    fn apart() -> Books {
        Books {
            fence: qualified(SCHEMA, "fence"),
            ledger: qualified(SCHEMA, "ledger"),
            apart: true,
        }
    }

    fn beside(schema: &str) -> Books {
        Books {
            fence: qualified(schema, FENCE_BESIDE),
            ledger: qualified(schema, LEDGER_BESIDE),
            apart: false,
        }
    }

    /// Finds the tables; None = there are none (that this user may use).
    pub async fn find(session: &mut Session, host: &Host) -> Result<Option<Books>, Failed> {
        let may = |what: &str| format!("has_table_privilege(c.oid, '{what}')");
        let sql = format!(
            "SELECT (n.nspname = {0} AND c.relname IN ('fence', 'ledger'))::text FROM \
             pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND ((n.nspname = {0} AND c.relname IN ('fence', 'ledger')) OR \
             (n.nspname = {1} AND c.relname IN ({2}, {3}))) \
             AND has_schema_privilege(n.oid, 'USAGE') AND {4} AND {5} AND {6} AND {7}",
            text(SCHEMA),
            text(&host.schema),
            text(FENCE_BESIDE),
            text(LEDGER_BESIDE),
            may("SELECT"),
            may("INSERT"),
            may("UPDATE"),
            may("DELETE"),
        );
        let rows = session.rows(&sql).await?;
        let found = |flag: &str| {
            let here = |row: &&Vec<Option<String>>| row.first() == Some(&Some(flag.to_owned()));
            rows.iter().filter(here).count() == 2
        };
        Ok(if found("true") {
            Some(Books::apart())
        } else if found("false") {
            Some(Books::beside(&host.schema))
        } else {
            None
        })
    }

    /// Finds or creates the tables.
    pub async fn ensure(
        session: &mut Session,
        host: &Host,
        current: &Current,
    ) -> Result<Books, Failed> {
        if let Some(books) = Books::find(session, host).await? {
            return Ok(books);
        }
        let create = format!("CREATE SCHEMA IF NOT EXISTS {}", ident(SCHEMA));
        check(current).await?;
        let apart = match session.run(&create).await {
            Ok(_) => Books::apart().create(session, current).await,
            Err(failed) => Err(failed),
        };
        let made = match apart {
            Err(failed) if failed.error.failure.code == Code::Privileges => {
                Books::beside(&host.schema).create(session, current).await
            }
            made => made,
        };
        match made {
            // Another job made them at the same moment: IF NOT EXISTS doesn't see that.
            Err(failed) if failed.sqlstate == UNIQUE_VIOLATION => {
                Books::find(session, host).await?.ok_or(failed)
            }
            made => made,
        }
    }

    async fn create(self, session: &mut Session, current: &Current) -> Result<Books, Failed> {
        check(current).await?;
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, unit text NOT NULL, \
                 epoch bigint NOT NULL, n bigint NOT NULL, session bigint NOT NULL, \
                 session_start bigint NOT NULL, PRIMARY KEY (job, unit))",
                self.fence
            ))
            .await?;
        check(current).await?;
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, part bigint NOT NULL, \
                 epoch bigint NOT NULL, row_count bigint NOT NULL, byte_count bigint NOT NULL, \
                 digest text NOT NULL, PRIMARY KEY (job, part))",
                self.ledger
            ))
            .await?;
        Ok(self)
    }

    /// Whether a partition of the job has begun here: then its tables are no create task's any
    /// more.
    pub async fn has_partitions(
        &self,
        session: &mut Session,
        job: &JobUid,
    ) -> Result<bool, Failed> {
        let sql = format!(
            "SELECT 1::text FROM {} WHERE job = '{job}' AND unit LIKE 'p%' LIMIT 1",
            self.fence
        );
        Ok(session.row(&sql).await?.is_some())
    }

    /// The fence row of a unit (`p7`, `t3`).
    pub async fn holder(
        &self,
        session: &mut Session,
        job: &JobUid,
        unit: &str,
    ) -> Result<Option<Holder>, Failed> {
        let sql = format!(
            "SELECT epoch, session, session_start FROM {} WHERE job = '{job}' AND unit = '{unit}'",
            self.fence
        );
        Ok(session.row(&sql).await?.map(|row| Holder {
            epoch: Epoch(number(&row, 0) as u32),
            session: SessionId {
                pid: number(&row, 1),
                started: number(&row, 2),
            },
        }))
    }

    /// The recorded sessions of the job's tasks.
    pub async fn definers(
        &self,
        session: &mut Session,
        job: &JobUid,
    ) -> Result<Vec<SessionId>, Failed> {
        let sql = format!(
            "SELECT session, session_start FROM {} WHERE job = '{job}' AND unit LIKE 't%'",
            self.fence
        );
        let rows = session.rows(&sql).await?;
        let id = |row: &Vec<Option<String>>| SessionId {
            pid: number(row, 0),
            started: number(row, 1),
        };
        Ok(rows.iter().map(id).collect())
    }

    /// Raises a unit's fence, which waits (and fails with 55P03) while a transaction of an older
    /// epoch has modified the row. `first` may create the job's first row.
    pub async fn raise(
        &self,
        session: &mut Session,
        job: &JobUid,
        unit: &str,
        claim: Claim,
        first: bool,
    ) -> Result<Raised, Failed> {
        if self.holder(session, job, unit).await?.is_none() {
            let values = format!("'{job}', '{unit}', 0, 0, 0, 0");
            let insert = match first {
                true => format!("INSERT INTO {} VALUES ({values})", self.fence),
                false => format!(
                    "INSERT INTO {0} SELECT {values} FROM {0} AS other WHERE other.job = '{job}' \
                     LIMIT 1",
                    self.fence
                ),
            };
            match session.run(&insert).await {
                Ok(0) => return Ok(Raised::Gone),
                Err(failed) if failed.sqlstate != UNIQUE_VIOLATION => return Err(failed),
                _ => {}
            }
        }
        let update = format!(
            "UPDATE {} SET epoch = {}, session = {}, session_start = {} WHERE job = '{job}' AND \
             unit = '{unit}' AND epoch <= {}",
            self.fence, claim.epoch.0, claim.session.pid, claim.session.started, claim.epoch.0
        );
        if session.run(&update).await? == 1 {
            return Ok(Raised::Done);
        }
        Ok(match self.holder(session, job, unit).await? {
            Some(holder) => Raised::Higher(holder.epoch),
            None => Raised::Gone,
        })
    }

    /// The epoch of T's partition in the ledger.
    pub async fn committed(
        &self,
        session: &mut Session,
        txn: &TxnId,
    ) -> Result<Option<Epoch>, Failed> {
        let sql = format!(
            "SELECT epoch FROM {} WHERE job = '{}' AND part = {}",
            self.ledger, txn.job, txn.partition.0
        );
        let row = session.row(&sql).await?;
        Ok(row.map(|row| Epoch(number(&row, 0) as u32)))
    }

    /// Removes everything of `job`, and the tables (and schema) if no other job uses them.
    pub async fn forget(&self, session: &mut Session, job: &JobUid) -> Result<(), Failed> {
        for table in [&self.ledger, &self.fence] {
            let sql = format!("DELETE FROM {table} WHERE job = '{job}'");
            session.run_within(&sql, limits::BEGIN_DEADLINE_MS).await?;
        }
        let lock = format!(
            "BEGIN; LOCK TABLE {}, {} IN ACCESS EXCLUSIVE MODE",
            self.fence, self.ledger
        );
        // Another job's prepared transactions hold these tables: then it isn't ours to drop them.
        let dropped = match session.run(&lock).await {
            Ok(_) => self.drop_if_empty(session).await,
            Err(_) => Ok(false),
        };
        match dropped {
            Ok(true) => session.run("COMMIT").await?,
            _ => session.run("ROLLBACK").await?,
        };
        if dropped.is_ok_and(|dropped| dropped) && self.apart {
            // It stays if anything else is in it, or it isn't ours to drop: nobody is hurt.
            let _ = session
                .run(&format!("DROP SCHEMA IF EXISTS {}", ident(SCHEMA)))
                .await;
        }
        Ok(())
    }

    /// False: another job uses them. An error: we may not drop them.
    async fn drop_if_empty(&self, session: &mut Session) -> Result<bool, Failed> {
        let sql = format!(
            "SELECT (SELECT count(*) FROM {}) + (SELECT count(*) FROM {})",
            self.fence, self.ledger
        );
        if session.cell(&sql).await?.as_deref() != Some("0") {
            return Ok(false);
        }
        session
            .run(&format!("DROP TABLE {}, {}", self.fence, self.ledger))
            .await?;
        Ok(true)
    }
}

fn number(row: &[Option<String>], at: usize) -> u64 {
    row.get(at)
        .and_then(|cell| cell.as_deref()?.parse().ok())
        .unwrap_or(0)
}

async fn check(current: &Current) -> Result<(), Failed> {
    let ours = current.still_ours().await;
    ours.map_err(|error| Failed {
        sqlstate: String::new(),
        error,
    })
}
