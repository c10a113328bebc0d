//! PostgreSQL 14 and newer.

use async_trait::async_trait;
use common::code::Code;
use common::epoch::TxnId;
use common::job::{Endpoint, JobSpec};
use common::plan::{Plan, TablePlan};
use common::schema::{InspectedTable, SourceMark, TableRef, TableSchema};

use super::{
    Connector, DefineWork, Error, Inspection, Occupied, ReadRequest, ResolveWork, Result, Role,
    SourceReader, TargetWriter,
};
use crate::secret::Secrets;

/// A PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {}

impl Postgres {
    pub fn new(endpoint: &Endpoint, secrets: &Secrets) -> Result<Postgres> {
        secrets.resolve(endpoint)?;
        Ok(Postgres {})
    }
}

fn not_built() -> Error {
    Error::permanent(Code::NotBuilt, "PostgreSQL")
}

#[async_trait]
impl Connector for Postgres {
    async fn inspect(&self, _role: Role, _spec: &JobSpec) -> Result<Inspection> {
        Err(not_built())
    }

    async fn sample(&self, _table: TableSchema, _buckets: u32) -> Result<InspectedTable> {
        Err(not_built())
    }

    async fn mark(&self) -> Result<Option<SourceMark>> {
        Err(not_built())
    }

    async fn occupied(&self, _tables: &[TableRef]) -> Result<Vec<Occupied>> {
        Err(not_built())
    }

    async fn read(&self, _request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        Err(not_built())
    }

    fn ddl(&self, _plan: &Plan) -> Vec<String> {
        Vec::new()
    }

    async fn define(&self, _work: DefineWork) -> Result<()> {
        Err(not_built())
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
