//! What a table is called in the target: the job's renames and schema map over the rule that a
//! default schema goes to the default schema.

use std::fmt;

use crate::job::JobSpec;
use crate::schema::{Engine, TableRef, TableSchema};

/// Where `table` of the source goes.
pub fn target(spec: &JobSpec, table: &TableSchema, _from: Engine, _to: Engine) -> TableRef {
    let full_name = table.full_name();
    let rule = spec.rules.iter().find(|rule| rule.table == full_name);
    let renamed = rule.and_then(|rule| rule.rename.clone());
    TableRef {
        schema: table.schema.clone(),
        name: renamed.unwrap_or_else(|| table.name.clone()),
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
