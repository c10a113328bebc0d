//! The text of definitions.

use common::plan::Plan;

pub fn plan(_plan: &Plan, _default_schema: &str) -> Vec<String> {
    Vec::new()
}
