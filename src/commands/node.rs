//! `sterna node`: the workers.

use proto::v1;
use serde_json::Value;

use super::operator::list;
use crate::cli::{Global, NodeCommand, Output};
use crate::client::{Admin, Client};
use crate::error::Result;
use crate::output;

pub async fn run(command: NodeCommand, client: &Client, global: &Global) -> Result<u8> {
    let (worker, drain) = match command {
        NodeCommand::List => return workers(client, global).await,
        NodeCommand::Drain { worker } => (worker, true),
        NodeCommand::Undrain { worker } => (worker, false),
    };
    let done = match drain {
        true => format!("worker/{worker} takes no new work"),
        false => format!("worker/{worker} takes work again"),
    };
    let request = v1::DrainWorkerRequest { worker, drain };
    let answer: Value = client
        .call(async |mut admin: Admin| admin.drain_worker(request.clone()).await)
        .await?;
    match global.output {
        Output::Json => output::json(&answer)?,
        Output::Table => {
            output::line(&done)?;
            output::note(global.quiet, "next: sterna node list");
        }
    }
    Ok(0)
}

async fn workers(client: &Client, global: &Global) -> Result<u8> {
    let answer: Value = client
        .call(async |mut admin: Admin| admin.list_workers(v1::Empty {}).await)
        .await?;
    if global.output == Output::Json {
        output::json(&answer)?;
        return Ok(0);
    }
    let workers = answer["workers"].as_array().cloned().unwrap_or_default();
    if workers.is_empty() {
        output::note(global.quiet, "no workers; next: sterna worker --join …");
        return Ok(0);
    }
    let columns = [
        ("NAME", "name"),
        ("HEALTH", "health"),
        ("DRAINING", "draining"),
        ("#BUSY", "slots_busy"),
        ("#SLOTS", "slots"),
        ("#MEMORY", "memory_bytes"),
        ("VERSION", "version"),
    ];
    output::line(&list(&workers, &columns))?;
    Ok(0)
}
