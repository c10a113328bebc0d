//! Fence and ledger: the two tables Sterna keeps in the target. In a database named `sterna` where
//! the rights allow, else as `sterna_fence` and `sterna_ledger` beside the data.
//!
//! The fence row says which epoch may write; it is raised only after everything older has ended,
//! and *modified* by every transaction as it prepares: MariaDB releases share locks at XA PREPARE
//! and forgets locks on unmodified rows in crash recovery (both measured). A partition's row is
//! created only while the job has another one: after the job's end nobody can begin again.

use common::code::{Code, ErrorClass, Failure};
use common::epoch::{Epoch, TxnId};
use common::id::JobUid;
use common::limits;

use super::error::{DUPLICATE_KEY, Failed};
use super::quote::{ident, text};
use super::session::Session;
use crate::connector::{Current, Error};

/// Our database on a target.
const DATABASE: &str = "sterna";

/// Where the two tables are, as quoted names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub fence: String,
    pub ledger: String,
    /// They are in a database of their own.
    apart: bool,
}

/// A fence row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub epoch: Epoch,
    /// Connection id, 0 = none.
    pub session: u64,
    /// Start of the server's life the connection id belongs to.
    pub server_start: u64,
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
    pub session: u64,
    pub server_start: u64,
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
            fence: format!("{}.{}", ident(DATABASE), ident("fence")),
            ledger: format!("{}.{}", ident(DATABASE), ident("ledger")),
            apart: true,
        }
    }

    fn beside(database: &str) -> Books {
        Books {
            fence: format!("{}.{}", ident(database), ident("sterna_fence")),
            ledger: format!("{}.{}", ident(database), ident("sterna_ledger")),
            apart: false,
        }
    }

    /// Finds the tables; None = there are none (that this user may see).
    pub async fn find(session: &mut Session, database: &str) -> Result<Option<Books>, Failed> {
        let sql = format!(
            "SELECT table_schema = {0} FROM information_schema.tables WHERE \
             (table_schema = {0} AND table_name IN ('fence', 'ledger')) OR \
             (table_schema = {1} AND table_name IN ('sterna_fence', 'sterna_ledger'))",
            text(DATABASE),
            text(database)
        );
        let rows = session.rows(&sql).await?;
        let found = |flag: &str| {
            let here = |row: &&Vec<Option<String>>| row.first() == Some(&Some(flag.to_owned()));
            rows.iter().filter(here).count() == 2
        };
        Ok(if found("1") {
            Some(Books::apart())
        } else if found("0") {
            Some(Books::beside(database))
        } else {
            None
        })
    }

    /// Finds or creates the tables.
    pub async fn ensure(
        session: &mut Session,
        database: &str,
        current: &Current,
    ) -> Result<Books, Failed> {
        if let Some(books) = Books::find(session, database).await? {
            return Ok(books);
        }
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", ident(DATABASE));
        check(current).await?;
        let apart = match session.run(&create).await {
            Ok(_) => Books::apart().create(session, current).await,
            Err(failed) => Err(failed),
        };
        match apart {
            Ok(books) => Ok(books),
            Err(failed) if failed.error.failure.code == Code::Privileges => {
                Books::beside(database).create(session, current).await
            }
            Err(failed) => Err(failed),
        }
    }

    async fn create(self, session: &mut Session, current: &Current) -> Result<Books, Failed> {
        let options = "ENGINE=InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin";
        check(current).await?;
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (job CHAR(32) NOT NULL, unit VARCHAR(24) NOT NULL, \
                 epoch INT UNSIGNED NOT NULL, n BIGINT NOT NULL, session BIGINT UNSIGNED NOT NULL, \
                 server_start VARCHAR(40) NOT NULL, PRIMARY KEY (job, unit)) {options}",
                self.fence
            ))
            .await?;
        check(current).await?;
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (job CHAR(32) NOT NULL, part INT UNSIGNED NOT NULL, \
                 epoch INT UNSIGNED NOT NULL, row_count BIGINT UNSIGNED NOT NULL, \
                 byte_count BIGINT UNSIGNED NOT NULL, digest CHAR(32) NOT NULL, \
                 PRIMARY KEY (job, part)) {options}",
                self.ledger
            ))
            .await?;
        Ok(self)
    }

    /// Whether the job has begun here.
    pub async fn knows(&self, session: &mut Session, job: &JobUid) -> Result<bool, Failed> {
        let sql = format!("SELECT 1 FROM {} WHERE job = '{job}' LIMIT 1", self.fence);
        Ok(session.row(&sql).await?.is_some())
    }

    /// Whether a partition of the job has begun here: then its tables are no create task's any
    /// more.
    pub async fn has_partitions(
        &self,
        session: &mut Session,
        job: &JobUid,
    ) -> Result<bool, Failed> {
        let sql = format!(
            "SELECT 1 FROM {} WHERE job = '{job}' AND unit LIKE 'p%' LIMIT 1",
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
            "SELECT epoch, session, server_start FROM {} WHERE job = '{job}' AND unit = '{unit}'",
            self.fence
        );
        Ok(session.row(&sql).await?.map(|row| Holder {
            epoch: Epoch(number(&row, 0) as u32),
            session: number(&row, 1),
            server_start: number(&row, 2),
        }))
    }

    /// Raises a unit's fence, which waits (and fails with 1205) while a transaction of an older
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
            let values = format!("'{job}', '{unit}', 0, 0, 0, ''");
            let insert = match first {
                true => format!("INSERT INTO {} VALUES ({values})", self.fence),
                false => format!(
                    "INSERT INTO {0} SELECT {values} FROM {0} AS other WHERE other.job = '{job}' \
                     LIMIT 1",
                    self.fence
                ),
            };
            match session.run(&insert).await {
                Ok(done) if done.affected == 0 => return Ok(Raised::Gone),
                Err(failed) if failed.number != DUPLICATE_KEY => return Err(failed),
                _ => {}
            }
        }
        let update = format!(
            "UPDATE {} SET epoch = {}, session = {}, server_start = '{}' WHERE job = '{job}' AND \
             unit = '{unit}' AND epoch <= {}",
            self.fence, claim.epoch.0, claim.session, claim.server_start, claim.epoch.0
        );
        if session.run(&update).await?.affected == 1 {
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

    /// Removes everything of `job`, and the tables (and database) if no other job uses them.
    pub async fn forget(&self, session: &mut Session, job: &JobUid) -> Result<(), Failed> {
        for table in [&self.ledger, &self.fence] {
            let sql = format!("DELETE FROM {table} WHERE job = '{job}'");
            session.run_within(&sql, limits::BEGIN_DEADLINE_MS).await?;
        }
        let lock = format!("LOCK TABLES {} WRITE, {} WRITE", self.fence, self.ledger);
        // Another job's prepared transactions hold these tables: then it isn't ours to drop them.
        if session.run(&lock).await.is_err() {
            return Ok(());
        }
        let dropped = self.drop_if_empty(session).await;
        session.run("UNLOCK TABLES").await?;
        if dropped? && self.apart {
            let tables = session
                .cell(&format!(
                    "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {}",
                    text(DATABASE)
                ))
                .await?;
            if tables.as_deref() == Some("0") {
                // Without the right to drop it, an empty database stays: nobody is hurt.
                let _ = session
                    .run(&format!("DROP DATABASE IF EXISTS {}", ident(DATABASE)))
                    .await;
            }
        }
        Ok(())
    }

    async fn drop_if_empty(&self, session: &mut Session) -> Result<bool, Failed> {
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM {}) + (SELECT COUNT(*) FROM {})",
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
    ours.map_err(|error| Failed { number: 0, error })
}
