//! `sterna apply`: submits a job file. A job of that name that hasn't ended is an error, never
//! changed: two people may have had the same idea.

use serde_json::json;

use crate::cli::{ApplyArgs, Global, Output};
use crate::client::{Client, new_uid};
use crate::error::Result;
use crate::signals::Signals;
use crate::{files, output};

pub async fn run(
    args: ApplyArgs,
    client: &Client,
    global: &Global,
    signals: Signals,
) -> Result<u8> {
    let spec = files::read_job(&args.file)?;
    let answer = client.submit(&spec, &new_uid()).await?;
    let name = &spec.name;
    match (global.output, args.wait_for) {
        // With --wait-for the answer is the status at the end: one JSON document on stdout.
        (Output::Json, Some(_)) => {}
        (Output::Json, None) => output::json(&json!(answer))?,
        (Output::Table, None) => {
            output::line(&format!("job/{name} submitted"))?;
            let next = format!("next: sterna status -j {name}   or   sterna wait -j {name}");
            output::note(global.quiet, &next);
        }
        (Output::Table, Some(_)) => output::line(&format!("job/{name} submitted"))?,
    }
    match args.wait_for {
        None => Ok(0),
        Some(phase) => super::wait::until(name, phase, args.timeout, client, global, signals).await,
    }
}
