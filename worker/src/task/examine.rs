//! Compares one range of a table at both ends, row by row.

use common::code::Code;
use common::plan::PartitionSpec;
use common::task::TaskResult;

use crate::connector::{Error, Result};
use crate::task::TaskContext;

pub async fn run(_ctx: &TaskContext, _spec: Option<PartitionSpec>) -> Result<TaskResult> {
    Err(Error::permanent(Code::NotBuilt, "comparing rows"))
}
