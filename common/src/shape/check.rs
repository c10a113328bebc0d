//! Everything that is wrong with a job's rules, said at once and before anything is changed.

use std::collections::BTreeMap;

use cel::Value;

use super::follow::mentions;
use crate::job::JobSpec;
use crate::job_file::nearest;
use crate::mapping;
use crate::naming;
use crate::rules::{ColumnRule, Mask, TableRule};
use crate::schema::{CanonicalType, Column, Engine, TableSchema};
use crate::transform::{Expression, computed, no_column};

/// The problems, each with the table (and column) it is about.
pub fn problems(
    sources: &[&TableSchema],
    spec: &JobSpec,
    (from, target): (Engine, Engine),
) -> Vec<String> {
    let mut problems = same_names(sources, spec, (from, target));
    let names: Vec<String> = sources.iter().map(|table| table.full_name()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for (no, rule) in spec.rules.iter().enumerate() {
        if spec.rules[..no]
            .iter()
            .any(|other| other.table == rule.table)
        {
            problems.push(format!("{} has two rules", rule.table));
        }
        match sources.iter().find(|table| table.full_name() == rule.table) {
            Some(table) => {
                let mut found = Found { table, target, problems: Vec::new() };
                found.rule(rule);
                problems.append(&mut found.problems);
            }
            None => problems.push(match nearest(&rule.table, &known) {
                Some(near) => format!(
                    "there is a rule for {}, which is none of the job's tables; did you mean {near}?",
                    rule.table
                ),
                None => format!(
                    "there is a rule for {}, which is none of the job's tables",
                    rule.table
                ),
            }),
        }
    }
    problems
}

/// Tables that would be one in the target.
fn same_names(
    sources: &[&TableSchema],
    spec: &JobSpec,
    (from, to): (Engine, Engine),
) -> Vec<String> {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in sources {
        let name = naming::target(spec, table, from, to).to_string();
        let name = match to {
            Engine::Sqlite => name.to_lowercase(),
            Engine::Mysql | Engine::Postgres => name,
        };
        named.entry(name).or_default().push(table.full_name());
    }
    named
        .into_iter()
        .filter(|(_, tables)| tables.len() > 1)
        .map(|(name, tables)| format!("{} would all be called {name}", tables.join(", ")))
        .collect()
}

struct Found<'a> {
    table: &'a TableSchema,
    target: Engine,
    problems: Vec<String>,
}

impl Found<'_> {
    fn add(&mut self, column: &str, what: impl std::fmt::Display) {
        let table = self.table.full_name();
        self.problems.push(match column {
            "" => format!("{table}: {what}"),
            _ => format!("{table}.{column}: {what}"),
        });
    }

    fn rule(&mut self, rule: &TableRule) {
        for (no, change) in rule.columns.iter().enumerate() {
            if rule.columns[..no]
                .iter()
                .any(|other| other.column == change.column)
            {
                self.add(&change.column, "has two rules");
            }
            match self.table.column(&change.column) {
                Some(column) => self.column(change, column),
                None => self.add("", no_column(&change.column, self.table)),
            }
        }
        self.generated(rule);
        self.keys(rule);
        if let Some(filter) = &rule.filter {
            match Expression::compile(filter, self.table) {
                Ok(filter) => match filter.tried() {
                    None | Some(Value::Bool(_)) => {}
                    Some(other) => {
                        let kind = other.type_of();
                        self.add("", format!("filter: gives a {kind}, not true or false"));
                    }
                },
                Err(what) => self.add("", format!("filter: {what}")),
            }
        }
        for computed in &rule.computed {
            let name = &computed.column;
            let ty = mapping::canonical_of(self.target, &computed.ty);
            if ty.is_none() {
                let what = format!(
                    "{:?} is no type of {} for a computed column",
                    computed.ty,
                    self.target.title()
                );
                self.add(name, what);
            }
            let tried = match Expression::compile(&computed.expression, self.table) {
                Ok(expression) => expression.tried().cloned(),
                Err(what) => {
                    self.add(name, what);
                    None
                }
            };
            // Only the kind of value is known here, not whether it is a number in a text.
            let tried = tried.filter(|value| !matches!(value, Value::String(_)));
            if let (Some(ty), Some(value)) = (ty, tried)
                && let Err(what) = computed::write(&value, &ty, &mut Vec::new())
            {
                self.add(name, what);
            }
        }
        self.names(rule);
    }

    fn column(&mut self, change: &ColumnRule, column: &Column) {
        let name = &column.name;
        if change.drop {
            if change.rename.is_some() || change.cast.is_some() || change.changes_values() {
                self.add(name, "is left out: nothing else can be done with it");
            }
            return;
        }
        if column.generated.is_some() && (change.changes_values() || change.cast.is_some()) {
            self.add(name, "is a generated column: its values can't be changed");
        }
        if change.trim.is_some() && !is_text(&column.canonical) {
            let what = format!("is a {}: only text can be trimmed", column.native_type);
            self.add(name, what);
        }
        if change.mask.is_some() && change.cast.is_some() {
            self.add(name, "is masked and so a text: it can't be cast");
        }
        let is_key = self.table.primary_key.contains(name);
        if is_key && !change.null_if.is_empty() {
            self.add(name, "is in the primary key: it can't become NULL");
        }
    }

    /// A generated column is made of others by their old names and values.
    fn generated(&mut self, rule: &TableRule) {
        let gone =
            |change: &ColumnRule| change.drop || change.rename.is_some() || change.mask.is_some();
        let mut found = Vec::new();
        for column in &self.table.columns {
            let dropped = rule.of(&column.name).is_some_and(|change| change.drop);
            let Some(generated) = column.generated.as_ref().filter(|_| !dropped) else {
                continue;
            };
            for change in rule.columns.iter().filter(|change| gone(change)) {
                if change.column != column.name && mentions(&generated.expression, &change.column) {
                    found.push((column.name.clone(), change.column.clone()));
                }
            }
        }
        for (name, from) in found {
            let what = format!(
                "is generated from {from}, which the rule changes: leave it out too, or put a \
                 computed column in its place"
            );
            self.add(&name, what);
        }
    }

    /// One text for all rows can't be a key.
    fn keys(&mut self, rule: &TableRule) {
        let redacted = |name: &str| {
            let mask = rule.of(name).and_then(|change| change.mask.as_ref());
            matches!(mask, Some(Mask::Redact { .. }))
        };
        let key = &self.table.primary_key;
        if !key.is_empty() && key.iter().all(|name| redacted(name)) {
            self.add(
                "",
                "redact makes all rows equal in the primary key; hash keeps them apart",
            );
        }
        let unique = self.table.indexes.iter().filter(|index| index.unique);
        let equal: Vec<String> = unique
            .filter(|index| {
                let mut columns = index.columns.iter();
                !index.columns.is_empty() && columns.all(|column| redacted(&column.name))
            })
            .map(|index| index.name.clone())
            .collect();
        for index in equal {
            let what = format!(
                "redact makes all rows equal in the unique index {index}; hash keeps them apart"
            );
            self.add("", what);
        }
    }

    /// The columns that are written have different names, and there is one.
    fn names(&mut self, rule: &TableRule) {
        let kept = self
            .table
            .columns
            .iter()
            .filter_map(|column| match rule.of(&column.name) {
                Some(change) if change.drop => None,
                Some(change) => Some(change.name()),
                None => Some(column.name.as_str()),
            });
        let computed = rule
            .computed
            .iter()
            .map(|computed| computed.column.as_str());
        let mut count: BTreeMap<String, u32> = BTreeMap::new();
        for name in kept.chain(computed) {
            // Only PostgreSQL tells names apart by case.
            let name = match self.target {
                Engine::Postgres => name.to_owned(),
                Engine::Sqlite | Engine::Mysql => name.to_lowercase(),
            };
            *count.entry(name).or_default() += 1;
        }
        if count.is_empty() {
            self.add("", "no column is left");
        }
        for (name, times) in count {
            if times > 1 {
                self.add("", format!("{times} columns are called {name}"));
            }
        }
    }
}

fn is_text(canonical: &CanonicalType) -> bool {
    matches!(
        canonical,
        CanonicalType::Text { .. } | CanonicalType::Any | CanonicalType::Json
    )
}
