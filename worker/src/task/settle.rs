//! Asks whether the source has moved since the mark taken before the copy. A source on the
//! target's own server moves by our writes: that reads as unknown, never as unmoved.

use common::schema::SourceMark;
use common::task::{Settled, TaskResult};

use crate::connector::Result;
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext, before: Option<SourceMark>) -> Result<TaskResult> {
    let now = match &before {
        Some(_) => ctx.source()?.mark().await?,
        None => None,
    };
    let settled = match before.is_some() && now == before {
        true => Settled::Unmoved,
        false => Settled::Unknown,
    };
    Ok(TaskResult::Settled(settled))
}
