//! What a job that compares or repairs says.

use super::{DifferingStatus, VerifyStatus};
use crate::code::Code;
use crate::job::Purpose;
use crate::state::Job;
use crate::verify::Counts;

pub(super) fn verify_status(job: &Job) -> Option<VerifyStatus> {
    if job.spec.purpose.is_migration() {
        return None;
    }
    let plan = job.plan.as_ref();
    let differing = job.differing.values().filter_map(|found| {
        Some(DifferingStatus {
            range: job.range(found.range)?,
            counts: found.counts,
            listed: found.listed.clone(),
        })
    });
    let all = counts(job);
    let told: u64 = { job.differing.values().flat_map(|found| &found.listed) }
        .map(|row| row.copies.max(1))
        .sum();
    let sampled = matches!(&job.spec.purpose, Purpose::Verify(o) if o.sample_permille.is_some());
    Some(VerifyStatus {
        tables: job.verdicts.clone(),
        schema: plan.map_or_else(Vec::new, |plan| plan.schema_differences.clone()),
        differing: differing.collect(),
        untold: (all.differing() + all.in_flight + all.representation).saturating_sub(told),
        sampled,
        dry_run: matches!(&job.spec.purpose, Purpose::Repair(options) if options.dry_run),
    })
}

fn counts(job: &Job) -> Counts {
    let mut all = Counts::default();
    job.verdicts
        .iter()
        .for_each(|verdict| all.merge(&verdict.counts));
    all
}

/// What a Completed job ends with: the worst of what it found.
pub(super) fn exit_code(job: &Job) -> u8 {
    if job.spec.purpose.is_migration() {
        return 0;
    }
    let all = counts(job);
    let schema = job
        .plan
        .as_ref()
        .is_some_and(|plan| !plan.schema_differences.is_empty());
    let compares = matches!(job.spec.purpose, Purpose::Verify(_));
    if all.differing() > 0 || (schema && compares) {
        Code::Differences.exit()
    } else if all.in_flight > 0 {
        Code::Inconclusive.exit()
    } else {
        0
    }
}
