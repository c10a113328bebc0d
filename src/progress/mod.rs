//! Progress on stderr: bars in a terminal, a line every few seconds elsewhere, JSON lines, or
//! nothing. Shows a [`JobStatus`]; asks nobody for it.

mod bars;
mod rate;

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use common::state::Phase;
use common::status::JobStatus;
use tokio::time::Instant;

use crate::cli::{Global, ProgressMode};
use crate::following;
use crate::output;
use crate::prove;
use bars::Bars;
use rate::{Meter, eta_text, is_copied, total_share};

const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// Where and how progress is shown.
pub struct Progress {
    form: Form,
    started: Instant,
    meter: Meter,
    printed: Option<Instant>,
    phase: Option<Phase>,
}

enum Form {
    Bars(Box<Bars>),
    Plain,
    Json,
    None,
}

impl Progress {
    pub fn new(mode: ProgressMode, global: &Global) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let form = match mode {
            _ if global.quiet => Form::None,
            ProgressMode::Bar => Form::Bars(Box::new(Bars::new(global))),
            ProgressMode::Auto if terminal => Form::Bars(Box::new(Bars::new(global))),
            ProgressMode::Auto | ProgressMode::Plain => Form::Plain,
            ProgressMode::Json => Form::Json,
            ProgressMode::None => Form::None,
        };
        Progress {
            form,
            started: Instant::now(),
            meter: Meter::default(),
            printed: None,
            phase: None,
        }
    }

    /// Shows where the job stands.
    pub fn update(&mut self, status: &JobStatus) {
        let now = Instant::now();
        let copied = status.rows_copied + status.rows_in_flight;
        let copied = (status.phase == Phase::Copying).then_some(copied);
        if let Some(rows) = copied.or_else(|| prove::compared(status)) {
            self.meter.see(now - self.started, rows);
        }
        let changed = self.phase != Some(status.phase);
        self.phase = Some(status.phase);
        let interval = match &mut self.form {
            Form::None => return,
            Form::Bars(bars) => return bars.update(now - self.started, status, &self.meter),
            Form::Plain => PLAIN_INTERVAL,
            Form::Json => JSON_INTERVAL,
        };
        if !changed && self.printed.is_some_and(|at| now - at < interval) {
            return;
        }
        self.printed = Some(now);
        let line = match self.form {
            Form::Json => json_line(status, &self.meter).to_string(),
            _ => plain_line(status, &self.meter),
        };
        // Nobody is left to tell when stderr itself is gone.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A line above the bars.
    pub fn say(&self, text: &str) {
        match &self.form {
            Form::Bars(bars) => bars.say(text),
            Form::Plain => output::note(false, text),
            Form::Json | Form::None => {}
        }
    }

    /// Leaves the terminal as it was.
    pub fn finish(&mut self) {
        if let Form::Bars(bars) = &mut self.form {
            bars.clear();
        }
    }
}

/// `Copying 44 % · 12 345 of ~71 000 rows · 318 k/s · ETA 5–6 min · 3 of 48 tables · limited by: …`
fn plain_line(status: &JobStatus, meter: &Meter) -> String {
    let mut parts = vec![status.phase.to_string()];
    let applied = following::parts(status);
    if !applied.is_empty() {
        parts.extend(applied);
        return parts.join(" · ");
    }
    if let (Some(percent), Some(found)) = (prove::percent(status), prove::parts(status)) {
        parts[0].push_str(&format!(" {percent} %"));
        parts.extend(comparison(status, meter, output::count));
        parts.extend(found);
        return parts.join(" · ");
    }
    if !status.tables.is_empty() && status.phase <= Phase::Copying {
        parts[0].push_str(&format!(" {} %", total_share(status).percent()));
    }
    parts.extend(facts(status, meter, output::count));
    if !status.tables.is_empty() {
        let done = status.tables.iter().filter(|table| is_copied(table));
        let (done, all) = (done.count(), status.tables.len());
        parts.push(format!("{done} of {all} tables"));
    }
    parts.extend(limit(status));
    parts.join(" · ")
}

/// Rows compared, rate and time left.
fn comparison(status: &JobStatus, meter: &Meter, number: fn(u64) -> String) -> Vec<String> {
    let Some(done) = prove::compared(status) else {
        return Vec::new();
    };
    // `~` because the number of rows is the source's estimate.
    let of = status.rows_estimated.max(done);
    let sampled = status.verify.as_ref().is_some_and(|v| v.sampled);
    let mut parts = vec![match sampled {
        true => format!("{} rows compared", number(done)),
        false => format!("{} of ~{} rows compared", number(done), number(of)),
    }];
    if let Some(rate) = meter.rate() {
        parts.push(format!("{} rows/s", output::short(rate)));
    }
    if let Some(band) = meter.eta(of - done).filter(|_| of > done && !sampled) {
        parts.push(format!("ETA {}", eta_text(band)));
    }
    parts
}

/// Rows, rate and time left.
fn facts(status: &JobStatus, meter: &Meter, number: fn(u64) -> String) -> Vec<String> {
    let mut parts = Vec::new();
    let share = total_share(status);
    let done = number(share.done);
    match (status.tables.is_empty(), share.finished) {
        (true, _) => {}
        (_, true) => parts.push(format!("{done} rows")),
        _ => {
            // `~` because the number of rows is the source's estimate.
            let of = number(share.of);
            parts.push(format!("{done} of ~{of} rows"));
        }
    }
    if status.phase == Phase::Copying {
        if let Some(rate) = meter.rate() {
            parts.push(format!("{} rows/s", output::short(rate)));
        }
        if !share.finished
            && let Some(band) = meter.eta(share.left())
        {
            parts.push(format!("ETA {}", eta_text(band)));
        }
    }
    if status.partitions.redone > 0 {
        parts.push(format!(
            "{} redone",
            output::count(status.partitions.redone)
        ));
    }
    parts
}

/// Only while copying: before, a cluster is still coming together.
fn limit(status: &JobStatus) -> Option<String> {
    let reason = status.limited_by.as_ref();
    let reason = reason.filter(|_| status.phase == Phase::Copying)?;
    Some(format!("limited by: {reason}"))
}

fn json_line(status: &JobStatus, meter: &Meter) -> serde_json::Value {
    let share = total_share(status);
    let percent = prove::percent(status).unwrap_or_else(|| share.percent());
    let eta = meter.eta(share.left()).filter(|_| !share.finished);
    let eta = eta.map(|(low, high)| [low.as_secs_f64(), high.as_secs_f64()]);
    serde_json::json!({
        "api_version": common::status::API_VERSION,
        "job": status.job,
        "phase": status.phase,
        "percent": percent,
        "rows_copied": status.rows_copied,
        "rows_in_flight": status.rows_in_flight,
        "rows_estimated": share.of,
        "bytes_copied": status.bytes_copied,
        "rows_per_second": meter.rate(),
        "eta_seconds": eta,
        "partitions": status.partitions,
        "follow": status.follow,
        "rows_compared": prove::compared(status),
        "verify": status.verify.as_ref().map(|verify| prove::total(verify)),
        "limited_by": status.limited_by,
    })
}
