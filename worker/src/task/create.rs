//! Makes fence, ledger and the tables with primary keys only.

use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    ctx.define(TaskKind::Create).await
}
