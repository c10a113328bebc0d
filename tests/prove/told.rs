//! What a report tells of, compared with what was planted: every row once, by its class, table, key,
//! columns and both values, and nothing beside.

use serde_json::Value as Json;

use crate::harness::lab::Kind;
use crate::harness::literal;

/// A value as the test knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// By its digits; equal if they are, but for zeros at the end of a fraction.
    Number(String),
    Double(f64),
    Float(f32),
    Text(String),
    Bytes(Vec<u8>),
    Bool(bool),
    /// `2024-01-02`, `2024-01-02 03:04:05.678901`; of a zone: in UTC.
    Moment(String),
    Instant(String),
    Json(String),
    /// Longer than what is shown: only its column must be named.
    Long(Vec<u8>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn number(number: impl ToString) -> Value {
        Value::Number(number.to_string())
    }

    /// As a statement says it.
    pub fn literal(&self, kind: Kind) -> String {
        match self {
            Value::Null => "NULL".to_owned(),
            // In quotes: a literal of many digits would be a double in SQLite.
            Value::Number(digits) => format!("'{digits}'"),
            Value::Double(number) => format!("'{number:e}'"),
            Value::Float(number) => format!("'{number:e}'"),
            Value::Text(text) => literal::text(kind, text),
            Value::Moment(text) | Value::Json(text) => format!("'{text}'"),
            Value::Instant(text) if kind == Kind::Postgres => format!("'{text}+00'"),
            Value::Instant(text) => format!("'{text}'"),
            Value::Bytes(bytes) | Value::Long(bytes) => literal::bytes(kind, bytes),
            // As text: PostgreSQL's column may be a boolean or a number.
            Value::Bool(yes) => format!("'{}'", u8::from(*yes)),
        }
    }

    /// Whether a report shows this value.
    pub fn is(&self, shown: Option<&str>) -> bool {
        let Some(shown) = shown else {
            return *self == Value::Null;
        };
        match self {
            Value::Null => false,
            Value::Long(_) => true,
            Value::Text(text) => shown == text,
            Value::Number(digits) => plain(digits) == plain(shown),
            Value::Double(one) => {
                let shown = shown.parse::<f64>().map(f64::to_bits);
                shown == Ok(one.to_bits())
            }
            Value::Float(one) => {
                let shown = shown.parse::<f32>().map(f32::to_bits);
                shown == Ok(one.to_bits())
            }
            Value::Bool(yes) => {
                [["0", "f", "false"], ["1", "t", "true"]][usize::from(*yes)].contains(&shown)
            }
            Value::Moment(text) | Value::Instant(text) => {
                let shown = shown.trim_end_matches('Z').trim_end_matches("+00");
                moment(shown) == moment(text)
            }
            Value::Json(text) => {
                let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
                parsed(shown).is_some() && parsed(shown) == parsed(text)
            }
            Value::Bytes(bytes) => shown == format!("0x{}", hex(bytes)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn moment(text: &str) -> String {
    let text = text.replace('T', " ");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn plain(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

/// A column that differs: its name, the source's value, the target's.
pub type Column = (&'static str, Value, Value);

/// One row that must be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub class: &'static str,
    pub table: &'static str,
    /// Values of the key; of every column where there is none.
    pub key: Vec<Value>,
    pub columns: Vec<Column>,
    pub copies: u64,
}

impl Found {
    pub fn new(class: &'static str, table: &'static str, key: &[Value]) -> Found {
        Found {
            class,
            table,
            key: key.to_vec(),
            columns: Vec::new(),
            copies: 1,
        }
    }

    pub fn columns(mut self, columns: &[Column]) -> Found {
        self.columns = columns.to_vec();
        self
    }

    pub fn is_told_by(&self, one: &Json) -> bool {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let table = one["table"].as_str().unwrap_or_default();
        let (_, table) = table.rsplit_once('.').unwrap_or(("", table));
        if table != self.table || one["class"] != self.class || one["copies"] != self.copies {
            return false;
        }
        let key = one["key"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut keys = self.key.iter().zip(key);
        if key.len() != self.key.len()
            || !keys.all(|(value, told)| value.is(text(&told["value"]).as_deref()))
        {
            return false;
        }
        let told = one["columns"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut columns = self.columns.iter().zip(told);
        told.len() == self.columns.len()
            && columns.all(|((name, source, target), told)| {
                told["column"] == *name
                    && source.is(text(&told["source"]).as_deref())
                    && target.is(text(&told["target"]).as_deref())
            })
    }
}

/// What is wrong with a report, given all that must be told; empty = nothing.
pub fn wrongs(report: &Json, expected: &[Found]) -> Vec<String> {
    let mut told: Vec<&Json> = report["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    // Other words for an equal value may be told or not.
    told.retain(|one| one["class"] != "representation");
    let mut wrongs = Vec::new();
    for found in expected {
        match told.iter().position(|one| found.is_told_by(one)) {
            Some(at) => drop(told.swap_remove(at)),
            None => wrongs.push(format!("not told: {found:?}")),
        }
    }
    wrongs.extend(
        told.iter()
            .map(|one| format!("told and not planted: {one}")),
    );
    for class in ["missing", "extra", "different", "in_flight"] {
        let of_class = expected.iter().filter(|found| found.class == class);
        let rows: u64 = of_class.map(|found| found.copies).sum();
        if report["counts"][class] != rows {
            let counted = &report["counts"][class];
            wrongs.push(format!("{class}: {counted} are counted, {rows} planted"));
        }
    }
    if report["schema_differences"]
        .as_array()
        .is_none_or(|list| !list.is_empty())
    {
        wrongs.push(format!("schema: {}", report["schema_differences"]));
    }
    wrongs
}

#[test]
fn a_value_is_told_in_more_than_one_way() {
    assert!(Value::number("1.50").is(Some("1.5")));
    assert!(!Value::number("1.50").is(Some("1.51")));
    assert!(!Value::number("9007199254740993").is(Some("9007199254740992")));
    assert!(Value::Double(0.3).is(Some("3e-1")));
    assert!(!Value::Double(0.3).is(Some("0.30000000000000004")));
    assert!(!Value::Double(-0.0).is(Some("0")));
    assert!(Value::Float(0.3).is(Some("0.30000001192092896")));
    assert!(Value::Moment("2024-01-02 03:04:05.600000".into()).is(Some("2024-01-02 03:04:05.6")));
    assert!(Value::Json(r#"{"a": 1, "b": 2}"#.into()).is(Some(r#"{"b":2,"a":1}"#)));
    assert!(!Value::text("").is(None));
}
