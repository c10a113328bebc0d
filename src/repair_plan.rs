//! The repair plan: what `sterna verify --plan` writes and `sterna repair --plan` reads.

use std::path::Path;

use common::code::{Code, Failure};
use common::job::JobSpec;
use common::status::{API_VERSION, VerifyStatus};
use common::verify::{Difference, TableRange};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::html;

const KIND: &str = "repair-plan";

/// Where two databases differ. Passwords are not in it, some values of the rows are.
#[derive(Debug, Serialize, Deserialize)]
pub struct RepairPlan {
    pub api_version: String,
    pub kind: String,
    /// The verify job.
    pub spec: JobSpec,
    pub ranges: Vec<PlannedRange>,
}

/// One range. Only `table`, `columns`, `ranges` and `keys` say what is done; the rest is for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedRange {
    #[serde(flatten)]
    pub range: TableRange,
    #[serde(default)]
    pub counts: serde_json::Value,
    #[serde(default)]
    pub listed: Vec<Difference>,
}

/// Writes the plan of what a verify job found, whole or not at all.
pub fn write(path: &Path, spec: &JobSpec, verify: &VerifyStatus) -> Result<()> {
    let range = |found: &common::status::DifferingStatus| PlannedRange {
        range: found.range.clone(),
        counts: serde_json::json!(found.counts),
        listed: found.listed.clone(),
    };
    let plan = RepairPlan {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        spec: spec.clone(),
        ranges: verify.differing.iter().map(range).collect(),
    };
    let text = serde_json::to_string_pretty(&plan)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    html::write(path, &format!("{text}\n"))
}

/// Reads a plan, or says what is wrong with it.
pub fn read(path: &Path) -> Result<RepairPlan> {
    let wrong = |what: String| {
        let what = format!("{}: {what}", path.display());
        Failure::new(Code::RepairPlan, what)
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let plan: RepairPlan = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if plan.kind != KIND || plan.api_version != API_VERSION {
        let found = format!("{} {}", plan.kind, plan.api_version);
        return Err(wrong(format!("it is {found:?}, not {KIND} {API_VERSION}")));
    }
    let problems = plan.spec.problems();
    match problems.first() {
        Some(problem) => Err(wrong(format!("spec.{}: {}", problem.path, problem.message))),
        None => Ok(plan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("plan.json");
        let error = read(&path).expect_err("not there");
        assert_eq!(error.code, Code::RepairPlan);
        for text in ["", "{}", "[1]", r#"{"kind": "other"}"#] {
            std::fs::write(&path, text).expect("writable");
            let error = read(&path).expect_err(text);
            assert_eq!(error.code, Code::RepairPlan);
            assert!(error.what.contains("plan.json"), "{error}");
        }
    }
}
