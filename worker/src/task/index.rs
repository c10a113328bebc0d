//! Makes the secondary and unique indexes of one table and sets its auto-increment value.

use common::id::TableNo;
use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext, table: TableNo) -> Result<TaskResult> {
    ctx.define(TaskKind::Index { table }).await
}
