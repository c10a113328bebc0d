//! Acts at fault points: ends the process, waits, or lies. What is armed, and when it strikes, is
//! decided in `common::fault`.

use std::sync::OnceLock;
use std::time::Duration;

use common::code::Code;
use common::fault::{Action, Armory, Fault};

use crate::connector::{Error, Result};

static ARMORY: OnceLock<std::result::Result<Armory, String>> = OnceLock::new();

/// Arms the points the environment names; a text that can't be read is an error, not silence.
pub fn arm_from_environment() -> std::result::Result<(), String> {
    let armory = ARMORY.get_or_init(|| {
        let text = std::env::var("STERNA_FAULT").unwrap_or_default();
        Armory::from_text(&text)
    });
    armory.as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Passes a fault point. An error means "the work was done, the answer got lost".
pub async fn point(fault: Fault) -> Result<()> {
    let Some(Ok(armory)) = ARMORY.get() else {
        return Ok(());
    };
    match armory.hit(fault) {
        None => Ok(()),
        Some(Action::Exit) => {
            tracing::warn!(%fault, "fault point ends the process");
            // As by kill -9: no destructor, no flush.
            std::process::abort();
        }
        Some(Action::Stall(ms)) => {
            tracing::warn!(%fault, ms, "fault point stalls");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
        Some(Action::LoseAnswer) => {
            tracing::warn!(%fault, "fault point loses the answer");
            let what = format!("the answer was lost at the fault point {fault}");
            Err(Error::transient(Code::Internal, what))
        }
    }
}
