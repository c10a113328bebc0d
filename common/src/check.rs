//! What `sterna check` says: named checks of both ends, each with what it means and the statement
//! that mends it. The connectors make them, see `Connector::check` in the worker.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    /// The job can run; the user should know.
    Warning,
    /// The job can't run, or its result would be wrong.
    Failed,
}

/// Which end a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Source,
    Target,
    /// The two ends together, such as the difference of their clocks.
    Both,
}

impl End {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            End::Source => "source",
            End::Target => "target",
            End::Both => "both",
        }
    }
}

/// One check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable, lower case with hyphens (`binlog-row-image`): what `--include` and `--exclude` match.
    pub name: String,
    pub end: End,
    pub verdict: Verdict,
    /// What was found, with names and values: `binlog_row_image is MINIMAL`.
    pub found: String,
    /// What that means for the job; empty when it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// Statements (or, where none can do it, words) that make it pass, in order; each can be run as
    /// it stands, by a user who may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
    /// The error that a job would stop with; None when it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl Check {
    pub fn passed(name: &str, end: End, found: impl Into<String>) -> Check {
        Check {
            name: name.to_owned(),
            end,
            verdict: Verdict::Passed,
            found: found.into(),
            means: String::new(),
            fixes: Vec::new(),
            code: None,
        }
    }

    pub fn warning(name: &str, end: End, code: Code, found: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Warning,
            code: Some(code),
            ..Check::passed(name, end, found)
        }
    }

    pub fn failed(name: &str, end: End, code: Code, found: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Failed,
            ..Check::warning(name, end, code, found)
        }
    }

    pub fn means(mut self, means: impl Into<String>) -> Check {
        self.means = means.into();
        self
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Check {
        self.fixes.push(fix.into());
        self
    }
}
