//! `sterna plan`: what a job would do, made in this process from both ends and shown. Changes
//! nothing, keeps nothing, needs no cluster.

mod estimate;
mod outcome;
mod shape;
mod text;

use common::job::JobSpec;
use worker::preview;

use self::outcome::Outcome;
use crate::cli::{Global, Output, PlanArgs};
use crate::error::{self, Result};
use crate::signals::Signals;
use crate::{job, output, telemetry};

pub async fn run(args: PlanArgs, global: &Global, mut signals: Signals) -> Result<u8> {
    let (spec, secrets) = job::asked(&args.job)?;
    let slots = args.job.workers * args.job.slots;
    let asking = Box::pin(preview::preview(&spec, &secrets, slots));
    let seen = tokio::select! {
        seen = asking => seen.map_err(|error| error.failure)?,
        stop = signals.stop() => return Ok(stop.exit()),
    };
    let mut outcome = Outcome::of(seen, &spec, slots);
    if let Some(plan) = &outcome.plan {
        let ddl = preview::ddl(&spec, &secrets, plan).map_err(|error| error.failure)?;
        outcome.ddl = ddl;
    }
    show(&outcome, &spec, &args, global)?;
    Ok(refuse(&outcome, global))
}

fn show(outcome: &Outcome, spec: &JobSpec, args: &PlanArgs, global: &Global) -> Result<()> {
    match (global.output, args.ddl) {
        (Output::Json, _) => output::json(&shape::json(outcome, spec)),
        // A script is run from its first line to its last: half a one is none.
        (Output::Table, true) if outcome.problems.is_empty() => output::line(&text::ddl(outcome)),
        (Output::Table, true) => Ok(()),
        (Output::Table, false) => output::line(&text::text(outcome, spec, args.all_columns)),
    }
}

/// Says on stderr what stands in the way; the exit status. As JSON it is part of the plan.
fn refuse(outcome: &Outcome, global: &Global) -> u8 {
    let Some(failure) = outcome.refusal() else {
        return 0;
    };
    let exit = failure.code.exit();
    error::report(&failure, exit, Output::Table, telemetry::color(global));
    exit
}
