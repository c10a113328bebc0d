//! `sterna verify -j JOB`: what a job of the cluster copied, compared by the cluster's workers.

use std::time::Duration;

use common::code::{Code, Failure};
use common::id::JobUid;
use common::job::{JobSpec, Purpose};
use common::state::{Intent, Phase};
use common::status::JobStatus;
use tokio::time::{Instant, sleep};

use super::{as_verify, finished, options, valid};
use crate::cli::{Global, VerifyArgs};
use crate::client::{Client, new_uid};
use crate::error::{self, Result};
use crate::job;
use crate::progress::Progress;
use crate::signals::{Signals, Stop};

const POLL: Duration = Duration::from_millis(200);
/// Names that others take at the same moment.
const NAMES_TRIED: usize = 8;
const NAME_MAX: usize = 64;

pub async fn run(args: &VerifyArgs, global: &Global, mut signals: Signals) -> Result<u8> {
    let client = Client::new(&global.cluster)?;
    let mut progress = Progress::new(args.progress, global);
    let name = args.of.as_deref().unwrap_or_default();
    let mut begun = None;
    let end = tokio::select! {
        end = compare(&client, name, args, &mut progress, &mut begun) => Ok(end?),
        stop = signals.stop() => Err(stop),
    };
    progress.finish();
    match end {
        Ok((status, spec)) => {
            crate::run::completed(&status)?;
            finished(&status, &spec, args, global)
        }
        Err(stop) => Ok(left(begun.as_deref().unwrap_or(name), stop, global)),
    }
}

/// Begins the comparison, or finds the one that is going on, and waits for its end.
async fn compare(
    client: &Client,
    name: &str,
    args: &VerifyArgs,
    progress: &mut Progress,
    begun: &mut Option<String>,
) -> Result<(JobStatus, JobSpec)> {
    let (of, spec) = (client.job(name).await?, client.spec(name).await?);
    let spec = match &spec.purpose {
        // Its report once more.
        Purpose::Verify(_) => spec,
        Purpose::Migrate | Purpose::Repair(_) => {
            let wanted = derived(&of, spec, args)?;
            begin(client, &of.job, wanted, progress).await?
        }
    };
    *begun = Some(spec.name.clone());
    let status = watch(client, &spec.name, args.timeout, progress).await?;
    Ok((status, spec))
}

/// The comparison of what the job `of` copied.
fn derived(of: &JobStatus, spec: JobSpec, args: &VerifyArgs) -> Result<JobSpec> {
    let following = of.phase == Phase::Following;
    if !following && !of.phase.is_ended() {
        let what = format!("{} is {}: its target is not whole yet", of.job, of.phase);
        let fix = format!("sterna wait -j {}", of.job);
        return Err(Failure::new(Code::WrongState, what).fix(fix));
    }
    if following && of.intent == Intent::Pause {
        let what = format!(
            "{} is paused: its target stands still, its source doesn't",
            of.job
        );
        let fix = format!("sterna resume -j {}", of.job);
        return Err(Failure::new(Code::WrongState, what).fix(fix));
    }
    let mut options = options(args);
    options.following = following.then(|| JobUid(of.uid.clone()));
    let mut spec = as_verify(spec, options);
    job::add_options(&args.job, &mut spec);
    valid(&spec)?;
    Ok(spec)
}

/// Submits it as NAME-verify-N; the same command again finds what it has begun.
async fn begin(
    client: &Client,
    of: &str,
    mut spec: JobSpec,
    progress: &Progress,
) -> Result<JobSpec> {
    let jobs = client.jobs().await?.jobs;
    let names: Vec<&str> = jobs.iter().map(|job| job.job.as_str()).collect();
    let last = last_number(of, &names);
    let running = |name: &str| jobs.iter().any(|j| j.job == name && !j.phase.is_ended());
    let latest = numbered(of, last);
    if last > 0 && running(&latest) {
        let there = client.spec(&latest).await?;
        spec.name = latest;
        if there == spec {
            progress.say(&format!("{} is going on already", spec.name));
            return Ok(spec);
        }
    }
    let uid = new_uid();
    for number in (last + 1..).take(NAMES_TRIED) {
        spec.name = numbered(of, number);
        match client.submit(&spec, &uid).await {
            Err(failure) if failure.code == Code::JobExists => {}
            Err(failure) => return Err(failure),
            Ok(_) => {
                progress.say(&format!("submitted {}", spec.name));
                return Ok(spec);
            }
        }
    }
    let what = format!("{}: and the names before it", spec.name);
    Err(Failure::new(Code::JobExists, what))
}

/// `shop-verify-3`, within what a name may have.
fn numbered(of: &str, number: u64) -> String {
    let tail = format!("-verify-{number}");
    // Names are ASCII.
    let head: String = of.chars().take(NAME_MAX - tail.len()).collect();
    format!("{head}{tail}")
}

/// The highest number among `names`; 0 = none.
fn last_number(of: &str, names: &[&str]) -> u64 {
    let number = |name: &&str| {
        let number = name.rsplit_once("-verify-")?.1.parse::<u64>().ok()?;
        (numbered(of, number) == **name).then_some(number)
    };
    names.iter().filter_map(number).max().unwrap_or(0)
}

async fn watch(
    client: &Client,
    name: &str,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<JobStatus> {
    let deadline = Instant::now() + timeout;
    let lost = |failure: &Failure| matches!(failure.code, Code::NoLeader | Code::NoCoordinator);
    loop {
        match client.job(name).await {
            Ok(status) => {
                progress.update(&status);
                if status.phase.is_ended() {
                    return Ok(status);
                }
            }
            // A cluster that was there may be electing a leader or restarting.
            Err(failure) if lost(&failure) => {}
            Err(failure) => return Err(failure),
        }
        if Instant::now() >= deadline {
            let what = format!("{name} has not ended");
            let fix = format!("the job goes on: sterna verify -j {name} waits for it");
            return Err(Failure::new(Code::TimedOut, what).fix(fix));
        }
        sleep(POLL).await;
    }
}

/// The cluster goes on: says how to see its end, and how to end it.
fn left(name: &str, stop: Stop, global: &Global) -> u8 {
    let failure = Failure::new(Code::Interrupted, format!("{name} goes on in the cluster"))
        .fix(format!("to see its end: sterna verify -j {name}"))
        .fix(format!("to end it: sterna cancel -j {name}"));
    let color = crate::telemetry::color(global);
    error::report(&failure, stop.exit(), global.output, color);
    stop.exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_fit() {
        let names = [
            "shop",
            "shop-verify-2",
            "shop-verify-10",
            "shopping-verify-99",
            "shop-verify-x",
        ];
        assert_eq!(last_number("shop", &names), 10);
        assert_eq!(last_number("other", &names), 0);
        let long = "x".repeat(64);
        let name = numbered(&long, 12);
        assert_eq!(name.len(), NAME_MAX);
        assert_eq!(last_number(&long, &[&name]), 12);
    }
}
