//! What a finished comparison is told as: for people, for scripts, and as a page of its own. Reads
//! a [`JobStatus`]; what is a difference was decided by the job.

mod json;
mod page;
mod progress;
mod text;

use std::path::Path;
use std::time::Duration;

use common::code::{Code, Failure};
use common::status::{DifferingStatus, JobStatus, VerifyStatus};
use common::verify::{Counts, Difference};

pub use self::json::json;
pub use self::page::page;
pub use self::progress::{compared, parts, percent};
pub use self::text::{lines, tables, text};
use crate::endpoint;
use crate::error::Result;
use crate::output;

/// A comparison that has ended, and where its repair plan was written to.
pub struct Proof<'a> {
    pub status: &'a JobStatus,
    pub verify: &'a VerifyStatus,
    pub plan: Option<&'a Path>,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Equal,
    /// Rows differ, or rows and the schema.
    Rows,
    Schema,
    /// Neither is proven.
    Open,
}

impl<'a> Proof<'a> {
    /// None = the answering coordinator knows of no comparison.
    pub fn of(status: &'a JobStatus, plan: Option<&'a Path>) -> Result<Proof<'a>> {
        let Some(verify) = &status.verify else {
            let what = format!("the coordinator tells nothing of what {} found", status.job);
            return Err(Failure::new(Code::NotVerified, what));
        };
        Ok(Proof {
            status,
            verify,
            plan,
        })
    }

    pub fn outcome(&self) -> Outcome {
        let counts = self.counts();
        // A difference is certain whatever else is open.
        match (counts.differing(), self.verify.schema.len()) {
            (1.., _) => Outcome::Rows,
            (0, 1..) => Outcome::Schema,
            (0, 0) if counts.in_flight > 0 || !self.is_whole() => Outcome::Open,
            (0, 0) => Outcome::Equal,
        }
    }

    /// The exit status: the job's own, and never 0 for what isn't proven.
    pub fn exit(&self) -> u8 {
        match (self.status.exit_code, self.outcome()) {
            (0, Outcome::Equal) => 0,
            (0, Outcome::Rows | Outcome::Schema) => Code::Differences.exit(),
            (0, Outcome::Open) => Code::Inconclusive.exit(),
            (code, _) => code,
        }
    }

    pub fn counts(&self) -> Counts {
        total(self.verify)
    }

    /// Rows read at the source and at the target.
    pub fn rows(&self) -> (u64, u64) {
        let tables = || self.verify.tables.iter();
        (
            tables().map(|table| table.at_source.rows).sum(),
            tables().map(|table| table.at_target.rows).sum(),
        )
    }

    fn is_whole(&self) -> bool {
        let mut tables = self.verify.tables.iter();
        tables.all(|table| table.ranges_done >= table.ranges)
    }

    fn took(&self) -> Duration {
        let end = self.status.ended_at_ms.unwrap_or(self.status.now_ms);
        Duration::from_millis(end.since(self.status.submitted_at_ms))
    }

    /// Every difference that is told, with its table's name.
    fn listed(&self) -> impl Iterator<Item = (&'a str, &'a Difference)> + use<'a> {
        let of_range = |range: &'a DifferingStatus| {
            let table = range.range.table.as_str();
            range.listed.iter().map(move |one| (table, one))
        };
        self.verify.differing.iter().flat_map(of_range)
    }

    /// The error that stands for the outcome; None = equal.
    pub fn failure(&self) -> Option<Failure> {
        let code = match self.outcome() {
            Outcome::Equal => return None,
            Outcome::Rows => Code::Differences,
            Outcome::Schema => Code::SchemaDiffers,
            Outcome::Open => Code::Inconclusive,
        };
        let failure = Failure::new(code, self.sentence());
        Some(self.next().into_iter().fold(failure, Failure::fix))
    }

    /// The outcome in one sentence.
    pub fn sentence(&self) -> String {
        let counts = self.counts();
        let (rows, tables) = (output::count(self.rows().0), self.verify.tables.len());
        let of = match self.verify.sampled {
            true => " of the sample",
            false => "",
        };
        match self.outcome() {
            Outcome::Equal => format!(
                "equal: {rows} rows{of} in {} are the same at both ends",
                plural(tables as u64, "table")
            ),
            Outcome::Rows | Outcome::Schema => {
                let rows = [
                    (counts.missing, "missing"),
                    (counts.extra, "extra"),
                    (counts.different, "different"),
                    (counts.in_flight, "in flight"),
                ];
                let told = { rows.into_iter() }.filter(|(number, _)| *number > 0);
                let mut parts: Vec<String> = told
                    .map(|(number, word)| format!("{} {word}", output::count(number)))
                    .collect();
                if let [first, ..] = parts.as_mut_slice() {
                    *first = format!("rows{of}: {first}");
                }
                let schema = self.verify.schema.len() as u64;
                if schema > 0 {
                    parts.push(format!("schema: {}", plural(schema, "difference")));
                }
                format!("different: {}", parts.join(", "))
            }
            Outcome::Open if counts.in_flight > 0 => format!(
                "inconclusive: {} kept changing while they were compared; all other rows{of} are \
                 equal",
                plural(counts.in_flight, "row")
            ),
            Outcome::Open => "inconclusive: not every range was compared".to_owned(),
        }
    }

    /// What to do next, each a command or, where none can do it, a sentence.
    pub fn next(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let outcome = self.outcome();
        if !self.verify.schema.is_empty() {
            let what = "mend the target's schema as the schema differences say (`sterna plan \
                        --ddl` prints the statements it calls for)";
            steps.push(what.to_owned());
        }
        match (outcome, self.plan) {
            (Outcome::Rows, Some(plan)) => {
                let plan = endpoint::quote(&plan.to_string_lossy());
                steps.push(format!("sterna repair --plan {plan} --dry-run"));
                steps.push(format!("sterna repair --plan {plan}"));
            }
            (Outcome::Rows, None) => {
                steps.push(format!("{} --plan repair.json", self.again()));
                steps.push("sterna repair --plan repair.json".to_owned());
            }
            (Outcome::Open, _) => {
                let what = "stop the writers, or verify a job that follows with `sterna verify \
                            -j JOB`; then run the same command again";
                steps.push(what.to_owned());
            }
            (Outcome::Equal | Outcome::Schema, _) => {}
        }
        steps
    }

    /// The command that makes a plan: what was typed if it was `verify`, else a reprint of the job.
    fn again(&self) -> String {
        let verify = std::env::args().any(|word| word == "verify");
        match verify {
            true => endpoint::command_line(),
            false => format!("sterna verify -j {}", endpoint::quote(&self.status.job)),
        }
    }
}

/// Rows by class, of all tables.
pub fn total(verify: &VerifyStatus) -> Counts {
    let mut sum = Counts::default();
    for table in &verify.tables {
        sum.merge(&table.counts);
    }
    sum
}

/// `1 table`, `3 tables`.
fn plural(number: u64, word: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {word}{s}", output::count(number))
}

#[cfg(test)]
mod tests;
