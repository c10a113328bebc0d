//! Makes what had to wait for the data: views, triggers, sequence values, ….

use common::change::FollowMode;
use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::meter::Wait;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    let plan = ctx.plan()?;
    let mut objects = plan.objects.clone();
    if plan.follow != FollowMode::Off {
        // The source went on counting since they were read.
        let source = ctx.source()?;
        let reading = source.refresh(&mut objects);
        ctx.meter.timed(Wait::Source, reading).await?;
    }
    ctx.define_with(TaskKind::Objects, objects).await
}
