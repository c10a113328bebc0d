//! What the target's schema has otherwise than planned.

use crate::schema::{EndpointFacts, SchemaObject, TableSchema, There};
use crate::verify::SchemaDifference;

/// Differences of the tables of a job; tables that aren't in it are others' and not told.
pub fn differences(
    _source: &EndpointFacts,
    _target: &EndpointFacts,
    expected: &[TableSchema],
    _objects: &[SchemaObject],
    there: &There,
) -> Vec<SchemaDifference> {
    let is_there = |table: &&TableSchema| {
        let same = |found: &TableSchema| {
            found.schema == table.schema && found.name.eq_ignore_ascii_case(&table.name)
        };
        !there.tables.iter().any(same)
    };
    let missing = expected.iter().filter(is_there);
    let told = missing.map(|table| SchemaDifference {
        object: table.full_name(),
        kind: "table".to_owned(),
        name: table.full_name(),
        expected: Some("a table".to_owned()),
        found: None,
    });
    told.collect()
}
