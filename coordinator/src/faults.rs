//! Acts at armed fault points. What is armed, and when it strikes, is decided in `common::fault`.

use std::sync::OnceLock;
use std::time::Duration;

use common::fault::{Action, Armory, Fault};

static ARMORY: OnceLock<Armory> = OnceLock::new();

/// Passes through a fault point. True: the caller is to lose the answer of what it just did.
pub(crate) async fn point(fault: Fault) -> bool {
    match ARMORY.get_or_init(read_environment).hit(fault) {
        None => false,
        Some(Action::LoseAnswer) => {
            tracing::warn!(%fault, "fault point loses the answer");
            true
        }
        Some(Action::Stall(ms)) => {
            tracing::warn!(%fault, ms, "fault point stalls");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            false
        }
        Some(Action::Exit) => {
            tracing::warn!(%fault, "fault point ends the process");
            // As by kill -9: no destructor, no flush.
            std::process::abort()
        }
    }
}

fn read_environment() -> Armory {
    let text = std::env::var("STERNA_FAULT").unwrap_or_default();
    Armory::from_text(&text).unwrap_or_else(|error| {
        tracing::error!(%error, "STERNA_FAULT is ignored");
        Armory::default()
    })
}
