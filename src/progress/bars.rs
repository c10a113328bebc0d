//! Bars in a terminal: one for each running table, some at most, and a line for the whole.

use std::collections::BTreeMap;
use std::time::Duration;

use common::state::Phase;
use common::status::{JobStatus, TableStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::rate::{Meter, eta_text, is_copied, table_share, total_share};
use crate::cli::Global;
use crate::output;

/// More than a screen of bars helps nobody.
const TABLE_BARS_MAX: usize = 12;

/// The bars of one job.
pub struct Bars {
    all: MultiProgress,
    tables: BTreeMap<String, (ProgressBar, Meter)>,
    total: ProgressBar,
    style: ProgressStyle,
    color: bool,
}

impl Bars {
    pub fn new(global: &Global) -> Bars {
        let color = crate::telemetry::color(global);
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(100));
        total.set_style(style(
            "{prefix} {bar:20.COLOR} {pos:>3} %  {wide_msg}",
            color,
        ));
        total.enable_steady_tick(Duration::from_millis(500));
        Bars {
            all,
            tables: BTreeMap::new(),
            total,
            style: style("{prefix:24!} {bar:20.COLOR} {pos:>3} %  {wide_msg}", color),
            color,
        }
    }

    pub fn say(&self, text: &str) {
        // A line that can't be shown is lost with the terminal.
        let _ = self.all.println(text);
    }

    pub fn clear(&mut self) {
        for (bar, _) in self.tables.values() {
            bar.finish_and_clear();
        }
        self.tables.clear();
        self.total.finish_and_clear();
        let _ = self.all.clear();
    }

    /// Shows `status`, seen at `at` since the start.
    pub fn update(&mut self, at: Duration, status: &JobStatus, meter: &Meter) {
        for table in &status.tables {
            self.update_table(at, table, status.phase);
        }
        let share = total_share(status);
        let mut parts = crate::following::parts(status);
        let follows = !parts.is_empty();
        let compared = crate::prove::parts(status);
        if let Some(found) = &compared {
            parts = super::comparison(status, meter, short);
            parts.extend(found.iter().cloned());
        } else if !follows {
            parts = super::facts(status, meter, short);
            parts.extend(super::limit(status));
        }
        if status.phase > Phase::Copying && !follows && compared.is_none() {
            let (done, total) = (status.tasks.done, status.tasks.total);
            parts.push(format!("step {done} of {total}"));
        }
        let phase = status.phase.to_string();
        self.total.set_prefix(match self.color {
            true => format!("\x1b[1m{phase}\x1b[0m"),
            false => phase,
        });
        self.total.set_position(match status.tables.is_empty() {
            true => 0,
            false => crate::prove::percent(status).unwrap_or_else(|| share.percent()),
        });
        self.total.set_message(parts.join("  "));
    }

    fn update_table(&mut self, at: Duration, table: &TableStatus, phase: Phase) {
        let running = phase == Phase::Copying && !is_copied(table);
        if !running {
            if let Some((bar, _)) = self.tables.remove(&table.name) {
                bar.finish_and_clear();
            }
            return;
        }
        let idle = table.rows_copied + table.rows_in_flight == 0;
        if !self.tables.contains_key(&table.name) {
            if idle || self.tables.len() >= TABLE_BARS_MAX {
                return;
            }
            let bar = self.all.insert_before(&self.total, ProgressBar::new(100));
            bar.set_style(self.style.clone());
            bar.set_prefix(table.name.clone());
            self.tables
                .insert(table.name.clone(), (bar, Meter::default()));
        }
        let Some((bar, meter)) = self.tables.get_mut(&table.name) else {
            return;
        };
        let share = table_share(table);
        meter.see(at, share.done);
        let mark = if share.rebased { "~~" } else { "~" };
        let (done, of) = (short(share.done), short(share.of));
        let mut message = format!("{done} of {mark}{of} rows");
        if let Some(rate) = meter.rate() {
            message.push_str(&format!("  {}/s", output::short(rate)));
        }
        if let Some(band) = meter.eta(share.left()) {
            message.push_str(&format!("  {}", eta_text(band)));
        }
        bar.set_position(share.percent());
        bar.set_message(message);
    }
}

/// Bars have little room.
fn short(number: u64) -> String {
    output::short(number as f64)
}

fn style(template: &str, color: bool) -> ProgressStyle {
    let template = template.replace("COLOR", if color { "cyan/blue" } else { "white" });
    let template = if color {
        template
    } else {
        template.replace(".white", "")
    };
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▓·")
}
