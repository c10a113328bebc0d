//! Ends every transaction the job may have left at the target, and lets none come late.

use common::code::Code;
use common::epoch::Unit;
use common::task::{ResolveUnit, TaskResult};

use crate::connector::{Error, ResolveWork, Result};
use crate::task::TaskContext;

pub async fn run(
    ctx: &TaskContext,
    units: Vec<ResolveUnit>,
    drop_bookkeeping: bool,
) -> Result<TaskResult> {
    let Unit::Task(task) = ctx.lease.unit else {
        let what = format!("{} was ordered to resolve", ctx.lease.unit);
        return Err(Error::permanent(Code::Internal, what));
    };
    let work = ResolveWork {
        job: ctx.job.uid.clone(),
        task,
        epoch: ctx.lease.epoch,
        units,
        drop_bookkeeping,
    };
    let (committed, rolled_back) = ctx.target()?.resolve(work).await?;
    Ok(TaskResult::Resolved {
        committed,
        rolled_back,
    })
}
