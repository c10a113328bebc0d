//! P0: the source keeps its log from here on, and nothing that was open then is still open. See
//! DESIGN §6: a position read before a SELECT is no low watermark.

use common::task::TaskResult;

use crate::connector::{Result, SecureWork};
use crate::meter::Wait;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    let source = ctx.source()?;
    if let Some(text) = &ctx.job.spec.from {
        // The rows are at the target already: nothing is read, so nothing is waited for.
        let found = ctx.meter.timed(Wait::Source, source.log_position(text));
        return Ok(TaskResult::Secured(found.await?));
    }
    let work = SecureWork {
        job: ctx.job.uid.clone(),
        tables: ctx.plan()?.tables.clone(),
        current: ctx.shared.fresh.of(ctx.word.clone()),
    };
    let secured = ctx.meter.timed(Wait::Source, source.secure(work)).await?;
    Ok(TaskResult::Secured(secured))
}
