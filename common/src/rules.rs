//! What a job changes on the way, table by table: the "cleaning" of a migration. Pure data; what
//! it does to rows is in [`crate::transform`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::job::SecretRef;

/// The changes to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRule {
    /// The source's table, by its full name.
    pub table: String,
    /// Its name in the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    /// An expression over the source's columns; rows for which it isn't true are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub computed: Vec<ComputedColumn>,
}

impl TableRule {
    /// The change to a column of the source.
    pub fn of(&self, column: &str) -> Option<&ColumnRule> {
        self.columns.iter().find(|rule| rule.column == column)
    }

    /// The change that made the column called `name` after the rule.
    pub fn behind(&self, name: &str) -> Option<&ColumnRule> {
        let renamed = |rule: &&ColumnRule| rule.rename.as_deref() == Some(name);
        let kept = |rule: &&ColumnRule| rule.column == name && rule.rename.is_none();
        let found = self.columns.iter().find(renamed);
        found.or_else(|| self.columns.iter().find(kept))
    }

    /// The computed column of that name.
    pub fn computed(&self, name: &str) -> Option<&ComputedColumn> {
        self.computed
            .iter()
            .find(|computed| computed.column == name)
    }
}

impl ColumnRule {
    /// What the column is called in the target.
    pub fn name(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.column)
    }

    /// Whether values may come out as others, beyond what the target's type does.
    pub fn changes_values(&self) -> bool {
        self.trim.is_some() || !self.null_if.is_empty() || self.mask.is_some()
    }
}

/// The changes to one column, done in this order: trim, null_if, mask, cast.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRule {
    /// The source's name.
    pub column: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim: Option<Trim>,
    /// Values that become NULL, compared as canonical text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_if: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// A type of the target, in its own spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast: Option<String>,
}

/// Which ends of a text lose their white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trim {
    Both,
    Left,
    Right,
}

/// How a value is hidden. NULL stays NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The lower-case hexadecimal HMAC-SHA-256 of the canonical text under the salt: equal values
    /// stay equal, across tables too.
    Hash { salt: SecretRef },
    /// One text for every value.
    Redact { with: String },
}

/// A column that the source doesn't have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedColumn {
    pub column: String,
    /// A type of the target, in its own spelling.
    pub ty: String,
    /// An expression over the source's columns.
    pub expression: String,
}

/// A type of the source that becomes another one of the target, in all tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCast {
    /// Glob over the source's own spelling, without case: `tinyint(1)*`.
    pub from: String,
    pub to: String,
}

impl TypeCast {
    /// Whether a column of this type is meant.
    pub fn takes(&self, native_type: &str) -> bool {
        let glob = globset::GlobBuilder::new(&self.from)
            .case_insensitive(true)
            .build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(native_type))
    }
}

impl FromStr for TypeCast {
    type Err = String;

    /// `FROM=TO`.
    fn from_str(text: &str) -> Result<TypeCast, String> {
        let (from, to) = text.split_once('=').unwrap_or_default();
        let (from, to) = (from.trim().to_owned(), to.trim().to_owned());
        if from.is_empty() || to.is_empty() {
            return Err("write FROM=TO, as in 'tinyint(1)=boolean'".to_owned());
        }
        match globset::Glob::new(&from) {
            Ok(_) => Ok(TypeCast { from, to }),
            Err(error) => Err(format!("{from:?} is not a pattern: {}", error.kind())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_has_two_types() {
        let cast: TypeCast = "tinyint(1) = boolean".parse().expect("a cast");
        assert_eq!(
            (cast.from.as_str(), cast.to.as_str()),
            ("tinyint(1)", "boolean")
        );
        for text in ["", "a", "a=", "=b", "[=boolean"] {
            assert!(text.parse::<TypeCast>().is_err(), "{text}");
        }
    }
}
