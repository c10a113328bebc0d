//! A job that follows its source, in words: for progress, `status` and the report. Reads a
//! [`FollowStatus`], decides nothing.

use std::time::Duration;

use common::state::{Intent, Phase};
use common::status::{FollowStage, FollowStatus, JobStatus};
use common::view::ChangeRates;

use crate::output;

/// The one line that says that the target is where the source is.
pub fn in_sync(follow: &FollowStatus) -> String {
    let position = follow.position.as_deref().unwrap_or("its log's end");
    format!("in sync: the target shows whole transactions of the source, as of {position}")
}

/// What a copy that has ended shows: the position, if there is one.
pub fn stands_for(status: &JobStatus) -> Option<&str> {
    let follow = status.follow.as_ref()?;
    let ended = status.phase == Phase::Completed && follow.stage == FollowStage::Standing;
    follow.position.as_deref().filter(|_| ended)
}

/// For a line of progress, while changes are applied; else nothing.
pub fn parts(status: &JobStatus) -> Vec<String> {
    let Some(follow) = &status.follow else {
        return Vec::new();
    };
    let doing = match follow.stage {
        FollowStage::Replaying => "replaying what was written meanwhile",
        FollowStage::Finishing => "applying the last changes",
        FollowStage::Following if follow.caught_up => "in sync",
        FollowStage::Following => "catching up",
        _ => return Vec::new(),
    };
    let mut parts = vec![doing.to_owned()];
    if status.intent == Intent::Pause {
        parts = vec!["paused".to_owned()];
    }
    parts.extend(lag(follow));
    let rows = output::count(follow.applied.rows());
    parts.push(format!("{rows} changes applied"));
    let rate = follow.applied_per_second.rows();
    if rate > 0.0 {
        parts.push(format!("{}/s", output::short(rate)));
    }
    parts.extend(status.limited_by.iter().cloned());
    parts
}

/// `lag 0.1 s, 12 KiB`
fn lag(follow: &FollowStatus) -> Option<String> {
    let ms = follow.lag_ms?;
    let mut text = format!("lag {}", seconds(ms));
    if let Some(bytes) = follow.lag_bytes.filter(|bytes| *bytes > 0) {
        text.push_str(&format!(", {}", output::bytes(bytes)));
    }
    Some(text)
}

fn seconds(ms: u64) -> String {
    match ms {
        ..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => output::duration(Duration::from_millis(ms)),
    }
}

/// For `sterna status`.
pub fn lines(status: &JobStatus) -> Vec<String> {
    let Some(follow) = &status.follow else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let paused = status.intent == Intent::Pause && !status.phase.is_ended();
    let stage = match follow.stage {
        FollowStage::Following if paused => "paused",
        FollowStage::Securing => "the source's log is being secured",
        FollowStage::Secured => "the source keeps its log; rows are copied",
        FollowStage::Replaying => "what was written while copying is replayed",
        FollowStage::Following if follow.caught_up => "in sync",
        FollowStage::Following => "catching up",
        FollowStage::Finishing => "the last changes are applied",
        FollowStage::Standing => "stands",
    };
    let mut line = format!("follow      {stage}");
    if let Some(since) = follow.caught_up_since_ms {
        let time = Duration::from_millis(status.now_ms.since(since));
        line.push_str(&format!(" since {}", output::duration(time)));
    }
    if follow.completing && !status.phase.is_ended() {
        line.push_str("  (complete asked for)");
    }
    lines.push(line);
    if let Some(position) = &follow.position {
        lines.push(format!("position    {position}"));
    } else if let Some(position) = &follow.secured_position {
        lines.push(format!("position    {position}  (secured)"));
    }
    if let Some(lag) = lag(follow) {
        lines.push(format!("lag         {}", lag.trim_start_matches("lag ")));
        lines.push(format!("headroom    {}", headroom(follow)));
        lines.push(format!(
            "read        {}",
            rates(&follow.read_per_second, follow.read.rows())
        ));
        let applied = rates(&follow.applied_per_second, follow.applied.rows());
        lines.push(format!("applied     {applied}"));
    }
    if let Some(warning) = &follow.warning {
        lines.push(format!("warning     {warning}"));
    }
    lines
}

fn headroom(follow: &FollowStatus) -> String {
    let bytes = follow.headroom_bytes.map(output::bytes);
    let time = follow
        .headroom_ms
        .map(|ms| format!("{:.1} h", ms as f64 / 3_600_000.0));
    match (bytes, time) {
        (None, None) => "no bound".to_owned(),
        (Some(bytes), None) => format!("{bytes} of log"),
        (None, Some(time)) => format!("{time} of log"),
        (Some(bytes), Some(time)) => format!("{bytes}, {time} of log"),
    }
}

fn rates(rates: &ChangeRates, total: u64) -> String {
    format!(
        "{} inserts/s, {} updates/s, {} deletes/s, {} transactions/s; {} changes",
        output::short(rates.inserts),
        output::short(rates.updates),
        output::short(rates.deletes),
        output::short(rates.transactions),
        output::count(total),
    )
}
