//! `sterna repair`: the target made equal where `sterna verify` found differences.

use common::code::{Code, Failure};
use common::job::{JobSpec, Purpose, SecretRef, TargetMode};
use common::status::{API_VERSION, JobStatus, VerifyStatus};
use common::verify::{Class, RepairOptions};
use worker::secret::Secrets;

use crate::cli::{Global, Output, RepairArgs};
use crate::error::{self, Result};
use crate::prove::total;
use crate::repair_plan::{self, RepairPlan};
use crate::run::{self, Ask, End};
use crate::signals::Signals;
use crate::{endpoint, output};

pub async fn run(args: RepairArgs, global: &Global, signals: Signals) -> Result<u8> {
    let plan = repair_plan::read(&args.plan)?;
    if plan.ranges.is_empty() {
        output::note(global.quiet, "the plan has no differences: nothing to do");
        return Ok(0);
    }
    let spec = as_repair(plan, &args);
    let secrets = secrets(&spec)?;
    let ask = Ask {
        spec: &spec,
        secrets,
        workers: args.workers,
        slots: args.slots,
        state_dir: args.state_dir.as_deref(),
        progress: args.progress,
        complete: false,
    };
    match run::run(ask, global, signals).await? {
        End::Stopped(stop) => Ok(run::stopped(stop, "what was repaired is kept", global)),
        End::Done(ended) => {
            run::completed(&ended.status)?;
            let exit = finished(&ended.status, &args, global)?;
            ended.told();
            Ok(exit)
        }
    }
}

fn as_repair(plan: RepairPlan, args: &RepairArgs) -> JobSpec {
    let named = |class: &&Class| args.only.iter().any(|name| name == class.name());
    let options = RepairOptions {
        dry_run: args.dry_run,
        only: Class::ALL.iter().filter(named).copied().collect(),
        ranges: plan.ranges.into_iter().map(|range| range.range).collect(),
    };
    JobSpec {
        purpose: Purpose::Repair(options),
        // The tables are there and stay.
        target_mode: TargetMode::Append,
        ..plan.spec
    }
}

/// Passwords that were given to the verifying process are not in the plan.
fn secrets(spec: &JobSpec) -> Result<Secrets> {
    let mut secrets = Secrets::default();
    for end in [&spec.source, &spec.target] {
        let Some(SecretRef::Session(role)) = &end.password else {
            continue;
        };
        let variable = endpoint::password_variable(role);
        let Ok(password) = std::env::var(&variable) else {
            let what = format!("the {role}'s password is not in the plan");
            let fix = format!("export {variable}=… and run the same command");
            return Err(Failure::new(Code::AccessDenied, what).fix(fix));
        };
        secrets.insert(role, password.into());
    }
    Ok(secrets)
}

fn finished(status: &JobStatus, args: &RepairArgs, global: &Global) -> Result<u8> {
    let missing = || Failure::new(Code::Internal, "a repair without a result");
    let verify = status.verify.as_deref().ok_or_else(missing)?;
    let left = total(verify).differing();
    let exit = match (args.dry_run, left) {
        (true, _) | (false, 0) => 0,
        _ => Code::RepairFailed.exit(),
    };
    match global.output {
        Output::Json => output::json(&serde_json::json!({
            "api_version": API_VERSION,
            "dry_run": args.dry_run,
            "tables": tables(status, verify),
            "left": left,
            "exit_code": exit,
        }))?,
        Output::Table => output::line(&text(status, verify, args.dry_run))?,
    }
    if exit != 0 && args.only.is_empty() {
        let what = format!("{left} rows");
        error::lines(
            &Failure::new(Code::RepairFailed, what),
            crate::telemetry::color(global),
        );
    }
    Ok(exit)
}

fn tables(status: &JobStatus, verify: &VerifyStatus) -> Vec<serde_json::Value> {
    let pairs = status.tables.iter().zip(&verify.tables);
    let told = pairs.filter(|(_, found)| found.ranges > 0);
    told.map(|(table, found)| {
        serde_json::json!({
            "table": table.name,
            "inserted": found.inserted,
            "updated": found.updated,
            "deleted": found.deleted,
            "left": found.counts.differing(),
        })
    })
    .collect()
}

fn text(status: &JobStatus, verify: &VerifyStatus, dry_run: bool) -> String {
    let mut rows = vec![["TABLE", "INSERTED", "UPDATED", "DELETED", "LEFT"].map(str::to_owned)];
    for (table, found) in status.tables.iter().zip(&verify.tables) {
        if found.ranges > 0 {
            let numbers = [found.inserted, found.updated, found.deleted];
            let [inserted, updated, deleted] = numbers.map(output::count);
            let left = output::count(found.counts.differing());
            rows.push([table.name.clone(), inserted, updated, deleted, left]);
        }
    }
    let closing = match (dry_run, total(verify).differing()) {
        (true, _) => "a dry run: nothing was changed".to_owned(),
        (false, 0) => "repaired: the rows of the plan are equal at both ends".to_owned(),
        (false, left) => format!("{left} rows still differ"),
    };
    format!("{}\n{closing}", aligned(&rows))
}

fn aligned(rows: &[[String; 5]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    format!("{}\n", lines.join("\n"))
}
