//! `sterna verify`: two databases compared row by row, in this process as `clone` runs or by the
//! workers of a cluster. What is told of it is in [`crate::prove`].

mod cluster;

use common::change::{DriftMode, FollowMode};
use common::code::{Code, Failure};
use common::job::{JobSpec, Purpose, TargetMode, VerifyMode};
use common::schema::Engine;
use common::status::JobStatus;
use common::verify::VerifyOptions;

use crate::cli::{Global, Output, VerifyArgs};
use crate::error::{self, Result};
use crate::prove::{self, Proof};
use crate::run::{self, Ask, End};
use crate::signals::Signals;
use crate::{html, job, output, repair_plan};

pub async fn run(args: VerifyArgs, global: &Global, signals: Signals) -> Result<u8> {
    refuse_options_of_a_copy(&args)?;
    // Told now, not after hours of reading.
    for path in [&args.plan, &args.html].into_iter().flatten() {
        html::writable(path)?;
    }
    if args.of.is_some() {
        return cluster::run(&args, global, signals).await;
    }
    let (spec, secrets) = job::asked(&args.job)?;
    let spec = as_verify(spec, options(&args));
    valid(&spec)?;
    let ask = Ask {
        spec: &spec,
        secrets,
        workers: args.job.workers,
        slots: args.job.slots,
        state_dir: args.state_dir.as_deref(),
        progress: args.progress,
        complete: false,
    };
    match run::run(ask, global, signals).await? {
        End::Stopped(stop) => Ok(run::stopped(stop, "what was compared is kept", global)),
        End::Done(ended) => {
            run::completed(&ended.status)?;
            let exit = finished(&ended.status, &spec, &args, global)?;
            ended.told();
            Ok(exit)
        }
    }
}

fn options(args: &VerifyArgs) -> VerifyOptions {
    VerifyOptions {
        columns: args.columns.clone(),
        // Of a thousand ranges all of them are no sample.
        sample_permille: args.sample.filter(|permille| *permille < 1_000),
        fast: args.fast,
        rows_per_second: args.rate,
        following: None,
    }
}

/// The job that compares what `spec` copies: how to copy it is of no interest.
fn as_verify(spec: JobSpec, options: VerifyOptions) -> JobSpec {
    JobSpec {
        purpose: Purpose::Verify(options),
        target_mode: TargetMode::default(),
        verify: VerifyMode::default(),
        allow_changing_source: false,
        follow: FollowMode::Off,
        drift: DriftMode::default(),
        from: None,
        ..spec
    }
}

fn valid(spec: &JobSpec) -> Result<()> {
    let fast = matches!(&spec.purpose, Purpose::Verify(options) if options.fast);
    let (from, to) = (spec.source.engine(), spec.target.engine());
    if fast && (from != to || from == Some(Engine::Sqlite)) {
        let what = "--fast: two servers of one engine fold rows alike, these two don't";
        let fix = "leave it out: rows are read and folded here";
        return Err(Failure::new(Code::Usage, what).fix(fix));
    }
    let problems = spec.problems();
    let lines = { problems.iter() }.map(|problem| format!("{}: {}", problem.path, problem.message));
    match problems.is_empty() {
        true => Ok(()),
        false => {
            let what = lines.collect::<Vec<_>>().join("\n");
            Err(Failure::new(Code::Usage, what))
        }
    }
}

/// An option that would do nothing is refused, so that nobody relies on it.
fn refuse_options_of_a_copy(args: &VerifyArgs) -> Result<()> {
    let job = &args.job;
    let given = [
        (job.follow, "--follow"),
        (job.no_replay, "--no-replay"),
        (job.drift.is_some(), "--drift"),
        (job.target_mode.is_some(), "--target-mode"),
        (job.verify.is_some(), "--verify"),
        (job.allow_changing_source, "--allow-changing-source"),
    ];
    let names: Vec<&str> = { given.iter() }
        .filter(|(given, _)| *given)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = format!(
        "{}: says how to copy, and verify copies nothing",
        names.join(", ")
    );
    Err(Failure::new(Code::Usage, what).fix("leave it out"))
}

/// Writes and prints the reports of a completed job; the exit status.
fn finished(status: &JobStatus, spec: &JobSpec, args: &VerifyArgs, global: &Global) -> Result<u8> {
    let proof = Proof::of(status, args.plan.as_deref())?;
    if let Some(path) = &args.plan {
        repair_plan::write(path, spec, proof.verify)?;
    }
    if let Some(path) = &args.html {
        html::write(path, &prove::page(&proof))?;
    }
    match global.output {
        Output::Json => output::json(&prove::json(&proof))?,
        Output::Table => output::line(&prove::text(&proof))?,
    }
    if let Some(failure) = proof.failure() {
        // On stderr alone: the report on stdout holds it already.
        error::lines(&failure, crate::telemetry::color(global));
    }
    Ok(proof.exit())
}

#[cfg(test)]
mod tests;
