//! `sterna check`: named checks of both ends.

use common::code::{Code, Failure};

use crate::cli::{CheckArgs, Global};
use crate::error::Result;
use crate::signals::Signals;

pub async fn run(_args: CheckArgs, _global: &Global, _signals: Signals) -> Result<u8> {
    Err(Failure::new(Code::NotBuilt, "sterna check"))
}
