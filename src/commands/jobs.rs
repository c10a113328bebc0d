//! `sterna jobs`: all jobs, the newest last.

use serde_json::Value;

use crate::cli::{Global, Output};
use crate::client::{Admin, Client};
use crate::error::Result;
use crate::output::{self, cell};

pub async fn run(client: &Client, global: &Global) -> Result<u8> {
    let answer: Value = client
        .call(async |mut admin: Admin| admin.list_jobs(proto::v1::Empty {}).await)
        .await?;
    if global.output == Output::Json {
        output::json(&answer)?;
        return Ok(0);
    }
    let jobs = answer["jobs"].as_array().cloned().unwrap_or_default();
    if jobs.is_empty() {
        output::note(global.quiet, "no jobs; next: sterna apply -f job.toml");
        return Ok(0);
    }
    let rows = jobs.iter().map(|job| {
        vec![
            cell(job, "job"),
            cell(job, "phase"),
            cell(job, "intent"),
            partitions(job),
            cell(job, "rows_copied"),
            cell(job, "source"),
            cell(job, "target"),
        ]
    });
    let headers = [
        "JOB",
        "PHASE",
        "INTENT",
        "#COMMITTED",
        "#ROWS",
        "SOURCE",
        "TARGET",
    ];
    output::line(&output::table(&headers, rows.collect()))?;
    Ok(0)
}

fn partitions(job: &Value) -> String {
    let counts = &job["partitions"];
    format!("{}/{}", cell(counts, "committed"), cell(counts, "total"))
}
