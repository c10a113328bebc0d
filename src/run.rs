//! One job in one process, from its submission to its end: what `clone`, `verify` and `repair`
//! share. The same command again goes on, because it opens the same state directory and finds the
//! job there; a signal stops it cleanly. What its end is told as is the commands' own.

use std::path::Path;
use std::time::Duration;

use common::change::FollowMode;
use common::code::{Code, Failure};
use common::job::{JobSpec, TargetMode};
use common::state::{Intent, Phase};
use common::status::JobStatus;
use tokio::time::{Instant, sleep, timeout};
use worker::secret::Secrets;

use crate::cli::{Global, ProgressMode};
use crate::client::{Client, new_uid};
use crate::embedded::Embedded;
use crate::error::{self, Result};
use crate::progress::Progress;
use crate::signals::{Signals, Stop};
use crate::state_dir::{StateDir, Submitted};
use crate::{endpoint, following, output};

const POLL: Duration = Duration::from_millis(150);
/// A job that has ended is noticed at once; a status that takes its time is asked for less often.
const WATCH_POLL: Duration = Duration::from_millis(40);
/// To roll back what is in flight and say good-bye.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// To end an older job, whose transactions must be resolved in the target.
const CANCEL_DEADLINE: Duration = Duration::from_secs(120);

/// A job and how this process runs it.
pub struct Ask<'a> {
    pub spec: &'a JobSpec,
    pub secrets: Secrets,
    pub workers: u32,
    pub slots: u32,
    /// None = the directory of these two databases, below `$XDG_STATE_HOME/sterna`.
    pub state_dir: Option<&'a Path>,
    pub progress: ProgressMode,
    /// End a job that follows.
    pub complete: bool,
}

/// How the run ended.
pub enum End {
    /// By a signal; see [`stopped`].
    Stopped(Stop),
    /// The job is Completed, Failed or Cancelled; see [`completed`].
    Done(Box<Ended>),
}

/// A job that has ended and was not told of yet.
pub struct Ended {
    pub status: JobStatus,
    dir: StateDir,
}

impl Ended {
    /// Its end was told: the same command again is a new job.
    pub fn told(mut self) {
        if let Err(failure) = self.dir.reported() {
            tracing::warn!(%failure, "the next run will report this job again");
        }
    }
}

/// Runs the job until it has ended or a signal says stop.
pub async fn run(ask: Ask<'_>, global: &Global, mut signals: Signals) -> Result<End> {
    let mut dir = StateDir::open(ask.state_dir, ask.spec)?;
    let mut progress = Progress::new(ask.progress, global);
    let embedded = Embedded::start(&dir.data(), ask.workers, ask.slots, ask.secrets).await?;
    let asked = (ask.spec, ask.complete);
    let end = tokio::select! {
        end = drive(&embedded, &mut dir, asked, &mut progress, &mut signals) => end,
        failure = embedded.failed() => Err(failure),
    };
    progress.finish();
    if let Ok(Watched::Stopped(_)) = &end {
        output::note(global.quiet, "stopping: work in flight is rolled back …");
    }
    // Whatever is still open is resolved by the next run: leaving late helps nobody.
    if timeout(STOP_DEADLINE, embedded.stop()).await.is_err() {
        tracing::warn!("the workers didn't stop in time");
    }
    Ok(match end? {
        Watched::Stopped(stop) => End::Stopped(stop),
        Watched::Done(status) => End::Done(Box::new(Ended {
            status: *status,
            dir,
        })),
    })
}

/// An error unless the job is Completed.
pub fn completed(status: &JobStatus) -> Result<()> {
    match (status.phase, &status.failure) {
        (Phase::Completed, _) => Ok(()),
        (_, Some(failure)) => Err(failure.clone()),
        (phase, None) => {
            let what = format!("the job is {phase}");
            Err(Failure::new(Code::WrongState, what))
        }
    }
}

/// How watching the job ended.
enum Watched {
    Stopped(Stop),
    Done(Box<JobStatus>),
}

/// Starts or continues the job and watches it.
async fn drive(
    embedded: &Embedded,
    dir: &mut StateDir,
    (spec, complete): (&JobSpec, bool),
    progress: &mut Progress,
    signals: &mut Signals,
) -> Result<Watched> {
    let client = Client::new(&embedded.addresses())?;
    let mut stop = signals.clone();
    tokio::select! {
        begun = begin(&client, dir, spec, progress) => begun?,
        stop = stop.stop() => return Ok(Watched::Stopped(stop)),
    }
    if complete {
        // Too late for a job that has ended meanwhile: then that is what is reported.
        match client.set_intent(&spec.name, "complete").await {
            Err(failure) if failure.code != Code::WrongState => return Err(failure),
            _ => progress.say("completing: what the source's log holds now is the last"),
        }
    } else if spec.follow == FollowMode::Live {
        let (address, name) = (embedded.addresses().join(","), &spec.name);
        progress.say(&format!(
            "meanwhile, elsewhere: sterna -C {address} status|pause|resume|complete -j {name}"
        ));
    }
    let stop = tokio::select! {
        status = watch(&client, spec, progress) => return Ok(Watched::Done(Box::new(status?))),
        stop = signals.stop() => stop,
    };
    // So that the workers are given nothing new while they stop.
    let pause = client.set_intent(&spec.name, "pause");
    if let Ok(Err(failure)) = timeout(Duration::from_secs(3), pause).await {
        tracing::info!(%failure, "the job was not paused");
    }
    Ok(Watched::Stopped(stop))
}

async fn watch(client: &Client, spec: &JobSpec, progress: &mut Progress) -> Result<JobStatus> {
    let mut in_sync = false;
    loop {
        let asked = Instant::now();
        let status = client.job(&spec.name).await?;
        let pause = WATCH_POLL.max(asked.elapsed() * 5);
        progress.update(&status);
        let caught_up = status.follow.as_ref().filter(|follow| follow.caught_up);
        let live = caught_up.filter(|_| status.phase == Phase::Following);
        if let (Some(follow), false) = (live, in_sync) {
            in_sync = true;
            progress.say(&following::in_sync(follow));
        }
        if status.phase.is_ended() {
            return Ok(status);
        }
        sleep(pause).await;
    }
}

/// What to do about the job that an earlier run left in the state directory.
#[derive(Debug, PartialEq)]
enum Next {
    Submit,
    Continue,
    Resume,
    /// Cancel it, then submit.
    Replace,
    Refuse(Failure),
}

/// `same`: it was submitted with the same options as now.
fn decide(before: Option<&JobStatus>, same: bool, spec: &JobSpec) -> Next {
    let Some(before) = before else {
        return Next::Submit;
    };
    if matches!(before.phase, Phase::Completed | Phase::Cancelled) {
        return Next::Submit;
    }
    // The plan comes with the change to Creating: without one the target is untouched.
    let untouched = before.tables.is_empty();
    // Rows that are wrong already don't get right by going on.
    let spoiled = before.phase == Phase::Failed
        && before
            .failure
            .as_ref()
            .is_some_and(|failure| is_spoiled(failure.code));
    // What another comparison or repair has done is of no harm to the next.
    let anew = matches!(
        spec.target_mode,
        TargetMode::Recreate | TargetMode::Truncate
    ) || !spec.purpose.is_migration();
    match (before.phase, before.intent) {
        // A cancelling job can't be continued: it ends first.
        (_, Intent::Cancel) => Next::Replace,
        _ if !same && (untouched || anew) => Next::Replace,
        _ if spoiled && anew => Next::Replace,
        _ if !same => Next::Refuse(other_options(before)),
        (Phase::Failed, _) | (_, Intent::Pause) => Next::Resume,
        _ => Next::Continue,
    }
}

/// What going on doesn't mend.
fn is_spoiled(code: Code) -> bool {
    use Code::{Differences, LogLost, SourceChanged, SourceOther};
    matches!(code, SourceChanged | Differences | LogLost | SourceOther)
}

fn other_options(before: &JobStatus) -> Failure {
    let what = format!(
        "{} -> {} is half done ({}) with other options than these",
        before.source, before.target, before.phase
    );
    Failure::new(Code::WrongState, what)
        .fix("run it with the options of the first time to go on, or")
        .fix("add --target-mode recreate to start over")
}

async fn begin(
    client: &Client,
    dir: &mut StateDir,
    spec: &JobSpec,
    progress: &Progress,
) -> Result<()> {
    // Ours from here on: the coordinator holds the directory's lock.
    dir.remember(None)?;
    // An earlier run of these two databases may have had another name, from a job file.
    let earlier = dir.submitted().map_or(&spec.name, |s| &s.spec.name);
    let before = client.find_job(earlier).await?;
    let same = match (&before, dir.submitted()) {
        (Some(job), Some(submitted)) => submitted.uid == job.uid && submitted.spec == *spec,
        _ => false,
    };
    // Killed between the job's end and its report: what is left to do is to report.
    let untold = same && dir.submitted().is_some_and(|submitted| !submitted.reported);
    if untold
        && before
            .as_ref()
            .is_some_and(|job| job.phase == Phase::Completed)
    {
        return Ok(());
    }
    let next = decide(before.as_ref(), same, spec);
    tracing::info!(?next, state_dir = %dir.path().display(), "a run begins");
    match next {
        Next::Refuse(failure) => return Err(failure),
        Next::Continue => {
            progress.say("going on where an earlier run stopped");
            return Ok(());
        }
        Next::Resume => {
            progress.say("going on where an earlier run stopped");
            return resume(client, &spec.name).await;
        }
        Next::Replace => {
            progress.say("ending the earlier run's job, which had other options");
            cancel(client, before.as_ref().map_or(&spec.name, |job| &job.job)).await?;
        }
        Next::Submit => {}
    }
    let uid = new_uid();
    let submitted = Submitted {
        uid: uid.clone(),
        spec: spec.clone(),
        reported: false,
    };
    dir.remember(Some(submitted))?;
    client.submit(spec, &uid).await.map(|_| ())
}

/// A job that is still stopping can't go on yet.
async fn resume(client: &Client, name: &str) -> Result<()> {
    let deadline = Instant::now() + STOP_DEADLINE;
    loop {
        match client.set_intent(name, "run").await {
            Err(failure) if failure.code == Code::WrongState && Instant::now() < deadline => {
                sleep(POLL).await;
            }
            result => return result.map(|_| ()),
        }
    }
}

async fn cancel(client: &Client, name: &str) -> Result<()> {
    client.set_intent(name, "cancel").await?;
    let deadline = Instant::now() + CANCEL_DEADLINE;
    while Instant::now() < deadline {
        let status = client.job(name).await?;
        if matches!(status.phase, Phase::Cancelled | Phase::Completed) {
            return Ok(());
        }
        sleep(POLL).await;
    }
    let what = "the earlier run's job could not be ended: its transactions are still there";
    Err(Failure::new(Code::TimedOut, what))
}

/// Says what is `kept` and how to go on; the exit status.
pub fn stopped(stop: Stop, kept: &str, global: &Global) -> u8 {
    let typed = endpoint::command_line();
    let had_password = std::env::args().any(|word| endpoint::redact(&word) != word);
    let mut failure = Failure::new(Code::Interrupted, kept).fix(format!("to resume: {typed}"));
    if had_password {
        let hint = "with the passwords in the URLs again, or in STERNA_SOURCE_PASSWORD and \
                    STERNA_TARGET_PASSWORD";
        failure = failure.fix(hint);
    }
    let color = crate::telemetry::color(global);
    error::report(&failure, stop.exit(), global.output, color);
    stop.exit()
}

#[cfg(test)]
mod tests;
