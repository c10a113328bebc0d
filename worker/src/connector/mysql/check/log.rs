//! Checks of following: whether the binary log holds what the job needs, for as long as it needs it.

use common::check::Check;
use common::code::{Code, Failure};

use super::super::binlog::facts::{self, global};
use super::{Asker, with_fixes};
use crate::connector::Result;

/// A copy and what follows it shouldn't race with the log's end.
const RETENTION_MIN_SECONDS: u64 = 86_400;
/// Bytes a second that a copy makes at the least.
const SLOW_COPY: u64 = 10 << 20;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    if !ask.follows() {
        return vec![ask.passed("binary-log", "the job doesn't read the log")];
    }
    let mut checks = Vec::new();
    let answer = binary_log(ask).await;
    let is_there = matches!(&answer, Ok(check) if check.code.is_none());
    checks.push(ask.settled("binary-log", answer).await);
    if !is_there {
        return checks;
    }
    for (name, variable, wanted, holds) in [
        (
            "binlog-format",
            "binlog_format",
            "ROW",
            "statements, not rows",
        ),
        (
            "binlog-row-image",
            "binlog_row_image",
            "FULL",
            "parts of rows",
        ),
        (
            "binlog-json",
            "binlog_row_value_options",
            "",
            "parts of documents",
        ),
    ] {
        let answer = setting(ask, name, (variable, wanted), holds).await;
        checks.push(ask.settled(name, answer).await);
    }
    let answer = log_rights(ask).await;
    checks.push(ask.settled("log-rights", answer).await);
    let answer = log_tables(ask).await;
    checks.push(ask.settled("log-tables", answer).await);
    let answer = replica(ask).await;
    checks.push(ask.settled("replica", answer).await);
    let answer = retention(ask).await;
    checks.push(ask.settled("log-retention", answer).await);
    checks
}

async fn binary_log(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "binary-log";
    let row = ask.line("SELECT @@log_bin").await?;
    if super::cell(&row, 0) == "1" {
        return Ok(ask.passed(name, "the server writes one"));
    }
    let check = ask.unfollowable(name, "log_bin is OFF", "there is no log to follow");
    let fix = "-- start the server with --log-bin --server-id=1 --binlog-format=ROW";
    Ok(check.fix(fix))
}

async fn setting(
    ask: &mut Asker<'_>,
    name: &str,
    (variable, wanted): (&str, &str),
    holds: &str,
) -> Result<Check> {
    let found = match global(&mut ask.session, variable).await? {
        None => return Ok(ask.passed(name, format!("this server has no {variable}"))),
        Some(found) => found,
    };
    let said = match found.as_str() {
        "" => format!("{variable} is empty"),
        found => format!("{variable} is {found}"),
    };
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(ask.passed(name, said));
    }
    let why = format!("the log holds {holds}; sessions that are open keep their own setting");
    let check = ask.unfollowable(name, said, &why);
    Ok(check.fix(format!("SET GLOBAL {variable} = '{wanted}'")))
}

async fn log_rights(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-rights";
    let refused = facts::rights(&mut ask.session, ask.host).await?;
    Ok(match refused {
        None => ask.passed(name, "the log can be read (tried)"),
        Some(failure) => told(
            ask,
            name,
            failure,
            "the user lacks a right that following needs",
        ),
    })
}

async fn log_tables(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-tables";
    let found = facts::of_tables(&mut ask.session, ask.host, &ask.request.tables).await?;
    Ok(match found {
        None => ask.passed(name, "every change of every table is in the log"),
        Some(failure) => told(
            ask,
            name,
            failure,
            "changes of that table are not in the log",
        ),
    })
}

fn told(ask: &Asker<'_>, name: &str, failure: Failure, why: &str) -> Check {
    let Failure { what, fixes, .. } = failure;
    with_fixes(ask.unfollowable(name, what, why), fixes)
}

async fn replica(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "replica";
    if !facts::is_replica(&mut ask.session).await {
        return Ok(ask.passed(name, "the server is no replica"));
    }
    let passes_on = match global(&mut ask.session, "log_replica_updates").await? {
        None => global(&mut ask.session, "log_slave_updates").await?,
        known => known,
    };
    if passes_on.as_deref() != Some("OFF") {
        return Ok(ask.passed(name, "the server is a replica and logs what it applies"));
    }
    let found = "the server is a replica and doesn't log what it applies";
    let check = ask.unfollowable(name, found, "what comes from its primary is not in its log");
    Ok(check.fix("-- start it with --log-slave-updates, or name its primary"))
}

async fn retention(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-retention";
    let seconds = global(&mut ask.session, "binlog_expire_logs_seconds").await?;
    let days = global(&mut ask.session, "expire_logs_days").await?;
    let number = |text: Option<String>| text.and_then(|text| text.parse::<f64>().ok());
    let (seconds, days) = (number(seconds).unwrap_or(0.0), number(days).unwrap_or(0.0));
    let kept = match seconds > 0.0 {
        true => seconds as u64,
        false => (days * 86_400.0) as u64,
    };
    if kept == 0 {
        return Ok(ask.passed(name, "the log is kept until somebody purges it"));
    }
    let bytes: u64 = { ask.request.tables.iter() }
        .map(|table| table.bytes_estimate)
        .sum();
    let wanted = RETENTION_MIN_SECONDS.max(bytes / SLOW_COPY * 2);
    let found = format!("the log is kept for {} h", kept / 3_600);
    if kept >= wanted {
        return Ok(ask.passed(name, found));
    }
    let fix = match global(&mut ask.session, "binlog_expire_logs_seconds").await? {
        Some(_) => format!("SET GLOBAL binlog_expire_logs_seconds = {wanted}"),
        None => format!("SET GLOBAL expire_logs_days = {}", wanted.div_ceil(86_400)),
    };
    Ok(ask
        .warning(name, Code::LogLost, found)
        .means("a copy or a pause that takes longer loses its place in the log and starts over")
        .fix(fix))
}
