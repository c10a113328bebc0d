//! `sterna demo`.
use crate::cli::DemoArgs;
use crate::error::Result;
use crate::signals::Signals;
use common::code::{Code, Failure};

pub async fn run(_args: DemoArgs, _global: &crate::cli::Global, _signals: Signals) -> Result<u8> {
    std::future::ready(()).await;
    Err(Failure::new(Code::NotBuilt, "demo"))
}
