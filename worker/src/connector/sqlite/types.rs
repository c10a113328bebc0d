//! Declared types: what SQLite does with them (their affinity) and what they are between engines.
//! It knows no values; those are in `cells`.

use common::schema::CanonicalType;

/// Decimals with more digits than this aren't taken at their word: no engine declares such.
const PRECISION_MAX: u32 = 1_000;

/// What SQLite makes of a value on its way into a column, <https://www.sqlite.org/datatype3.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Integer,
    Real,
    Numeric,
    Text,
    /// Values stay what they are.
    None,
}

impl Affinity {
    pub fn of(declared: &str) -> Affinity {
        let upper = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
        if has(&["INT"]) {
            Affinity::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Affinity::Text
        // ANY is a type of STRICT tables; elsewhere it would be numeric, which claims more.
        } else if upper.trim().is_empty() || has(&["BLOB"]) || upper.trim() == "ANY" {
            Affinity::None
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    /// Text that looks like a number becomes one, so a number and its text can't both be there.
    pub fn is_numeric(self) -> bool {
        matches!(self, Affinity::Integer | Affinity::Real | Affinity::Numeric)
    }
}

/// The canonical type of a declared one. SQLite lets a column hold anything, so this says what the
/// column is meant to hold; `survey` looks at what it does hold.
pub fn canonical_type(declared: &str) -> CanonicalType {
    let (name, params, unsigned) = split(declared);
    let first = params.first().copied();
    let fraction = first.unwrap_or(6).min(6) as u8;
    let int = |bits| CanonicalType::Int { bits, unsigned };
    match name.as_str() {
        "BOOLEAN" | "BOOL" => CanonicalType::Bool,
        "TINYINT" | "INT1" => int(8),
        "SMALLINT" | "INT2" => int(16),
        "MEDIUMINT" | "INT3" => int(24),
        "INT" | "INT4" => int(32),
        "INTEGER" | "BIGINT" | "INT8" | "LONG" => int(64),
        "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" | "NUMBER" | "DECIMAL_TEXT" => match first {
            Some(precision @ 1..=PRECISION_MAX) => {
                let scale = params.get(1).copied().unwrap_or(0).min(precision);
                CanonicalType::Decimal {
                    precision: precision as u16,
                    scale: scale as u16,
                }
            }
            _ => CanonicalType::Numeric,
        },
        "NUMERIC_TEXT" => CanonicalType::Numeric,
        "FLOAT4" => CanonicalType::Float32,
        "REAL" | "DOUBLE" | "DOUBLE PRECISION" | "FLOAT" | "FLOAT8" => CanonicalType::Float64,
        "CHAR" | "CHARACTER" | "VARCHAR" | "NCHAR" | "NVARCHAR" | "VARYING CHARACTER"
        | "NATIVE CHARACTER" | "CHARACTER VARYING" | "VARCHAR2" | "NVARCHAR2" => {
            CanonicalType::Text { max_chars: first }
        }
        "TEXT" | "CLOB" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "NTEXT" => {
            CanonicalType::Text { max_chars: None }
        }
        "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => CanonicalType::Bytes { max_len: None },
        "BINARY" | "VARBINARY" => CanonicalType::Bytes { max_len: first },
        "DATE" => CanonicalType::Date,
        "DATETIME" => CanonicalType::DateTime { fraction },
        "TIMESTAMP" => CanonicalType::Timestamp { fraction },
        "TIME" => CanonicalType::Time { fraction },
        "YEAR" => CanonicalType::Year,
        "JSON" | "JSON_TEXT" => CanonicalType::Json,
        "UUID_TEXT" => CanonicalType::Uuid,
        "INET_TEXT" => CanonicalType::Inet,
        "BIT" | "BIT_TEXT" => CanonicalType::Bit {
            width: first.unwrap_or(1).clamp(1, 64) as u8,
        },
        _ => CanonicalType::Any,
    }
}

/// `decimal ( 10, 2 ) unsigned` as (`DECIMAL`, [10, 2], true).
fn split(declared: &str) -> (String, Vec<u32>, bool) {
    let upper = declared.to_ascii_uppercase();
    let (head, rest) = match upper.split_once('(') {
        Some((head, rest)) => (head, rest),
        None => (upper.as_str(), ""),
    };
    let (params, tail) = rest.split_once(')').unwrap_or((rest, ""));
    let params = params
        .split(',')
        .filter_map(|param| param.trim().parse().ok())
        .collect();
    let mut words: Vec<&str> = head.split_whitespace().collect();
    let before = words.len();
    words.retain(|word| *word != "UNSIGNED" && *word != "SIGNED");
    let unsigned = tail.split_whitespace().any(|word| word == "UNSIGNED")
        || (before != words.len() && head.contains("UNSIGNED"));
    (words.join(" "), params, unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_read() {
        let text = |max_chars| CanonicalType::Text { max_chars };
        let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
        let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
        for (declared, expected) in [
            ("INTEGER", int(64, false)),
            ("bigint unsigned", int(64, true)),
            ("INT(10) UNSIGNED", int(32, true)),
            ("BOOLEAN", CanonicalType::Bool),
            ("NVARCHAR(160)", text(Some(160))),
            ("varying  character (20)", text(Some(20))),
            ("TEXT", text(None)),
            ("NUMERIC(10,2)", decimal(10, 2)),
            ("DECIMAL_TEXT(30, 10)", decimal(30, 10)),
            ("DECIMAL(5)", decimal(5, 0)),
            ("NUMERIC", CanonicalType::Numeric),
            ("", CanonicalType::Any),
            ("FLOAT4", CanonicalType::Float32),
            ("Double Precision", CanonicalType::Float64),
            ("VARBINARY(16)", CanonicalType::Bytes { max_len: Some(16) }),
            ("DATETIME", CanonicalType::DateTime { fraction: 6 }),
            ("TIMESTAMP(3)", CanonicalType::Timestamp { fraction: 3 }),
            ("TIME(0)", CanonicalType::Time { fraction: 0 }),
            ("JSON_TEXT", CanonicalType::Json),
            ("BIT_TEXT(64)", CanonicalType::Bit { width: 64 }),
            ("BIT(12)", CanonicalType::Bit { width: 12 }),
        ] {
            assert_eq!(canonical_type(declared), expected, "{declared}");
        }
    }

    #[test]
    fn affinities_follow_sqlites_rules_in_their_order() {
        for (declared, expected) in [
            ("CHARINT", Affinity::Integer),
            ("FLOATING POINT", Affinity::Integer),
            ("VARCHAR(3)", Affinity::Text),
            ("DECIMAL_TEXT(20,0)", Affinity::Text),
            ("", Affinity::None),
            ("BLOB", Affinity::None),
            ("DOUBLE", Affinity::Real),
            ("STRING", Affinity::Numeric),
            ("DATETIME", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(declared), expected, "{declared}");
        }
    }
}
