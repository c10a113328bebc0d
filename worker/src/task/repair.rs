//! Makes one range of a table at the target equal to the source's.

use common::code::Code;
use common::task::TaskResult;
use common::verify::TableRange;

use crate::connector::{Error, Result};
use crate::task::TaskContext;

pub async fn run(_ctx: &TaskContext, _spec: Option<Box<TableRange>>) -> Result<TaskResult> {
    Err(Error::permanent(Code::NotBuilt, "repairing rows"))
}
