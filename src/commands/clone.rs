//! `sterna clone`: one migration in one process. How it runs, resumes and stops is in
//! [`crate::run`].

use common::change::FollowMode;
use common::code::{Code, Failure};
use common::job::{JobSpec, VerifyMode};
use common::status::{JobStatus, TableStatus};

use crate::cli::{CloneArgs, Global, Output};
use crate::error::Result;
use crate::run::{self, Ask, End};
use crate::signals::Signals;
use crate::{job, output, report};

pub async fn run(
    args: CloneArgs,
    from: Option<&str>,
    global: &Global,
    signals: Signals,
) -> Result<u8> {
    let (spec, secrets) = job::asked_from(&args.job, from)?;
    if args.complete && spec.follow != FollowMode::Live {
        let what = "--complete ends a job that follows: add --follow";
        return Err(Failure::new(Code::Usage, what));
    }
    let ask = Ask {
        spec: &spec,
        secrets,
        workers: args.job.workers,
        slots: args.job.slots,
        state_dir: args.state_dir.as_deref(),
        progress: args.progress,
        complete: args.complete,
    };
    match run::run(ask, global, signals).await? {
        End::Stopped(stop) => Ok(run::stopped(stop, "what was committed is kept", global)),
        End::Done(ended) => {
            let exit = finished(&ended.status, &spec, global)?;
            ended.told();
            Ok(exit)
        }
    }
}

fn finished(status: &JobStatus, spec: &JobSpec, global: &Global) -> Result<u8> {
    run::completed(status)?;
    // Never exit 0 for a proof that was asked for and isn't there; where nobody can prove it,
    // because the source goes on being written to, the report says so.
    let unproven = |table: &&TableStatus| !table.verified && !table.written_since;
    let tables = status.tables.iter().filter(unproven);
    if spec.verify == VerifyMode::Full && tables.clone().next().is_some() {
        let names: Vec<&str> = tables.map(|table| table.name.as_str()).collect();
        return Err(Failure::new(Code::NotVerified, names.join(", ")));
    }
    match global.output {
        Output::Json => output::json(&report::json(status, spec.verify))?,
        Output::Table => output::line(&report::text(status, spec.verify))?,
    }
    Ok(status.exit_code)
}
