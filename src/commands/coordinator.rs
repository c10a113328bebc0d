//! `sterna coordinator`.
use crate::cli::CoordinatorArgs;
use crate::error::Result;
use crate::signals::Signals;
use common::code::{Code, Failure};

pub async fn run(_args: CoordinatorArgs, _signals: Signals) -> Result<u8> {
    std::future::ready(()).await;
    Err(Failure::new(Code::NotBuilt, "coordinator"))
}
