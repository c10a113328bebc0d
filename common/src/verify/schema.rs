//! What the target's schema has otherwise than planned.
//!
//! Between two databases of one engine and flavour everything that its connector reads is compared:
//! types, nullability, collations, defaults, generated columns, keys, indexes, foreign keys with
//! their actions, and, where none of these differs, the table's definition as a whole (checks,
//! comments, options); then views, routines, triggers, types and sequences. Between others less can
//! be said without false alarm: a type differs if neither its name nor what it holds is as planned,
//! a default if it is missing, an index if none serves. Names of constraints and indexes, the order
//! of columns, and what the target has beyond tables and objects of the source are no differences.

mod columns;
mod indexes;
mod text;

use crate::plan::TablePlan;
use crate::schema::{EndpointFacts, Engine, SchemaObject, TableSchema, There};
use crate::verify::SchemaDifference;

use text::{plain, same_name, same_names};

/// What is compared, and how closely.
#[derive(Clone, Copy)]
struct Measure<'a> {
    engine: Engine,
    /// One engine and one flavour of it: what is read at both ends is spelled alike.
    alike: bool,
    /// The table by the source's name.
    object: &'a str,
    /// All that are planned.
    tables: &'a [TablePlan],
}

impl Measure<'_> {
    /// Something of this table that is otherwise.
    fn differs(
        &self,
        kind: &str,
        name: &str,
        expected: Option<String>,
        found: Option<String>,
    ) -> SchemaDifference {
        SchemaDifference {
            object: self.object.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            expected,
            found,
        }
    }
}

/// What `there` lacks, or has otherwise than the plan's `tables` and `objects` say. Tables that
/// aren't planned are somebody else's and are left alone.
pub fn differences(
    target: &EndpointFacts,
    alike: bool,
    tables: &[TablePlan],
    objects: &[SchemaObject],
    there: &There,
) -> Vec<SchemaDifference> {
    let mut found = Vec::new();
    for table in tables {
        let object = table.source.full_name();
        let measure = Measure {
            engine: target.engine,
            // A rule makes another table of it, of which only the target's DDL tells.
            alike: alike && table.rule.is_none(),
            object: &object,
            tables,
        };
        let wanted = &table.target;
        let same = |other: &&TableSchema| {
            other.schema == wanted.schema && same_name(target.engine, &other.name, &wanted.name)
        };
        match there.tables.iter().find(same) {
            Some(other) => compare(measure, wanted, other, &mut found),
            None => {
                let expected = Some("a table".to_owned());
                found.push(measure.differs("table", &wanted.name, expected, None));
            }
        }
    }
    if alike {
        found.extend(of_objects(objects, there));
    }
    found
}

fn compare(
    measure: Measure<'_>,
    wanted: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    let before = found.len();
    columns::compare(measure, wanted, other, found);
    if !same_names(measure.engine, &wanted.primary_key, &other.primary_key) {
        let (expected, there) = (shown(&wanted.primary_key), shown(&other.primary_key));
        found.push(measure.differs("primary_key", "", expected, there));
    }
    indexes::compare(measure, wanted, other, found);
    if measure.alike && found.len() == before {
        definition(measure, wanted, other, found);
    }
}

/// The whole definition, for what no other comparison knows of.
fn definition(
    measure: Measure<'_>,
    wanted: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    if let (Some(one), Some(two)) = (&wanted.native_ddl, &other.native_ddl)
        && plain(one) != plain(two)
    {
        let (expected, there) = text::lines_apart(one, two);
        let kind = match [&expected, &there]
            .iter()
            .any(|text| text.contains("CHECK"))
        {
            true => "check",
            false => "definition",
        };
        found.push(measure.differs(kind, "", Some(expected), Some(there)));
    }
    if plain(&wanted.native_options) != plain(&other.native_options) {
        let (one, two) = (wanted.native_options.clone(), other.native_options.clone());
        found.push(measure.differs("options", "", Some(one), Some(two)));
    }
}

/// Views, routines, triggers, types, sequences: missing, or made by other statements.
fn of_objects(objects: &[SchemaObject], there: &There) -> Vec<SchemaDifference> {
    let mut found = Vec::new();
    // The value of a sequence goes on with every row.
    let is_value = |object: &&SchemaObject| object.kind.starts_with("value of");
    for object in objects.iter().filter(|object| !is_value(object)) {
        let same = |other: &&SchemaObject| other.kind == object.kind && other.name == object.name;
        let other = there.objects.iter().find(same);
        let statements = |object: &SchemaObject| object.statements.join(";\n");
        let (expected, there) = match other {
            None => (format!("a {}", object.kind), None),
            Some(_) if object.kind == "sequence" => continue,
            Some(other) => {
                let (one, two) = (statements(object), statements(other));
                if plain(&one) == plain(&two) {
                    continue;
                }
                let (one, two) = text::lines_apart(&one, &two);
                (one, Some(two))
            }
        };
        found.push(SchemaDifference {
            object: object.name.clone(),
            kind: object.kind.clone(),
            name: object.name.clone(),
            expected: Some(expected),
            found: there,
        });
    }
    found
}

fn shown(columns: &[String]) -> Option<String> {
    (!columns.is_empty()).then(|| columns.join(", "))
}

#[cfg(test)]
mod tests;
