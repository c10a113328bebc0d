//! Makes the foreign keys of one table, after every table has its rows and indexes.

use common::id::TableNo;
use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext, table: TableNo) -> Result<TaskResult> {
    ctx.define(TaskKind::ForeignKeys { table }).await
}
