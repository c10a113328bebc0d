//! A plan for people: as wide as the terminal, what needs attention in full, the rest in numbers.

use common::change::FollowMode;
use common::cut::Cut;
use common::fidelity::{ColumnVerdict, Loss, Verdict};
use common::job::{Endpoint, JobSpec};
use common::plan::{Plan, TablePlan};
use common::schema::{EndpointFacts, Engine};

use super::estimate::Estimate;
use super::outcome::{Outcome, source_names};
use crate::output;

/// Names and types wider than this don't widen their column of the list.
const COLUMN_MAX: usize = 36;

/// Everything there is to say.
pub fn text(outcome: &Outcome, spec: &JobSpec, all_columns: bool) -> String {
    let mut page = Page::new(output::width());
    match &outcome.plan {
        Some(plan) => {
            page.item("source", &end(&spec.source, &plan.source));
            page.item("target", &end(&spec.target, &plan.target));
            page.item("", transactions(&plan.target));
            page.item("changes", changes(plan.follow));
            page.block(&tables(plan, spec));
            columns(plan, all_columns, &mut page);
        }
        None => {
            page.item("source", &spec.source.url);
            page.item("target", &spec.target.url);
        }
    }
    if !outcome.unplanned.is_empty() {
        page.heading("NOT PLANNED: see the error");
        page.list(outcome.unplanned.iter().map(String::as_str));
    }
    if !outcome.not_carried.is_empty() {
        page.heading("NOT CARRIED");
        page.list(outcome.not_carried.iter().map(String::as_str));
    }
    let notes = outcome.notes();
    if !notes.is_empty() {
        page.heading("NOTES");
        page.list(notes.into_iter());
    }
    if !outcome.ddl.is_empty() {
        page.heading("DDL");
        page.lines.push(ddl(outcome));
    }
    if let Some(plan) = &outcome.plan {
        estimate(&Estimate::of(plan), &mut page);
    }
    page.lines.join("\n")
}

/// The statements as a script.
pub fn ddl(outcome: &Outcome) -> String {
    let ended = |statement: &String| match statement.trim_end() {
        done if done.ends_with(';') => done.to_owned(),
        open => format!("{open};"),
    };
    let statements: Vec<String> = outcome.ddl.iter().map(ended).collect();
    statements.join("\n")
}

fn end(endpoint: &Endpoint, facts: &EndpointFacts) -> String {
    let engine = match (facts.engine, facts.version.contains("MariaDB")) {
        (Engine::Mysql, true) => "MariaDB",
        (engine, _) => engine.title(),
    };
    format!("{}  ({engine} {})", endpoint.url, facts.version)
}

/// What becomes of rows that are written while the job runs.
fn changes(follow: FollowMode) -> &'static str {
    match follow {
        FollowMode::Auto | FollowMode::Off => "not replayed: the source must not be written to",
        FollowMode::PointInTime => "replayed from the source's log: the copy shows one moment",
        FollowMode::Live => "applied from the source's log, until `sterna complete`",
    }
}

/// What two-phase commit means at this target.
fn transactions(target: &EndpointFacts) -> &'static str {
    match (target.durable_prepare, target.engine) {
        (true, _) => "a prepared transaction survives its worker and the server",
        (false, Engine::Postgres) => {
            "max_prepared_transactions is 0: a transaction is held open until the decision, and \
             lost and copied again with its worker"
        }
        (false, _) => {
            "a transaction is held open until the decision, and lost and copied again with its worker"
        }
    }
}

fn tables(plan: &Plan, spec: &JobSpec) -> String {
    let names = |table: &TablePlan| (table.source.full_name(), table.target.full_name());
    let renamed = plan.tables.iter().map(names).any(|(from, to)| from != to);
    let rows = (0u32..).zip(&plan.tables).map(|(no, table)| {
        let (from, to) = names(table);
        let mut row = vec![
            from,
            format!("~{}", output::count(table.source.rows_estimate)),
            format!("~{}", output::bytes(table.source.bytes_estimate)),
            table.split.classes(no).len().to_string(),
            Cut::of(table, spec).to_string(),
        ];
        if renamed {
            row.insert(1, to);
        }
        row
    });
    let mut headers = vec!["TABLE", "#ROWS", "#BYTES", "#PARTITIONS", "CUT"];
    if renamed {
        headers.insert(1, "TO");
    }
    output::table(&headers, rows.collect())
}

/// How many columns are how well kept, the ones that are worth a look, and what may be lost.
fn columns(plan: &Plan, all: bool, page: &mut Page) {
    let verdicts = || plan.tables.iter().flat_map(|table| &table.columns);
    let total = verdicts().count();
    if total == 0 {
        return;
    }
    let of = |verdict: Verdict| verdicts().filter(|one| one.verdict == verdict).count();
    let kinds = [
        Verdict::Exact,
        Verdict::Widened,
        Verdict::Guarded,
        Verdict::Lossy,
    ];
    let counts = kinds.map(|verdict| (of(verdict), word(verdict)));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
    let hidden = match !all && of(Verdict::Exact) > 0 {
        true => " (--all-columns lists the exact ones too)",
        false => "",
    };
    page.heading(&format!("COLUMNS: {}{hidden}", counts.join(", ")));
    let lines = plan.tables.iter().flat_map(|table| {
        let columns = table.columns.iter().zip(source_names(table));
        let shown = columns.filter(|(one, _)| all || one.verdict != Verdict::Exact);
        shown.map(|(one, source)| Line::of(table, one, &source))
    });
    let lines: Vec<Line> = lines.collect();
    let widest = |of: fn(&Line) -> &String| {
        let widths = lines.iter().map(|line| of(line).chars().count());
        widths
            .filter(|width| *width <= COLUMN_MAX)
            .max()
            .unwrap_or(0)
    };
    let (name, types) = (widest(|line| &line.name), widest(|line| &line.types));
    for line in &lines {
        let Line { verdict, why, .. } = line;
        page.wrap(
            2,
            &format!("{:name$}  {:types$}  {verdict}", line.name, line.types),
        );
        if !why.is_empty() {
            page.wrap(6, why);
        }
    }
    let possible = |loss: &Loss| {
        let mut all = verdicts().flat_map(|one| &one.losses);
        all.any(|one| one.loss == *loss)
    };
    let mut legend = Loss::ALL.iter().filter(|loss| possible(loss)).peekable();
    if legend.peek().is_some() {
        page.heading(
            "POSSIBLE LOSSES: such a value stops the job, unless --accept CODE:TABLE.COLUMN",
        );
    }
    for loss in legend {
        let (values, then) = (loss.title(), loss.accepted());
        page.wrap(2, &format!("{loss}: {values}; accepted: {then}"));
    }
}

/// One column as it is listed.
struct Line {
    name: String,
    types: String,
    verdict: String,
    why: String,
}

impl Line {
    fn of(table: &TablePlan, verdict: &ColumnVerdict, source: &str) -> Line {
        let ColumnVerdict { column, to, .. } = verdict;
        let to = match column == source {
            true => to.clone(),
            false => format!("{column} {to}"),
        };
        let losses = verdict.losses.iter().map(|one| match one.accepted {
            true => format!("{} (accepted)", one.loss),
            false => one.loss.to_string(),
        });
        let losses: Vec<String> = losses.collect();
        let kept = word(verdict.verdict);
        Line {
            name: format!("{}.{source}", table.source.full_name()),
            types: format!("{} -> {to}", verdict.from),
            verdict: match losses.is_empty() {
                true => kept.to_owned(),
                false => format!("{kept}: {}", losses.join(", ")),
            },
            why: verdict.why.clone(),
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Exact => "exact",
        Verdict::Widened => "widened",
        Verdict::Guarded => "guarded",
        Verdict::Lossy => "lossy",
    }
}

fn estimate(estimate: &Estimate, page: &mut Page) {
    page.lines.push(String::new());
    let text = format!(
        "~{} rows, ~{} in {} partitions; {} to {} ({})",
        output::count(estimate.rows),
        output::bytes(estimate.bytes),
        estimate.partitions,
        output::duration(estimate.fastest),
        output::duration(estimate.slowest),
        Estimate::assumption(),
    );
    page.item("estimate", &text);
}

/// Lines no wider than the terminal, as far as words allow.
struct Page {
    width: usize,
    lines: Vec<String>,
}

impl Page {
    fn new(width: usize) -> Page {
        Page {
            width: width.max(20),
            lines: Vec::new(),
        }
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(text.to_owned());
    }

    fn block(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(text.to_owned());
    }

    fn item(&mut self, label: &str, text: &str) {
        let first = format!("{label:<9} ");
        self.fill(first, 10, text);
    }

    fn list<'a>(&mut self, items: impl Iterator<Item = &'a str>) {
        for item in items {
            self.wrap(2, item);
        }
    }

    fn wrap(&mut self, indent: usize, text: &str) {
        self.fill(" ".repeat(indent), indent + 2, text);
    }

    /// Words after `line`, what doesn't fit below and indented. Spaces within a line are kept.
    fn fill(&mut self, mut line: String, indent: usize, text: &str) {
        let mut is_empty = true;
        for word in text.split(' ') {
            let width = line.chars().count() + 1 + word.chars().count();
            if !is_empty && width > self.width && !word.is_empty() {
                self.lines.push(line.trim_end().to_owned());
                line = " ".repeat(indent);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below() {
        let mut page = Page::new(20);
        page.wrap(2, "alpha beta  gamma delta epsilon");
        assert_eq!(page.lines, ["  alpha beta  gamma", "    delta epsilon"]);
    }

    #[test]
    fn statements_end_once() {
        let outcome = Outcome {
            plan: None,
            problems: Vec::new(),
            not_carried: Vec::new(),
            unplanned: Vec::new(),
            idle: Vec::new(),
            ddl: vec!["CREATE TABLE a (x)".to_owned(), "SELECT 1;\n".to_owned()],
        };
        assert_eq!(ddl(&outcome), "CREATE TABLE a (x);\nSELECT 1;");
    }
}
