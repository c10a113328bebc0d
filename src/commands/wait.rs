//! `sterna wait`: until a job is in a phase, can't get there any more, or the time is over.

use std::time::Duration;

use common::code::{Code, Failure};
use common::state::Phase;
use common::status::JobStatus;
use tokio::time::{Instant, sleep_until};

use crate::cli::{Global, Output, WaitArgs};
use crate::client::Client;
use crate::error::Result;
use crate::output;
use crate::signals::Signals;

const POLL: Duration = Duration::from_millis(200);

pub async fn run(args: WaitArgs, client: &Client, global: &Global, signals: Signals) -> Result<u8> {
    until(
        &args.job.job,
        args.phase,
        args.timeout,
        client,
        global,
        signals,
    )
    .await
}

/// Waits; prints where the job stands at the end.
pub async fn until(
    job: &str,
    phase: Phase,
    timeout: Duration,
    client: &Client,
    global: &Global,
    mut signals: Signals,
) -> Result<u8> {
    let waiting = reach(job, phase, timeout, client);
    let status = tokio::select! {
        status = waiting => status?,
        stop = signals.stop() => return Ok(stop.exit()),
    };
    match global.output {
        Output::Json => output::json(&status)?,
        Output::Table => output::note(global.quiet, &format!("{job}: {}", status.phase)),
    }
    Ok(0)
}

async fn reach(job: &str, phase: Phase, timeout: Duration, client: &Client) -> Result<JobStatus> {
    let deadline = Instant::now() + timeout;
    let mut last: Option<JobStatus> = None;
    loop {
        match client.job(job).await {
            Ok(status) => {
                if let Some(end) = judge(&status, phase) {
                    return end.map(|()| status);
                }
                last = Some(status);
            }
            // A cluster that was there may be electing a leader or restarting.
            Err(failure) if last.is_some() && lost(&failure) => {}
            Err(failure) => return Err(failure),
        }
        if Instant::now() >= deadline {
            let at = last.map_or("unknown".to_owned(), |status| status.phase.to_string());
            let what = format!("job {job} is {at}, not {phase}");
            return Err(Failure::new(Code::TimedOut, what));
        }
        sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
}

fn lost(failure: &Failure) -> bool {
    matches!(failure.code, Code::NoLeader | Code::NoCoordinator)
}

/// None = go on waiting.
fn judge(status: &JobStatus, wanted: Phase) -> Option<Result<()>> {
    let phase = status.phase;
    let failed = |phase| matches!(phase, Phase::Failed | Phase::Cancelled);
    if phase == wanted || (!failed(phase) && !failed(wanted) && phase > wanted) {
        return Some(Ok(()));
    }
    match (phase, &status.failure) {
        (Phase::Failed, Some(failure)) => Some(Err(failure.clone())),
        _ if phase.is_ended() => {
            let what = format!("job {} is {phase} and will not be {wanted}", status.job);
            Some(Err(Failure::new(Code::WrongState, what)))
        }
        _ => None,
    }
}
