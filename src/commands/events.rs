//! `sterna events`: what happened. A partition's lines, read in order, are its two-phase commit.

use std::time::Duration;

use common::code::{Code, Failure};
use proto::v1::EventsRequest;
use serde_json::Value;

use crate::cli::{EventsArgs, Global, Output};
use crate::client::{Client, failure_of};
use crate::error::Result;
use crate::output::{self, cell};
use crate::signals::Signals;

pub async fn run(
    args: EventsArgs,
    client: &Client,
    global: &Global,
    mut signals: Signals,
) -> Result<u8> {
    tokio::select! {
        result = print(args, client, global) => result.map(|()| 0),
        stop = signals.stop() => Ok(stop.exit()),
    }
}

async fn print(args: EventsArgs, client: &Client, global: &Global) -> Result<()> {
    let mut request = EventsRequest {
        after: args.after,
        job: args.job.unwrap_or_default(),
        follow: args.follow,
    };
    loop {
        let end = pass(&mut request, client, global).await;
        match end {
            Ok(()) if !args.follow => return Ok(()),
            Ok(()) => {}
            // Another coordinator has the same events: go on after the last one seen.
            Err(failure) if failure.code == Code::NoCoordinator && args.follow => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn pass(request: &mut EventsRequest, client: &Client, global: &Global) -> Result<()> {
    let mut events = client.events(request.clone()).await?;
    loop {
        let message = events.message().await;
        let Some(reply) = message.map_err(|status| failure_of("events", &status))? else {
            return Ok(());
        };
        let event: Value = serde_json::from_slice(&reply.json)
            .map_err(|error| Failure::new(Code::Internal, format!("event: {error}")))?;
        if let Some(seq) = event["seq"].as_u64() {
            request.after = request.after.max(seq);
        }
        match global.output {
            // One object a line, for jq and friends.
            Output::Json => output::line(&event.to_string())?,
            Output::Table => output::line(&line(&event))?,
        }
    }
}

/// `12:01:02.345  shop  p17  prepared  epoch=3 rows=120 …`
fn line(event: &Value) -> String {
    let at = event["at_ms"].as_u64().or_else(|| event["at"].as_u64());
    let unit = ["partition", "task", "unit", "worker"];
    let unit = unit.iter().find(|key| !event[**key].is_null()).copied();
    let mut text = format!(
        "{}  {:<12} {:<6} {:<16}",
        output::clock(at.unwrap_or_default()),
        cell(event, "job"),
        unit.map_or("-".to_owned(), |key| named(key, &event[key])),
        cell(event, "event"),
    );
    let known = [
        "seq",
        "at",
        "at_ms",
        "job",
        "job_id",
        "event",
        "api_version",
    ];
    let first = ["epoch", "by", "worker", "rows", "digest"];
    let rest = { event.as_object().into_iter().flatten() }.map(|(key, _)| key.as_str());
    let rest = rest.filter(|key| !first.contains(key) && !known.contains(key));
    for key in first.into_iter().chain(rest) {
        let value = &event[key];
        if unit != Some(key) && !value.is_null() {
            text.push_str(&format!(" {key}={}", named(key, value)));
        }
    }
    text.trim_end().to_owned()
}

/// Ids are numbers in JSON and have a letter for people.
fn named(key: &str, value: &Value) -> String {
    let letter = match (key, value.is_number()) {
        ("partition", true) => "p",
        ("task", true) => "t",
        ("worker", true) => "w",
        _ => "",
    };
    format!("{letter}{}", plain(value))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(failure) if failure.contains_key("what") => {
            format!("[{}] {}", plain(&failure["code"]), plain(&failure["what"]))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_like_a_transcript() {
        let event = serde_json::json!({
            "seq": 7, "at_ms": 1_000, "job": "shop", "event": "prepared",
            "partition": 3, "epoch": 2, "rows": 10, "digest": "10:ab",
        });
        assert_eq!(
            line(&event),
            "00:00:01.000  shop         p3     prepared         epoch=2 rows=10 digest=10:ab"
        );
    }
}
