//! `sterna pause`, `resume`, `complete` and `cancel`: what the user wants of a job.

use crate::cli::{Global, Output};
use crate::client::Client;
use crate::error::Result;
use crate::output;

pub async fn run(job: &str, intent: &str, client: &Client, global: &Global) -> Result<u8> {
    let answer = client.set_intent(job, intent).await?;
    let (done, next) = match intent {
        "pause" => ("paused", format!("next: sterna resume -j {job}")),
        "complete" => ("is being completed", format!("next: sterna wait -j {job}")),
        "run" => ("goes on", format!("next: sterna wait -j {job}")),
        _ => (
            "is being cancelled",
            format!("next: sterna wait -j {job} --for Cancelled"),
        ),
    };
    match global.output {
        Output::Json => output::json(&answer)?,
        Output::Table => {
            output::line(&format!("job/{job} {done}"))?;
            output::note(global.quiet, &next);
        }
    }
    Ok(0)
}
