//! Makes what had to wait for the data: views, triggers, sequence values, …. Where the source was
//! followed, its sequences have moved since the plan was made; they aren't in its log.

use common::change::FollowMode;
use common::task::{TaskKind, TaskResult};

use crate::connector::Result;
use crate::meter::Wait;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext) -> Result<TaskResult> {
    let plan = ctx.plan()?;
    let mut objects = plan.objects.clone();
    if plan.follow != FollowMode::Off {
        let source = ctx.source()?;
        let refreshing = source.refresh(&mut objects);
        ctx.meter.timed(Wait::Source, refreshing).await?;
    }
    ctx.define_with(TaskKind::Objects, objects).await
}
