//! PostgreSQL 13 and newer.
//!
//! | file | what |
//! |---|---|
//! | `session` | connections, pinned settings, deadlines |
//! | `types`, `quote` | selecting and storing cells; names and values as SQL |
//! | `inspect`, `sample` | catalogue, key bounds |
//! | `reader`, `writer` | rows out and in, by COPY |
//! | `fence`, `prepared`, `resolve` | bookkeeping, prepared transactions, the end of a job |
//! | `ddl`, `define` | text of definitions; tasks that run them |
//! | `error` | what a SQLSTATE means |

mod ddl;
mod define;
mod error;
mod inspect;
mod inspect_native;
mod inspect_sql;
mod inspect_tables;
mod inspect_types;
mod objects;
mod objects_after;
mod objects_sql;
mod quote;
mod session;

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::job::{Endpoint, JobSpec};
use common::plan::{Plan, TablePlan};
use common::schema::{InspectedTable, SourceMark, TableRef, TableSchema};

use self::session::{Host, Purpose};
use super::{
    Connector, DefineWork, Error, Inspection, Occupied, ReadRequest, ResolveWork, Result, Role,
    SourceReader, TargetWriter,
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

fn not_built() -> Error {
    Error::permanent(Code::NotBuilt, "PostgreSQL")
}

#[async_trait]
impl Connector for Postgres {
    async fn inspect(&self, role: Role, spec: &JobSpec) -> Result<Inspection> {
        inspect::inspect(&self.host, role, spec).await
    }

    async fn sample(&self, _table: TableSchema, _buckets: u32) -> Result<InspectedTable> {
        Err(not_built())
    }

    async fn mark(&self) -> Result<Option<SourceMark>> {
        Err(not_built())
    }

    async fn occupied(&self, tables: &[TableRef]) -> Result<Vec<Occupied>> {
        let mut session = self.host.open(Role::Target, Purpose::Read).await?;
        let mut found = Vec::with_capacity(tables.len());
        for table in tables {
            found.push(define::occupied(&mut session, &self.host, table).await?);
        }
        Ok(found)
    }

    async fn read(&self, _request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        Err(not_built())
    }

    fn ddl(&self, plan: &Plan) -> Vec<String> {
        ddl::plan(plan, &self.host.schema)
    }

    async fn define(&self, work: DefineWork) -> Result<()> {
        define::run(&self.host, work).await
    }

    async fn writer(&self, _txn: TxnId, _table: TablePlan) -> Result<Box<dyn TargetWriter>> {
        Err(not_built())
    }

    async fn resolve(&self, _work: ResolveWork) -> Result<(u32, u32)> {
        Err(not_built())
    }

    async fn prepared(&self) -> Result<Vec<TxnId>> {
        Err(not_built())
    }
}
