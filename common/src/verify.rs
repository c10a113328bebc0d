//! Comparing the two ends of a migration row by row, and making them equal again: the words of
//! verify and repair jobs. How rows are folded and paired is in [`fold`] and [`pair`], what the
//! schemas differ in is in [`schema`].
//!
//! Of the copier's code only the definition of canonical values ([`crate::value`]) is shared.

pub mod fold;
pub mod pair;
pub mod plan;
pub mod schema;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{JobUid, TableNo};
use crate::schema::KeyRange;

/// What the user asks of a verify job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyOptions {
    /// Only these columns are compared (and the key): globs over `table.column`; empty = all.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Of 1,000 ranges so many are compared, chosen by a hash of the job's uid; None = all.
    #[serde(default)]
    pub sample_permille: Option<u32>,
    /// Let the servers fold the rows where both can, as strongly, and read only what differs.
    #[serde(default)]
    pub fast: bool,
    /// Rows a second over all workers and both ends; None = unbounded.
    #[serde(default)]
    pub rows_per_second: Option<u64>,
    /// A job that follows from this source to this target: what differs is looked at again once
    /// its stream has passed, before it is called a difference.
    #[serde(default)]
    pub following: Option<JobUid>,
}

/// What the user asks of a repair job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairOptions {
    /// Say what would be done, change nothing.
    pub dry_run: bool,
    /// Only differences of these classes are mended; empty = all but representation.
    #[serde(default)]
    pub only: Vec<Class>,
    /// Where the verify job found differences.
    pub ranges: Vec<TableRange>,
}

/// A set of rows of one table that both ends read alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRange {
    /// The source's full name of the table: repair plans are read by people.
    pub table: String,
    /// The key columns the ranges are about (the source's names); empty = the whole table.
    #[serde(default)]
    pub columns: Vec<String>,
    #[serde(default)]
    pub ranges: Vec<KeyRange>,
    /// Keys (see [`Difference::key_hash`]) of everything to be mended; empty = all that differs
    /// in the ranges.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// At the source only.
    Missing,
    /// At the target only.
    Extra,
    /// At both ends under one key, with other values.
    Different,
    /// The values are equal and are stored in other words, such as JSON with its keys in another
    /// order. Told, and not counted as a difference.
    Representation,
    /// It kept changing while it was looked at: neither equal nor different is proven.
    InFlight,
}

impl Class {
    pub const ALL: [Class; 5] = [
        Class::Missing,
        Class::Extra,
        Class::Different,
        Class::Representation,
        Class::InFlight,
    ];

    /// As people and JSON write it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Missing => "missing",
            Class::Extra => "extra",
            Class::Different => "different",
            Class::Representation => "representation",
            Class::InFlight => "in_flight",
        }
    }
}

/// One row that differs, located.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub class: Class,
    /// 32 hex digits: the 128-bit hash of the canonical key; of the whole row where there is none.
    pub key_hash: String,
    /// Key columns and their values; for a table without a key every column.
    pub key: Vec<(String, Option<String>)>,
    /// The columns that differ; empty for missing and extra rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnDifference>,
    /// How many copies too few or too many: above 1 only in tables without a key.
    pub copies: u64,
}

/// One column of a row that differs. Values are shown as canonical text, bytes as `0x…`, both cut
/// at [`crate::limits::VALUE_SHOWN_BYTES`]; None = NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifference {
    pub column: String,
    pub source: Option<String>,
    pub target: Option<String>,
}

/// Rows by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    pub representation: u64,
    pub in_flight: u64,
}

impl Counts {
    pub fn add(&mut self, class: Class, rows: u64) {
        let count = match class {
            Class::Missing => &mut self.missing,
            Class::Extra => &mut self.extra,
            Class::Different => &mut self.different,
            Class::Representation => &mut self.representation,
            Class::InFlight => &mut self.in_flight,
        };
        *count += rows;
    }

    pub fn merge(&mut self, other: &Counts) {
        self.missing += other.missing;
        self.extra += other.extra;
        self.different += other.different;
        self.representation += other.representation;
        self.in_flight += other.in_flight;
    }

    /// Rows that are not equal.
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// The result of comparing one range of a table at both ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    pub at_source: Digest,
    pub at_target: Digest,
    pub counts: Counts,
    /// At most [`crate::limits::DIFFERENCES_PER_RANGE`] of them, in key order of their hashes.
    #[serde(default)]
    pub listed: Vec<Difference>,
}

/// The result of repairing one range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// Of a dry run what was found; else what was still there when the range was read again.
    pub left: Examined,
}

/// What a verify or repair job has found of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
    pub ranges: u32,
    pub ranges_done: u32,
    pub at_source: Digest,
    pub at_target: Digest,
    pub counts: Counts,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// A range that differs: what a repair plan is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingRange {
    pub table: TableNo,
    /// Number of the range among all of the job's, as [`crate::task::TaskKind::Examine`] has it.
    pub range: u32,
    pub counts: Counts,
    /// Cut short once the job has [`crate::limits::DIFFERENCES_PER_JOB`] of them.
    pub listed: Vec<Difference>,
}

/// Something the two schemas differ in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDifference {
    /// The table (or sequence) by the source's name.
    pub object: String,
    /// `table`, `column`, `primary_key`, `index`, `foreign_key`, `check`, `default`, `sequence`, `object`.
    pub kind: String,
    /// The column, index or constraint.
    pub name: String,
    /// As it should be by the plan; None = it shouldn't be there.
    pub expected: Option<String>,
    /// As it is at the target; None = it isn't there.
    pub found: Option<String>,
}
