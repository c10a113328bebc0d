//! The end of following: the source forgets us.

use common::task::TaskResult;

use crate::connector::Result;
use crate::meter::Wait;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    let source = ctx.source()?;
    let released = source.release(&ctx.job.uid);
    ctx.meter.timed(Wait::Source, released).await?;
    Ok(TaskResult::Done)
}
