//! Changes into this engine as a target.

use common::code::Code;
use std::path::Path;

use crate::connector::{ApplyWork, Error, Result, TargetApplier};

pub async fn open(_host: &Path, _work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
    Err(Error::permanent(
        Code::NotBuilt,
        "following into SQLite as a target",
    ))
}
