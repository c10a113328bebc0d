//! PostgreSQL 14 and newer.
//!
//! | file | what |
//! |---|---|
//! | `session` | connections, pinned settings, deadlines |
//! | `types`, `copytext`, `quote` | selecting and storing cells; COPY's text; names and values as SQL |
//! | `inspect*`, `objects*`, `sample` | catalogue, what isn't a table, key bounds |
//! | `reader`, `writer` | rows out and in, by COPY |
//! | `fence`, `prepared` | where the bookkeeping is; prepared transactions and sessions |
//! | `check/` | named checks of either end |
//! | `follow`, `stream/` | its changes: slot, publication, logical replication |
//! | `ddl`, `define*` | text of definitions; tasks that run them |
//! | `error` | what a SQLSTATE means |

mod apply;
mod check;
#[doc(hidden)]
pub mod copytext;
mod ddl;
mod define;
mod define_fence;
mod define_objects;
mod error;
mod fence;
mod fold;
mod follow;
mod inspect;
mod inspect_native;
mod inspect_sql;
mod inspect_tables;
mod inspect_types;
mod mark;
mod objects;
mod objects_after;
mod objects_sql;
mod prepared;
mod quote;
mod reader;
mod sample;
mod session;
mod stream;
#[doc(hidden)]
pub mod types;
mod writer;

use crate::connector::{
    ApplyWork, ChangeStream, FetchRequest, Machine, Origin, SecureWork, StreamRequest,
    TargetApplier,
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
    CheckRequest, Connector, DefineWork, Inspection, Occupied, ReadRequest, ResolveWork, Result,
    Role, SourceReader, TargetWriter, recovery,
};
use crate::secret::Secrets;

/// A PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    host: Host,
}

impl Postgres {
    pub fn new(endpoint: &Endpoint, secrets: &Secrets) -> Result<Postgres> {
        let password = secrets.resolve(endpoint)?;
        Ok(Postgres {
            host: Host::new(endpoint, password.as_ref())?,
        })
    }
}

#[async_trait]
impl Connector for Postgres {
    async fn inspect(&self, role: Role, spec: &JobSpec) -> Result<Inspection> {
        inspect::inspect(&self.host, role, spec).await
    }

    async fn sample(&self, table: TableSchema, buckets: u32) -> Result<InspectedTable> {
        let mut session = self.host.open(Role::Source, Purpose::Read).await?;
        let key = sample::sample(&mut session, &self.host, &table, buckets).await?;
        Ok(InspectedTable { schema: table, key })
    }

    async fn mark(&self) -> Result<Option<SourceMark>> {
        let mut session = self.host.open(Role::Source, Purpose::Read).await?;
        Ok(mark::mark(&mut session).await?)
    }

    async fn occupied(&self, tables: &[TableRef]) -> Result<Vec<Occupied>> {
        let mut session = self.host.open(Role::Target, Purpose::Read).await?;
        let mut found = Vec::with_capacity(tables.len());
        for table in tables {
            found.push(define::occupied(&mut session, &self.host, table).await?);
        }
        Ok(found)
    }

    async fn read(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        let session = self.host.open(Role::Source, Purpose::Read).await?;
        let reader = reader::Reader::new(session, &self.host, &request);
        Ok(Box::new(reader))
    }

    fn ddl(&self, plan: &Plan) -> Vec<String> {
        ddl::plan(plan, &self.host.schema)
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
        let books = fence::find(&mut session, &self.host).await?;
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
        follow::fetch(&self.host, request).await
    }

    async fn refresh(&self, objects: &mut Vec<SchemaObject>) -> Result<()> {
        follow::refresh(&self.host, objects).await
    }

    async fn applier(&self, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
        apply::open(&self.host, work)
    }

    async fn follow_mark(&self, job: &JobUid) -> Result<Option<Mark>> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        match fence::find(&mut session, &self.host).await? {
            Some(books) => books.mark(&mut session, job).await,
            None => Ok(None),
        }
    }

    async fn check(&self, request: CheckRequest) -> Vec<Check> {
        check::run(&self.host, &request).await
    }

    async fn prepared(&self) -> Result<Vec<TxnId>> {
        let mut session = self.host.open(Role::Target, Purpose::Load).await?;
        Ok(prepared::list(&mut session).await?)
    }
}
