//! `sterna repair`: the target made equal where `verify` found differences.

use common::code::{Code, Failure};

use crate::cli::{Global, RepairArgs};
use crate::error::Result;
use crate::signals::Signals;

pub async fn run(_args: RepairArgs, _global: &Global, _signals: Signals) -> Result<u8> {
    Err(Failure::new(Code::NotBuilt, "sterna repair"))
}
