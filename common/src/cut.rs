//! How a table is cut into partitions, in words: for plans, the status and reports. What the cut
//! is was decided in [`crate::plan`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fidelity::{ColumnVerdict, Loss};
use crate::job::JobSpec;
use crate::partition::Split;
use crate::plan::TablePlan;
use crate::schema::TableSchema;

/// How a table is read, and why so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cut {
    /// In ranges of these columns.
    ByKey { columns: Vec<String> },
    /// As one partition: it is too small to be worth cutting.
    Small,
    /// As one partition, under one snapshot of the source: no key gives its rows an order.
    NoKey,
}

impl Cut {
    pub fn of(table: &TablePlan, spec: &JobSpec) -> Cut {
        match &table.split {
            Split::Bucketed { columns, .. } => Cut::ByKey {
                columns: columns.clone(),
            },
            Split::Whole if !has_key(&table.source) => Cut::NoKey,
            Split::Whole if table.source.bytes_estimate < spec.split_bytes_min => Cut::Small,
            Split::Whole => Cut::NoKey,
        }
    }
}

/// Whether some key tells all rows apart; one that allows NULL doesn't.
fn has_key(table: &TableSchema) -> bool {
    let is_set = |name: &str| table.column(name).is_some_and(|column| !column.nullable);
    let mut unique = table.indexes.iter().filter(|index| index.unique);
    !table.primary_key.is_empty()
        || unique.any(|index| {
            index.native.is_none()
                && !index.columns.is_empty()
                && index.columns.iter().all(|column| is_set(&column.name))
        })
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::ByKey { columns } => write!(f, "by key {}", columns.join(", ")),
            Cut::Small => f.write_str("whole: small"),
            Cut::NoKey => f.write_str("whole: no usable key, one snapshot"),
        }
    }
}

/// A loss that the user accepted for a column of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    pub column: String,
    pub code: Loss,
}

/// What was accepted for a table's columns.
pub fn accepted(columns: &[ColumnVerdict]) -> Vec<AcceptedLoss> {
    let of_column = |column: &ColumnVerdict| {
        let name = column.column.clone();
        let losses = column.losses.iter().filter(|loss| loss.accepted);
        let losses: Vec<AcceptedLoss> = losses
            .map(|loss| AcceptedLoss {
                column: name.clone(),
                code: loss.loss,
            })
            .collect();
        losses
    };
    columns.iter().flat_map(of_column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Endpoint;
    use crate::schema::{
        CanonicalType, CellForm, Column, Index, IndexColumn, KeyBound, TableSchema,
    };

    fn table(nullable: bool) -> TablePlan {
        let column = Column {
            name: "a".to_owned(),
            native_type: "TEXT".to_owned(),
            canonical: CanonicalType::Text { max_chars: None },
            nullable,
            default: None,
            auto_increment: false,
            charset: None,
            collation: None,
            generated: None,
            comment: String::new(),
        };
        let index = Index {
            name: "u".to_owned(),
            unique: true,
            columns: vec![IndexColumn {
                name: "a".to_owned(),
                prefix: None,
                descending: false,
            }],
            native: None,
        };
        let source = TableSchema {
            name: "t".to_owned(),
            schema: None,
            member: None,
            columns: vec![column],
            primary_key: Vec::new(),
            indexes: vec![index],
            foreign_keys: Vec::new(),
            auto_increment: None,
            native_options: String::new(),
            native_ddl: None,
            native_key: None,
            rows_estimate: 1,
            bytes_estimate: 1,
        };
        TablePlan {
            target: source.clone(),
            source,
            shaped: None,
            form: CellForm::Native,
            split: Split::Whole,
            columns: Vec::new(),
            rule: None,
        }
    }

    #[test]
    fn a_unique_key_that_allows_null_is_none() {
        let end = |url: &str| Endpoint {
            url: url.to_owned(),
            password: None,
        };
        let spec = JobSpec::new("x", end("sqlite:a"), end("sqlite:b"));
        assert_eq!(Cut::of(&table(true), &spec), Cut::NoKey);
        assert_eq!(Cut::of(&table(false), &spec), Cut::Small);
        let mut large = table(false);
        large.source.bytes_estimate = 1 << 40;
        assert_eq!(Cut::of(&large, &spec), Cut::NoKey);
        large.split = Split::Bucketed {
            columns: vec!["a".to_owned(), "b".to_owned()],
            bounds: [KeyBound(vec!["1".to_owned()])].into_iter().collect(),
            n: 2,
            seed: 0,
        };
        assert_eq!(Cut::of(&large, &spec).to_string(), "by key a, b");
    }
}
