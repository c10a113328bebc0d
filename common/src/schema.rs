//! What an endpoint holds: tables, columns, keys; and the canonical types between engines.

use serde::{Deserialize, Serialize};

use crate::change::LogFacts;

/// The database systems Sterna knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Sqlite,
    /// MySQL and MariaDB: one dialect, the differences are asked of the server.
    Mysql,
    Postgres,
}

impl Engine {
    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Engine::Sqlite => "SQLite",
            Engine::Mysql => "MySQL",
            Engine::Postgres => "PostgreSQL",
        }
    }
}

/// The type between engines. A cell's **canonical text** is given with each variant; it is what
/// readers yield in [`CellForm::Canonical`] and what digests are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum CanonicalType {
    /// `0` or `1`.
    Bool,
    /// Decimal digits with an optional leading `-`.
    Int {
        bits: u8,
        unsigned: bool,
    },
    /// Digits with an optional `-` and `.`; canonical without trailing zeros after the point.
    Decimal {
        precision: u16,
        scale: u16,
    },
    /// As `Decimal` without a bound on its digits, and `NaN`, `Infinity`, `-Infinity`.
    Numeric,
    /// Any text that parses to the value; canonical is the IEEE bits.
    Float32,
    Float64,
    /// UTF-8. `max_chars` None = unbounded.
    Text {
        max_chars: Option<u32>,
    },
    /// Raw bytes. `max_len` None = unbounded.
    Bytes {
        max_len: Option<u32>,
    },
    /// `YYYY-MM-DD`.
    Date,
    /// `[-]HH:MM:SS[.ffffff]`, hours may exceed 24; canonical without trailing zeros.
    Time {
        fraction: u8,
    },
    /// `YYYY-MM-DD HH:MM:SS[.ffffff]`, no time zone; canonical without trailing zeros.
    DateTime {
        fraction: u8,
    },
    /// As `DateTime`, an instant in UTC.
    Timestamp {
        fraction: u8,
    },
    /// `YYYY`.
    Year,
    /// The document's text, as the source holds it; canonical is [`crate::json`]'s form, in which
    /// the order of keys and white space make no difference.
    Json,
    /// 32 hexadecimal digits, lower case, in groups of 8-4-4-4-12.
    Uuid,
    /// An IP address or network in any usual spelling; canonical is `address[/prefix]` as Rust's
    /// `IpAddr` prints it, without the prefix of a whole address.
    Inet,
    /// One of the values' text.
    Enum {
        values: Vec<String>,
    },
    /// The values' texts joined by commas.
    Set {
        values: Vec<String>,
    },
    /// The bits as an unsigned decimal number.
    Bit {
        width: u8,
    },
    /// SQLite's dynamic cell: one byte of storage class (`i`, `r`, `t`, `b`), then decimal digits,
    /// the eight big-endian IEEE bytes, the UTF-8 text, or the bytes.
    Any,
}

/// A column. `native_type` is the engine's own spelling, used when both ends are one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub native_type: String,
    pub canonical: CanonicalType,
    pub nullable: bool,
    pub default: Option<ColumnDefault>,
    pub auto_increment: bool,
    /// MySQL: character set and collation of a text column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// Expression of a generated column, in the engine's dialect; such a column isn't copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// The comment of the column that stands for a SQLite rowid no column of the table stands for.
pub const HIDDEN_ROWID: &str = "the row's own number";

impl Column {
    /// Whether the column is none of the table's own, but SQLite's number of the row.
    pub fn is_hidden_rowid(&self) -> bool {
        self.comment == HIDDEN_ROWID
    }
}

/// A generated column's expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    pub expression: String,
    pub stored: bool,
}

/// A default value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnDefault {
    /// A plain value, as canonical text.
    Literal(String),
    /// `CURRENT_TIMESTAMP`; MySQL's `ON UPDATE CURRENT_TIMESTAMP` in `on_update`.
    CurrentTimestamp { fraction: u8, on_update: bool },
    /// Anything else, verbatim in the source's dialect: same engine only.
    Expression(String),
}

/// A unique or secondary index; the primary key stands apart in [`TableSchema::primary_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    pub unique: bool,
    pub columns: Vec<IndexColumn>,
    /// The engine's own CREATE INDEX / key definition, same engine only (e.g. FULLTEXT, partial
    /// or expression indexes); None when the columns say everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
}

/// One column of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    pub name: String,
    /// MySQL prefix length, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u32>,
    #[serde(default)]
    pub descending: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<String>,
    /// The schema of the referenced table, as in [`TableSchema::schema`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references_schema: Option<String>,
    pub references_table: String,
    pub references_columns: Vec<String>,
    /// `NO ACTION`, `CASCADE`, `SET NULL`, `RESTRICT`, `SET DEFAULT`.
    pub on_delete: String,
    pub on_update: String,
    /// The engine's own constraint definition, what follows `ADD CONSTRAINT name`; same engine
    /// only (deferrable, NOT VALID, MATCH FULL, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
}

/// A table as inspected at the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    pub name: String,
    /// PostgreSQL's schema, MySQL's database; None = the endpoint's default one (its URL's
    /// `?schema=`, else `public`; its URL's database).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// PostgreSQL's declarative partitioning. None for MySQL, whose partitions are options of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    pub columns: Vec<Column>,
    /// Column names in key order; empty = no primary key.
    pub primary_key: Vec<String>,
    pub indexes: Vec<Index>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Next value, where the engine keeps one.
    #[serde(default)]
    pub auto_increment: Option<u64>,
    /// MySQL: `ENGINE=… DEFAULT CHARSET=… COLLATE=…`; SQLite: `STRICT`, `WITHOUT ROWID`.
    #[serde(default)]
    pub native_options: String,
    /// The engine's own CREATE TABLE (SQLite's sqlite_master text), same engine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_ddl: Option<String>,
    /// PostgreSQL: what makes its primary key, where `native_ddl` leaves that to later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_key: Option<String>,
    /// Estimates: they size partitions and drive progress, nothing depends on them.
    pub rows_estimate: u64,
    pub bytes_estimate: u64,
}

/// Where a table is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRef {
    /// None = the endpoint's default.
    pub schema: Option<String>,
    pub name: String,
}

/// What a table is in a partitioned family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// Holds no rows of its own. Read alone (`ONLY`) in native form, where its leaves are tables of
    /// the job; with all its rows in canonical form, where they aren't.
    Root,
    /// A partition, or a sub-partitioned one: copied by itself on the same engine, as a part of its
    /// root to another.
    Leaf,
}

impl TableSchema {
    /// `schema.name`, or the name alone in the default schema: what globs, reports and errors use.
    pub fn full_name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns whose values are copied: all but generated ones.
    pub fn copied_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.generated.is_none())
    }
}

/// One literal per key column (a prefix of the key is allowed), written by the source's connector
/// and opaque to everyone else: only the source, with its collation, ever compares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyBound(pub Vec<String>);

/// Half-open range `[from, until)` of a table's key; None = unbounded on that side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    pub from: Option<KeyBound>,
    pub until: Option<KeyBound>,
}

/// How a table can be cut into buckets, as the inspecting worker found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySample {
    /// The key columns the bounds are about; empty = the table can't be cut by key.
    pub columns: Vec<String>,
    /// Strictly ascending in the source's own order; k bounds make k+1 buckets.
    pub bounds: Vec<KeyBound>,
}

/// A point in the source's life, comparable for equality only: binlog file, offset and GTID set;
/// SQLite's change counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceMark(pub String);

/// Everything the inspect task learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    pub source: EndpointFacts,
    pub target: EndpointFacts,
    pub tables: Vec<InspectedTable>,
    /// What else the source's schemas hold, with the statements that make it, in an order that
    /// works; carried on the same engine, named as not carried to another.
    #[serde(default)]
    pub objects: Vec<SchemaObject>,
    /// Where the source stood before anything was read; None = it keeps no usable mark.
    pub mark: Option<SourceMark>,
    /// Whether the source's log can be followed; None = nobody looked.
    #[serde(default)]
    pub log: Option<LogFacts>,
    /// The target's own tables and objects, whole: of a job that compares or repairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Box<There>>,
    /// Things a user should know that stop nothing: views not copied, triggers, …
    pub notes: Vec<String>,
}

/// See [`Catalog::there`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct There {
    pub tables: Vec<TableSchema>,
    pub objects: Vec<SchemaObject>,
}

/// A view, type, sequence, routine, trigger, …: whatever isn't a table's column, key or index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaObject {
    /// `view`, `trigger`, `function`, …: lower case, for people.
    pub kind: String,
    /// As people write it, with schema or table where it belongs to one.
    pub name: String,
    pub stage: ObjectStage,
    /// In the source's dialect, run one after another, names relative to the default schema.
    /// Repeatable as a whole after `undo`.
    pub statements: Vec<String>,
    /// Removes it if it is there (`DROP … IF EXISTS …`).
    #[serde(default)]
    pub undo: Vec<String>,
}

/// When an object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectStage {
    /// Tables may need it: schemas, extensions, types, sequences, functions. What fails here for
    /// want of a table is tried again once the tables are there.
    BeforeTables,
    /// It needs the data, or would act on it: views, triggers, rules, policies, sequence values.
    AfterData,
}

/// A table with its cuts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedTable {
    pub schema: TableSchema,
    pub key: KeySample,
}

/// What is known of one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFacts {
    pub engine: Engine,
    /// As the server says it: `10.11.19-MariaDB`, `3.50.2`.
    pub version: String,
    /// A prepared transaction survives its session (XA); false = held open until the decision.
    pub durable_prepare: bool,
    /// Transactions that can load at the same time: 1 for SQLite.
    pub writers_max: u32,
}

/// In which form cells travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellForm {
    /// One engine on both ends: its own lossless text or bytes, passed through unchanged.
    Native,
    /// The canonical text of [`CanonicalType`].
    Canonical,
}
