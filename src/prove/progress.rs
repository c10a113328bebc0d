//! A comparison that runs or has ended: rows, ranges and what was found so far.

use common::state::Phase;
use common::status::{JobStatus, VerifyStatus};

use super::total;
use crate::output;

/// Rows that were compared, counted once though they are read at both ends; None = the job
/// compares nothing now.
pub fn compared(status: &JobStatus) -> Option<u64> {
    let verify = begun(status)?;
    let rows = { verify.tables.iter() }.map(|t| t.at_source.rows.max(t.at_target.rows));
    Some(rows.sum())
}

/// Ranges that are done, of 100; None = the job compares nothing now.
pub fn percent(status: &JobStatus) -> Option<u64> {
    let (done, all) = ranges(begun(status)?);
    Some((done * 100).checked_div(all).unwrap_or(0))
}

/// `12 of 40 ranges`, `3 rows differ`.
pub fn parts(status: &JobStatus) -> Option<Vec<String>> {
    let verify = begun(status)?;
    let (done, all) = ranges(verify);
    let mut parts = vec![format!(
        "{} of {} ranges",
        output::count(done),
        output::count(all)
    )];
    let repaired = |t: &common::verify::TableVerdict| t.inserted + t.updated + t.deleted;
    let repaired: u64 = verify.tables.iter().map(repaired).sum();
    if repaired > 0 {
        parts.push(format!("{} rows mended", output::count(repaired)));
    }
    let counts = total(verify);
    if counts.differing() > 0 {
        parts.push(format!("{} rows differ", output::count(counts.differing())));
    }
    if counts.in_flight > 0 {
        parts.push(format!("{} in flight", output::count(counts.in_flight)));
    }
    Some(parts)
}

fn begun(status: &JobStatus) -> Option<&VerifyStatus> {
    let now = matches!(
        status.phase,
        Phase::Verifying | Phase::Repairing | Phase::Completed
    );
    status.verify.as_deref().filter(|_| now)
}

fn ranges(verify: &VerifyStatus) -> (u64, u64) {
    let tables = || verify.tables.iter();
    (
        tables().map(|table| u64::from(table.ranges_done)).sum(),
        tables().map(|table| u64::from(table.ranges)).sum(),
    )
}
