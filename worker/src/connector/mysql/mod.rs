//! MySQL and MariaDB: one dialect; where they differ, the server is asked.
//!
//! | file | what |
//! |---|---|
//! | `session` | connections, pinned settings, deadlines |
//! | `types`, `quote` | types, selecting and storing cells; names and values as SQL |
//! | `inspect`, `columns`, `objects`, `sample` | catalogue, views and the like, key bounds |
//! | `reader`, `pinned` | rows out; a snapshot with a known place in the log |
//! | `writer`, `load`, `guard`, `infile` | rows in |
//! | `fence`, `xa` | where the bookkeeping is; prepared transactions and sessions |
//! | `definition`, `ddl`, `define`, `carry` | text of definitions; tasks that run them |
//! | `error` | what a server's code means |

mod apply;
pub mod binlog;
mod carry;
mod check;
mod columns;
mod ddl;
mod define;
mod definition;
mod error;
mod fence;
mod fold;
mod follow;
mod guard;
#[doc(hidden)]
pub mod infile;
mod inspect;
mod load;
mod objects;
mod pinned;
mod quote;
mod reader;
mod sample;
mod session;
mod types;
mod writer;
mod xa;

use crate::connector::{
    ApplyWork, ChangeStream, CheckRequest, FetchRequest, Machine, Origin, SecureWork,
    StreamRequest, TargetApplier,
};
use async_trait::async_trait;
use common::change::{LogFacts, LogState, Mark, Position, Secured};
use common::check::Check;
use common::digest::Digest;
use common::epoch::TxnId;
use common::id::JobUid;
use common::job::{Endpoint, JobSpec};
use common::plan::{Plan, TablePlan};
use common::schema::SchemaObject;
use common::schema::{InspectedTable, SourceMark, TableRef, TableSchema};
use common::value::RowBatch;

use self::session::{Host, Purpose};
use super::{
    Connector, DefineWork, Inspection, Occupied, ReadRequest, ResolveWork, Result, Role,
    SourceReader, TargetWriter, recovery,
};
use crate::secret::Secrets;

/// A MySQL or MariaDB database.
#[derive(Clone)]
pub struct Mysql {
    host: Host,
}

impl Mysql {
    pub fn new(endpoint: &Endpoint, secrets: &Secrets) -> Result<Mysql> {
        let password = secrets.resolve(endpoint)?;
        Ok(Mysql {
            host: Host::new(endpoint, password.as_ref())?,
        })
    }
}

#[async_trait]
impl Connector for Mysql {
    async fn inspect(&self, role: Role, spec: &JobSpec) -> Result<Inspection> {
        inspect::inspect(&self.host, role, spec).await
    }

    async fn sample(&self, table: TableSchema, buckets: u32) -> Result<InspectedTable> {
        inspect::refuse_unsupported(&table)?;
        let mut session = self.host.open(Role::Source, Purpose::Read).await?;
        let key = sample::sample(&mut session, &self.host.database, &table, buckets).await?;
        Ok(InspectedTable { schema: table, key })
    }

    async fn mark(&self) -> Result<Option<SourceMark>> {
        let mut session = self.host.open(Role::Source, Purpose::Read).await?;
        inspect::mark(&mut session).await
    }

    async fn occupied(&self, tables: &[TableRef]) -> Result<Vec<Occupied>> {
        let mut session = self.host.open(Role::Target, Purpose::Read).await?;
        let mut found = Vec::with_capacity(tables.len());
        for table in tables {
            let database = table.schema.as_deref().unwrap_or(&self.host.database);
            found.push(define::occupied(&mut session, database, &table.name).await?);
        }
        Ok(found)
    }

    async fn read(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(reader::Reader::open(&self.host, &request).await?))
    }

    fn ddl(&self, plan: &Plan) -> Vec<String> {
        ddl::all(&self.host.database, plan)
    }

    async fn define(&self, work: DefineWork) -> Result<()> {
        define::run(&self.host, work).await
    }

    async fn writer(&self, txn: TxnId, table: TablePlan) -> Result<Box<dyn TargetWriter>> {
        Ok(Box::new(writer::open(&self.host, txn, &table)))
    }

    async fn resolve(&self, work: ResolveWork) -> Result<(u32, u32)> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        // It may be about to make what is looked for next.
        recovery::turn::evict(&mut session, &work.job).await?;
        let books = fence::find(&mut session, &self.host.database).await?;
        recovery::resolve::run(session, books, work).await
    }

    async fn log_facts(&self, tables: &[TableSchema]) -> Result<LogFacts> {
        follow::log_facts(&self.host, tables).await
    }

    async fn secure(&self, work: SecureWork) -> Result<Secured> {
        follow::secure(&self.host, work).await
    }

    async fn release(&self, job: &JobUid) -> Result<()> {
        follow::release(&self.host, job).await
    }

    async fn log_end(&self) -> Result<Position> {
        follow::log_end(&self.host).await
    }

    async fn check(&self, request: CheckRequest) -> Vec<Check> {
        check::run(&self.host, &request).await
    }

    async fn fold(&self, request: ReadRequest) -> Result<Option<Digest>> {
        fold::run(&self.host, &request).await
    }

    async fn machine(&self) -> Result<Machine> {
        follow::machine(&self.host).await
    }

    async fn log_state(&self, job: &JobUid, position: &Position) -> Result<LogState> {
        follow::log_state(&self.host, job, position).await
    }

    async fn log_position(&self, text: &str) -> Result<Secured> {
        follow::log_position(&self.host, text).await
    }

    async fn changes(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        follow::changes(&self.host, request).await
    }

    fn is_in(&self, origin: &Origin, snapshot: &str) -> Result<bool> {
        follow::is_in(origin, snapshot)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<RowBatch> {
        follow::fetch(&request)
    }

    async fn refresh(&self, objects: &mut Vec<SchemaObject>) -> Result<()> {
        follow::refresh(&self.host, objects).await
    }

    async fn applier(&self, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
        apply::open(&self.host, work)
    }

    async fn follow_mark(&self, job: &JobUid) -> Result<Option<Mark>> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        match fence::find(&mut session, &self.host.database).await? {
            Some(books) => books.mark(&mut session, job).await,
            None => Ok(None),
        }
    }

    async fn prepared(&self) -> Result<Vec<TxnId>> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        Ok(xa::list(&mut session).await?)
    }
}
