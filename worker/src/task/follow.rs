//! Follows the source: reads its changes, nets them, applies them at the target.

use common::change::Secured;
use common::code::Code;
use common::task::{FollowTo, TaskResult};

use crate::connector::{Error, Result};
use crate::task::TaskContext;

pub async fn run(_ctx: &TaskContext, _from: Secured, _to: FollowTo) -> Result<TaskResult> {
    Err(Error::permanent(Code::NotBuilt, "following a source"))
}
