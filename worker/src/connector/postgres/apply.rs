//! Changes into this engine as a target.

use common::code::Code;

use super::session::Host;
use crate::connector::{ApplyWork, Error, Result, TargetApplier};

pub async fn open(_host: &Host, _work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
    Err(Error::permanent(
        Code::NotBuilt,
        "following into PostgreSQL as a target",
    ))
}
