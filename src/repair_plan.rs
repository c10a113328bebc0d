//! The repair plan: what `sterna verify --plan` writes and `sterna repair --plan` reads.

use std::path::Path;

use common::code::{Code, Failure};
use common::job::JobSpec;
use common::status::{API_VERSION, VerifyStatus};

use crate::error::Result;
use crate::html;

/// Writes the plan of what a verify job found, whole or not at all.
pub fn write(path: &Path, spec: &JobSpec, verify: &VerifyStatus) -> Result<()> {
    let plan = serde_json::json!({
        "api_version": API_VERSION,
        "kind": "repair-plan",
        "spec": spec,
        "ranges": verify.differing,
    });
    let text = serde_json::to_string_pretty(&plan)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    html::write(path, &format!("{text}\n"))
}
