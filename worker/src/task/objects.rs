//! Makes what had to wait for the data: views, triggers, sequence values, ….

use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    ctx.define(TaskKind::Objects).await
}
