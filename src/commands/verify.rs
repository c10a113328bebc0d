//! `sterna verify`: two databases compared row by row.

use common::code::{Code, Failure};

use crate::cli::{Global, VerifyArgs};
use crate::error::Result;
use crate::signals::Signals;

pub async fn run(_args: VerifyArgs, _global: &Global, _signals: Signals) -> Result<u8> {
    Err(Failure::new(Code::NotBuilt, "sterna verify"))
}
