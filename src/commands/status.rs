//! `sterna status`: one job on one screen.

use std::time::Duration;

use common::cut::Cut;
use common::state::{Intent, Phase};
use common::status::JobStatus;

use crate::cli::{Global, Output, StatusArgs};
use crate::client::Client;
use crate::error::{self, Result};
use crate::following;
use crate::output;
use crate::prove;
use crate::signals::Signals;

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

pub async fn run(
    args: StatusArgs,
    client: &Client,
    global: &Global,
    mut signals: Signals,
) -> Result<u8> {
    loop {
        let status = client.job(&args.job.job).await?;
        match global.output {
            Output::Json => output::json(&status)?,
            Output::Table => output::line(&text(&status))?,
        }
        if !args.watch || status.phase.is_ended() {
            return Ok(0);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            stop = signals.stop() => return Ok(stop.exit()),
        }
    }
}

/// The status for people.
fn text(status: &JobStatus) -> String {
    let mut lines = vec![
        format!("job         {}  ({})", status.job, status.id),
        format!("phase       {}", phase(status)),
        format!("source      {}", status.source),
        format!("target      {}", status.target),
    ];
    match &status.verify {
        Some(verify) => lines.extend(prove::lines(verify)),
        None => lines.extend(copied(status)),
    }
    lines.extend(following::lines(status));
    if let Some(reason) = &status.limited_by {
        lines.push(format!("limited by  {reason}"));
    }
    for loss in crate::report::accepted(status) {
        lines.push(format!("accepted    {loss}"));
    }
    for note in &status.notes {
        lines.push(format!("note        {note}"));
    }
    if !status.tables.is_empty() {
        lines.push(String::new());
        lines.push(match &status.verify {
            Some(verify) => prove::tables(status, verify),
            None => tables(status),
        });
    }
    if let Some(failure) = &status.failure {
        lines.push(String::new());
        lines.push(error::text(failure, false));
    }
    if let Some(next) = next(status) {
        lines.push(format!("\nnext: {next}"));
    }
    lines.join("\n")
}

/// What is in the target so far.
fn copied(status: &JobStatus) -> [String; 2] {
    let counts = status.partitions;
    [
        format!(
            "partitions  {} of {} committed, {} in flight, {} redone",
            output::count(counts.committed.into()),
            output::count(counts.total.into()),
            counts.in_flight,
            output::count(counts.redone),
        ),
        format!(
            "rows        {} of ~{} committed, {} in flight, {}",
            output::count(status.rows_copied),
            output::count(status.rows_estimated.max(status.rows_copied)),
            output::count(status.rows_in_flight),
            output::bytes(status.bytes_copied),
        ),
    ]
}

fn phase(status: &JobStatus) -> String {
    let end = status.ended_at_ms.unwrap_or(status.now_ms);
    let time = Duration::from_millis(end.since(status.submitted_at_ms));
    let mut text = format!("{}  after {}", status.phase, output::duration(time));
    let intent = format!("{:?}", status.intent);
    if intent != "Run" && !status.phase.is_ended() {
        text.push_str(&format!("  ({} asked for)", intent.to_lowercase()));
    }
    if status.verified {
        text.push_str("  verified");
    }
    text
}

fn tables(status: &JobStatus) -> String {
    let rows = status.tables.iter().map(|table| {
        let yes = |done: bool| if done { "yes" } else { "-" }.to_owned();
        vec![
            table.name.clone(),
            output::count(table.rows_copied),
            format!("~{}", output::count(table.rows_estimated)),
            format!("{}/{}", table.partitions_committed, table.partitions),
            output::bytes(table.bytes_copied),
            yes(table.indexed),
            yes(table.verified),
            table.cut.as_ref().map_or_else(String::new, Cut::to_string),
        ]
    });
    let headers = [
        "TABLE",
        "#ROWS",
        "#ESTIMATE",
        "#PARTITIONS",
        "#BYTES",
        "INDEXED",
        "VERIFIED",
        "CUT",
    ];
    output::table(&headers, rows.collect())
}

fn next(status: &JobStatus) -> Option<String> {
    let job = &status.job;
    match status.phase {
        // The whole report, and a plan to repair by.
        Phase::Completed if status.verify.is_some() => Some(format!("sterna verify -j {job}")),
        Phase::Completed => None,
        Phase::Failed => Some(format!("mend the cause, then: sterna resume -j {job}")),
        Phase::Cancelled => Some("sterna apply -f FILE starts it anew".to_owned()),
        _ if status.intent == Intent::Pause => Some(format!("sterna resume -j {job}")),
        Phase::Following => Some(format!("sterna complete -j {job}")),
        _ => Some(format!("sterna wait -j {job}")),
    }
}
