//! Casts the user asks for: which one a column has, and the target's type it names.

use super::{Mapping, spelling};
use crate::job::JobSpec;
use crate::rules::TableRule;
use crate::schema::{CanonicalType, Column, Engine, TableSchema};

/// Where a shaped table comes from: it has its source's name, its columns have the target's.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// What rules and acceptances are about.
    pub full_name: String,
    pub rule: Option<&'a TableRule>,
}

impl<'a> Origin<'a> {
    /// The source's name of a shaped column; a computed one has its own.
    pub fn column<'b>(&'b self, shaped: &'b str) -> &'b str {
        let behind = self.rule.and_then(|rule| rule.behind(shaped));
        behind.map_or(shaped, |rule| &rule.column)
    }

    /// The expression of a computed column.
    pub fn expression(&self, shaped: &str) -> Option<&'a str> {
        let computed = self.rule.and_then(|rule| rule.computed(shaped));
        computed.map(|computed| computed.expression.as_str())
    }
}

/// The rule behind a shaped table.
pub fn origin<'a>(spec: &'a JobSpec, shaped: &TableSchema) -> Origin<'a> {
    let full_name = shaped.full_name();
    Origin {
        rule: spec.rules.iter().find(|rule| rule.table == full_name),
        full_name,
    }
}

/// The type that the job gives to a column of a shaped table, in the target's own spelling.
pub fn cast_of<'a>(spec: &'a JobSpec, origin: &Origin<'a>, column: &Column) -> Option<&'a str> {
    if let Some(computed) = origin.rule.and_then(|rule| rule.computed(&column.name)) {
        return Some(&computed.ty);
    }
    let name = origin.column(&column.name);
    for_column(spec, origin.rule, name, &column.native_type)
}

/// The same by the source's names: a rule's own cast goes before the job's general ones, of which
/// the first that fits counts.
pub fn for_column<'a>(
    spec: &'a JobSpec,
    rule: Option<&'a TableRule>,
    name: &str,
    native_type: &str,
) -> Option<&'a str> {
    let own = rule.and_then(|rule| rule.of(name));
    if let Some(cast) = own.and_then(|rule| rule.cast.as_deref()) {
        return Some(cast);
    }
    let general = spec.casts.iter().find(|cast| cast.takes(native_type));
    general.map(|cast| cast.to.as_str())
}

/// Gives a column the type. One that isn't understood keeps the canonical type, and its verdict is
/// that it may change values.
pub(super) fn apply(
    column: &mut Column,
    cast: &str,
    to: Option<Engine>,
    mapping: &mut Mapping,
    table: &TableSchema,
) {
    let Some(to) = to else { return };
    let name = format!("{}.{}", table.full_name(), column.name);
    if !is_type(cast) {
        let what = format!("{name}: {cast:?} can't be a type");
        mapping.spec.push(what);
        return;
    }
    let (spelled, collation) = spelling::split_collation(to, cast);
    column.native_type = spelled;
    column.collation = collation;
    column.charset = None;
    match spelling::canonical(to, &column.native_type) {
        Some(canonical) => column.canonical = canonical,
        None if column.canonical == CanonicalType::Any => {
            let what = format!("{name}: the type {cast:?} is not known, and the column has none");
            mapping.types.push(what);
        }
        None => {}
    }
}

/// A type goes into a statement as it is written: words, numbers, parentheses and quoted texts,
/// with no way to end the statement.
fn is_type(cast: &str) -> bool {
    let mut quoted = false;
    let mut depth = 0i32;
    for character in cast.chars() {
        match character {
            '\'' => quoted = !quoted,
            _ if quoted => {
                if matches!(character, '\\' | '\0') {
                    return false;
                }
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return false,
            c if c.is_alphanumeric() || matches!(c, ' ' | '_' | ',' | '[' | ']' | '.' | '"') => {}
            _ => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    let starts = cast.trim_start().chars().next();
    !quoted && depth == 0 && starts.is_some_and(|c| c.is_alphabetic() || c == '_' || c == '"')
}

#[cfg(test)]
mod tests {
    use super::is_type;

    #[test]
    fn a_type_can_not_end_a_statement() {
        for good in [
            "varchar(20)",
            "enum('a''b','c')",
            "double precision",
            "text[]",
            "\"My\".t",
        ] {
            assert!(is_type(good), "{good}");
        }
        for bad in [
            "",
            "int; drop table x",
            "int, b int",
            "int)",
            "enum('a",
            "int -- x",
            "x(('a)",
        ] {
            assert!(!is_type(bad), "{bad}");
        }
    }
}
