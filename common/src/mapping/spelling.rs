//! A type as a target spells it, read back into what it can hold. For casts; a connector reads its
//! own catalogue by itself. None = not known here.

use crate::schema::{CanonicalType, Engine};

/// What a type of `engine` can hold.
pub fn canonical(engine: Engine, spelled: &str) -> Option<CanonicalType> {
    let spelled = Spelled::read(spelled)?;
    match engine {
        Engine::Mysql => mysql(&spelled),
        Engine::Postgres => postgres(&spelled),
        Engine::Sqlite => sqlite(&spelled),
    }
}

/// `varchar(20) COLLATE x` as the type and the collation: MySQL keeps them apart.
pub fn split_collation(engine: Engine, spelled: &str) -> (String, Option<String>) {
    let spelled = spelled.trim();
    let lower = spelled.to_ascii_lowercase();
    match (engine, lower.rfind(" collate ")) {
        (Engine::Mysql, Some(at)) => {
            let collation = spelled[at + " collate ".len()..].trim().to_owned();
            (spelled[..at].trim_end().to_owned(), Some(collation))
        }
        _ => (spelled.to_owned(), None),
    }
}

/// `decimal ( 10, 2 ) unsigned` in its parts.
struct Spelled {
    /// Lower case, single blanks.
    head: String,
    numbers: Vec<u32>,
    texts: Vec<String>,
    tail: String,
}

impl Spelled {
    fn read(spelled: &str) -> Option<Spelled> {
        let words = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let Some((head, rest)) = spelled.split_once('(') else {
            return Some(Spelled {
                head: words(spelled),
                numbers: Vec::new(),
                texts: Vec::new(),
                tail: String::new(),
            });
        };
        let (inner, tail) = rest.rsplit_once(')')?;
        let texts = texts(inner);
        let numbers = match texts.is_empty() {
            true => inner.split(',').map(|n| n.trim().parse().ok()).collect(),
            false => Some(Vec::new()),
        };
        Some(Spelled {
            head: words(head),
            numbers: numbers?,
            texts,
            tail: words(tail),
        })
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.numbers.get(at).copied()
    }

    fn fraction(&self, default: u32) -> u8 {
        self.number(0).unwrap_or(default).min(6) as u8
    }

    fn width(&self) -> Option<u8> {
        let width = self.number(0).unwrap_or(1);
        u8::try_from(width).ok().filter(|w| (1..=64).contains(w))
    }

    fn decimal(&self, default: (u32, u32)) -> CanonicalType {
        let precision = self.number(0).unwrap_or(default.0);
        let scale = match self.numbers.is_empty() {
            true => default.1,
            false => self.number(1).unwrap_or(0),
        };
        CanonicalType::Decimal {
            precision: precision.min(u32::from(u16::MAX)) as u16,
            scale: scale.min(u32::from(u16::MAX)) as u16,
        }
    }
}

/// The quoted texts of `'a','it''s'`.
fn texts(inner: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match (&mut current, character) {
            (None, '\'') => current = Some(String::new()),
            (None, _) => {}
            (Some(text), '\'') if characters.peek() == Some(&'\'') => {
                characters.next();
                text.push('\'');
            }
            (Some(_), '\'') => found.extend(current.take()),
            (Some(text), other) => text.push(other),
        }
    }
    found
}

fn mysql(spelled: &Spelled) -> Option<CanonicalType> {
    let unsigned = spelled.tail.contains("unsigned") || spelled.head.ends_with(" unsigned");
    let int = |bits| CanonicalType::Int { bits, unsigned };
    let head = spelled.head.trim_end_matches(" unsigned");
    let sized = |max_chars| CanonicalType::Text { max_chars };
    Some(match head {
        "tinyint" => int(8),
        "bool" | "boolean" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" | "integer" => int(32),
        "bigint" => int(64),
        "decimal" | "numeric" | "dec" | "fixed" => spelled.decimal((10, 0)),
        "float" => CanonicalType::Float32,
        "double" | "double precision" | "real" => CanonicalType::Float64,
        "char" => sized(Some(spelled.number(0).unwrap_or(1))),
        "varchar" => sized(Some(spelled.number(0)?)),
        "tinytext" => sized(Some(63)),
        "text" => sized(Some(16_383)),
        "mediumtext" => sized(Some(4_194_303)),
        "longtext" => sized(None),
        "binary" | "varbinary" => CanonicalType::Bytes {
            max_len: Some(spelled.number(0).unwrap_or(1)),
        },
        "tinyblob" => CanonicalType::Bytes { max_len: Some(255) },
        "blob" => CanonicalType::Bytes {
            max_len: Some(65_535),
        },
        "mediumblob" => CanonicalType::Bytes {
            max_len: Some(16_777_215),
        },
        "longblob" => CanonicalType::Bytes { max_len: None },
        "date" => CanonicalType::Date,
        "time" => CanonicalType::Time {
            fraction: spelled.fraction(0),
        },
        "datetime" => CanonicalType::DateTime {
            fraction: spelled.fraction(0),
        },
        "year" => CanonicalType::Year,
        "json" => CanonicalType::Json,
        "uuid" => CanonicalType::Uuid,
        "inet6" => CanonicalType::Inet,
        "bit" => CanonicalType::Bit {
            width: spelled.width()?,
        },
        "enum" if !spelled.texts.is_empty() => CanonicalType::Enum {
            values: spelled.texts.clone(),
        },
        "set" if !spelled.texts.is_empty() => CanonicalType::Set {
            values: spelled.texts.clone(),
        },
        _ => return None,
    })
}

fn postgres(spelled: &Spelled) -> Option<CanonicalType> {
    let int = |bits| CanonicalType::Int {
        bits,
        unsigned: false,
    };
    let zoned = spelled.tail == "with time zone";
    Some(match spelled.head.as_str() {
        "boolean" | "bool" => CanonicalType::Bool,
        "smallint" | "int2" => int(16),
        "integer" | "int" | "int4" => int(32),
        "bigint" | "int8" => int(64),
        "oid" => CanonicalType::Int {
            bits: 32,
            unsigned: true,
        },
        "numeric" | "decimal" if spelled.numbers.is_empty() => CanonicalType::Numeric,
        "numeric" | "decimal" => spelled.decimal((10, 0)),
        "real" | "float4" => CanonicalType::Float32,
        "double precision" | "float8" | "float" => CanonicalType::Float64,
        "text" | "citext" => CanonicalType::Text { max_chars: None },
        "varchar" | "character varying" => CanonicalType::Text {
            max_chars: spelled.number(0),
        },
        "char" | "character" => CanonicalType::Text {
            max_chars: Some(spelled.number(0).unwrap_or(1)),
        },
        "bytea" => CanonicalType::Bytes { max_len: None },
        "date" => CanonicalType::Date,
        "time" | "interval" if !zoned => CanonicalType::Time {
            fraction: spelled.fraction(6),
        },
        "time without time zone" => CanonicalType::Time { fraction: 6 },
        "timestamp with time zone" | "timestamptz" => CanonicalType::Timestamp {
            fraction: spelled.fraction(6),
        },
        "timestamp" if zoned => CanonicalType::Timestamp {
            fraction: spelled.fraction(6),
        },
        "timestamp" | "timestamp without time zone" => CanonicalType::DateTime {
            fraction: spelled.fraction(6),
        },
        "json" | "jsonb" => CanonicalType::Json,
        "uuid" => CanonicalType::Uuid,
        "inet" => CanonicalType::Inet,
        "bit" => CanonicalType::Bit {
            width: spelled.width()?,
        },
        _ => return None,
    })
}

fn sqlite(spelled: &Spelled) -> Option<CanonicalType> {
    let unsigned = spelled.tail.contains("unsigned") || spelled.head.ends_with(" unsigned");
    let int = |bits| CanonicalType::Int { bits, unsigned };
    let fraction = spelled.fraction(6);
    let sized = |max_chars| CanonicalType::Text { max_chars };
    Some(match spelled.head.trim_end_matches(" unsigned") {
        "boolean" | "bool" => CanonicalType::Bool,
        "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" => int(32),
        "integer" | "bigint" => int(64),
        "decimal" | "numeric" | "numeric_text" if spelled.numbers.is_empty() => {
            CanonicalType::Numeric
        }
        "uuid_text" => CanonicalType::Uuid,
        "inet_text" => CanonicalType::Inet,
        "decimal" | "numeric" | "decimal_text" if !spelled.numbers.is_empty() => {
            spelled.decimal((10, 0))
        }
        "float4" => CanonicalType::Float32,
        "real" | "double" | "double precision" | "float" => CanonicalType::Float64,
        "char" | "varchar" | "nvarchar" | "nchar" => sized(spelled.number(0)),
        "text" | "clob" | "text collate nocase" => sized(None),
        "blob" => CanonicalType::Bytes { max_len: None },
        "binary" | "varbinary" => CanonicalType::Bytes {
            max_len: spelled.number(0),
        },
        "date" => CanonicalType::Date,
        "datetime" => CanonicalType::DateTime { fraction },
        "timestamp" => CanonicalType::Timestamp { fraction },
        "time" => CanonicalType::Time { fraction },
        "year" => CanonicalType::Year,
        "json" | "json_text" => CanonicalType::Json,
        "bit" | "bit_text" => CanonicalType::Bit {
            width: spelled.width()?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_read() {
        let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
        let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
        let enumeration = CanonicalType::Enum {
            values: vec!["a".into(), "it's".into()],
        };
        for (engine, spelled, expected) in [
            (Engine::Mysql, "INT(10) UNSIGNED", Some(int(32, true))),
            (Engine::Mysql, "decimal ( 10, 2 )", Some(decimal(10, 2))),
            (Engine::Mysql, "enum('a','it''s')", Some(enumeration)),
            (Engine::Mysql, "geometry", None),
            (Engine::Postgres, "Boolean", Some(CanonicalType::Bool)),
            (Engine::Postgres, "numeric", Some(CanonicalType::Numeric)),
            (
                Engine::Postgres,
                "timestamp(3) with time zone",
                Some(CanonicalType::Timestamp { fraction: 3 }),
            ),
            (Engine::Postgres, "int4[]", None),
            (Engine::Sqlite, "INTEGER", Some(int(64, false))),
        ] {
            assert_eq!(canonical(engine, spelled), expected, "{spelled}");
        }
        let split = split_collation(Engine::Mysql, "varchar(9) COLLATE utf8mb4_general_ci");
        assert_eq!(split.0, "varchar(9)");
        assert_eq!(split.1.as_deref(), Some("utf8mb4_general_ci"));
    }
}
