//! What a finished job is told as: the tables with their rows, what was proven and how. Reads a
//! [`JobStatus`], decides nothing.

use std::time::Duration;

use common::cut::{AcceptedLoss, Cut};
use common::job::VerifyMode;
use common::state::SourceProof;
use common::status::{JobStatus, TableStatus};
use serde_json::json;

use crate::following;
use crate::output;

/// The report for people.
pub fn text(status: &JobStatus, verify: VerifyMode) -> String {
    let rows = status.tables.iter().map(|table| {
        vec![
            table.name.clone(),
            output::count(table.rows_copied),
            output::bytes(table.bytes_copied),
            table.partitions.to_string(),
            verified(table).to_owned(),
            table.cut.as_ref().map_or_else(String::new, Cut::to_string),
        ]
    });
    let headers = ["TABLE", "#ROWS", "#BYTES", "#PARTITIONS", "VERIFIED", "CUT"];
    let mut lines = vec![output::table(&headers, rows.collect()), String::new()];
    let time = took(status);
    let mut sum = format!(
        "{} tables, {} rows, {} in {}",
        status.tables.len(),
        output::count(status.rows_copied),
        output::bytes(status.bytes_copied),
        output::duration(time),
    );
    if time.as_secs_f64() > 0.5 {
        let rate = status.rows_copied as f64 / time.as_secs_f64();
        sum.push_str(&format!(" ({} rows/s)", output::short(rate)));
    }
    lines.push(sum);
    if let Some(position) = following::stands_for(status) {
        lines.push(format!("position  target = source as of {position}"));
    }
    lines.push(format!("target    {}", proof(status, verify)));
    lines.push(format!("source    {}", source(status.source_proof)));
    if status.partitions.redone > 0 {
        let redone = output::count(status.partitions.redone);
        lines.push(format!(
            "redone    {redone} partitions, after a loss or a failure"
        ));
    }
    lines.extend({ accepted(status).into_iter() }.map(|loss| format!("accepted  {loss}")));
    for note in &status.notes {
        lines.push(format!("note      {note}"));
    }
    lines.join("\n")
}

/// The losses that the user accepted, a line each; what happened to how many values isn't counted.
pub fn accepted(status: &JobStatus) -> Vec<String> {
    let of_table = |table: &TableStatus| {
        let name = table.target.clone();
        let losses = table.accepted.iter().map(move |one| {
            let AcceptedLoss { column, code } = one;
            format!("{code} in {name}.{column}: {}", code.accepted())
        });
        losses.collect::<Vec<String>>()
    };
    status.tables.iter().flat_map(of_table).collect()
}

/// The report for scripts: the status and what follows from it.
pub fn json(status: &JobStatus, verify: VerifyMode) -> serde_json::Value {
    let mut value = json!(status);
    value["report"] = json!({
        "seconds": took(status).as_secs_f64(),
        "tables": status.tables.len(),
        "rows": status.rows_copied,
        "bytes": status.bytes_copied,
        "partitions_redone": status.partitions.redone,
        "verified": status.verified,
        "proof": proof(status, verify),
        "source_proof": status.source_proof,
        "position": following::stands_for(status),
        "losses_accepted": accepted(status),
        "notes": status.notes,
    });
    value
}

fn verified(table: &TableStatus) -> &'static str {
    match (table.verified, table.written_since) {
        (true, _) => "yes",
        (false, true) => "written since",
        (false, false) => "no",
    }
}

fn took(status: &JobStatus) -> Duration {
    let end = status.ended_at_ms.unwrap_or(status.now_ms);
    Duration::from_millis(end.since(status.submitted_at_ms))
}

fn proof(status: &JobStatus, verify: VerifyMode) -> &'static str {
    match (status.verified, verify) {
        (true, _) => "verified: every row was read back and is equal to the source's",
        (false, _) if status.tables.iter().any(|table| table.written_since) => {
            "NOT verified where the source was written to since (see the notes): `sterna verify` \
             compares both ends as they are"
        }
        (false, VerifyMode::None) => "NOT verified, as asked",
        (false, VerifyMode::Full) => "NOT verified",
    }
}

fn source(proof: SourceProof) -> &'static str {
    match proof {
        SourceProof::Unmoved => "was not written to meanwhile: the copy shows one moment",
        SourceProof::Reread => "was read again and still equal: the copy shows one moment",
        SourceProof::Waived => "may have been written to meanwhile, as allowed",
        SourceProof::Replayed => "was followed: what was written meanwhile is in the target",
        SourceProof::Open => "not checked for changes",
    }
}
