//! Every type of each engine with its canonical type: what docs/types.md is computed from. The
//! connectors read their own catalogues; a property test on real servers holds the two together.

use crate::schema::{CanonicalType, Engine};

/// A type as its engine spells it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub native: &'static str,
    pub canonical: CanonicalType,
}

/// The types of an engine, related ones together.
pub fn of(engine: Engine) -> Vec<Entry> {
    let entries = match engine {
        Engine::Mysql => mysql(),
        Engine::Postgres => postgres(),
        Engine::Sqlite => sqlite(),
    };
    let entry = |(native, canonical)| Entry { native, canonical };
    entries.into_iter().map(entry).collect()
}

type Entries = Vec<(&'static str, CanonicalType)>;

const TEXT: CanonicalType = CanonicalType::Text { max_chars: None };
const BYTES: CanonicalType = CanonicalType::Bytes { max_len: None };

fn int(bits: u8) -> CanonicalType {
    CanonicalType::Int {
        bits,
        unsigned: false,
    }
}

fn unsigned(bits: u8) -> CanonicalType {
    CanonicalType::Int {
        bits,
        unsigned: true,
    }
}

fn decimal(precision: u16, scale: u16) -> CanonicalType {
    CanonicalType::Decimal { precision, scale }
}

fn chars(max: u32) -> CanonicalType {
    CanonicalType::Text {
        max_chars: Some(max),
    }
}

fn binary(max: u32) -> CanonicalType {
    CanonicalType::Bytes { max_len: Some(max) }
}

fn values() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn mysql() -> Entries {
    vec![
        ("tinyint", int(8)),
        ("tinyint(1)", int(8)),
        ("tinyint unsigned", unsigned(8)),
        ("smallint", int(16)),
        ("smallint unsigned", unsigned(16)),
        ("mediumint", int(24)),
        ("mediumint unsigned", unsigned(24)),
        ("int", int(32)),
        ("int unsigned", unsigned(32)),
        ("int(10) unsigned zerofill", unsigned(32)),
        ("bigint", int(64)),
        ("bigint unsigned", unsigned(64)),
        ("decimal(10,2)", decimal(10, 2)),
        ("decimal(65,30)", decimal(65, 30)),
        ("float", CanonicalType::Float32),
        ("double", CanonicalType::Float64),
        ("bit(1)", CanonicalType::Bit { width: 1 }),
        ("bit(64)", CanonicalType::Bit { width: 64 }),
        ("char(20)", chars(20)),
        ("varchar(20)", chars(20)),
        ("varchar(20000)", chars(20_000)),
        ("tinytext", TEXT),
        ("text", TEXT),
        ("mediumtext", TEXT),
        ("longtext", TEXT),
        ("binary(16)", binary(16)),
        ("varbinary(16)", binary(16)),
        ("tinyblob", BYTES),
        ("blob", BYTES),
        ("mediumblob", BYTES),
        ("longblob", BYTES),
        ("date", CanonicalType::Date),
        ("time", CanonicalType::Time { fraction: 0 }),
        ("time(6)", CanonicalType::Time { fraction: 6 }),
        ("datetime", CanonicalType::DateTime { fraction: 0 }),
        ("datetime(6)", CanonicalType::DateTime { fraction: 6 }),
        ("timestamp", CanonicalType::Timestamp { fraction: 0 }),
        ("timestamp(6)", CanonicalType::Timestamp { fraction: 6 }),
        ("year", CanonicalType::Year),
        ("json", CanonicalType::Json),
        ("enum('a','b')", CanonicalType::Enum { values: values() }),
        ("set('a','b')", CanonicalType::Set { values: values() }),
        ("geometry", BYTES),
        ("point", BYTES),
        ("uuid", CanonicalType::Uuid),
        ("inet4", CanonicalType::Inet),
        ("inet6", CanonicalType::Inet),
    ]
}

fn postgres() -> Entries {
    let mut all = postgres_plain();
    all.extend(postgres_own());
    all
}

/// What other engines have too.
fn postgres_plain() -> Entries {
    vec![
        ("boolean", CanonicalType::Bool),
        ("smallint", int(16)),
        ("integer", int(32)),
        ("bigint", int(64)),
        ("oid", unsigned(32)),
        ("numeric(10,2)", decimal(10, 2)),
        ("numeric(30,10)", decimal(30, 10)),
        ("numeric(1000,500)", decimal(1_000, 500)),
        ("numeric(5,-2)", CanonicalType::Numeric),
        ("numeric", CanonicalType::Numeric),
        ("money", CanonicalType::Numeric),
        ("real", CanonicalType::Float32),
        ("double precision", CanonicalType::Float64),
        ("text", TEXT),
        ("character varying(20)", chars(20)),
        ("character(20)", chars(20)),
        ("name", chars(63)),
        ("\"char\"", chars(4)),
        ("bytea", BYTES),
        ("date", CanonicalType::Date),
        (
            "time without time zone",
            CanonicalType::Time { fraction: 6 },
        ),
        (
            "timestamp without time zone",
            CanonicalType::DateTime { fraction: 6 },
        ),
        (
            "timestamp(3) without time zone",
            CanonicalType::DateTime { fraction: 3 },
        ),
        (
            "timestamp with time zone",
            CanonicalType::Timestamp { fraction: 6 },
        ),
        ("uuid", CanonicalType::Uuid),
        ("json", CanonicalType::Json),
        ("jsonb", CanonicalType::Json),
        ("inet", CanonicalType::Inet),
        ("cidr", CanonicalType::Inet),
        ("bit(8)", CanonicalType::Bit { width: 8 }),
        ("bit(64)", CanonicalType::Bit { width: 64 }),
    ]
}

/// What only PostgreSQL has: read and written as its text.
fn postgres_own() -> Entries {
    vec![
        ("time with time zone", TEXT),
        ("interval", TEXT),
        ("macaddr", TEXT),
        ("macaddr8", TEXT),
        ("bit(65)", TEXT),
        ("bit varying(8)", TEXT),
        ("an enumeration", CanonicalType::Enum { values: values() }),
        ("a domain over integer", int(32)),
        ("a domain over text", TEXT),
        ("a composite type", TEXT),
        ("integer[]", TEXT),
        ("text[]", TEXT),
        ("int4range", TEXT),
        ("tstzmultirange", TEXT),
        ("xml", TEXT),
        ("tsvector", TEXT),
        ("tsquery", TEXT),
        ("point", TEXT),
        ("line", TEXT),
        ("lseg", TEXT),
        ("box", TEXT),
        ("path", TEXT),
        ("polygon", TEXT),
        ("circle", TEXT),
        ("pg_lsn", TEXT),
        ("regclass", TEXT),
        ("citext", TEXT),
        ("hstore", TEXT),
    ]
}

fn sqlite() -> Entries {
    vec![
        ("INTEGER", int(64)),
        ("INT", int(32)),
        ("TINYINT", int(8)),
        ("SMALLINT", int(16)),
        ("MEDIUMINT", int(24)),
        ("BIGINT", int(64)),
        ("BIGINT UNSIGNED", unsigned(64)),
        ("BOOLEAN", CanonicalType::Bool),
        ("REAL", CanonicalType::Float64),
        ("DOUBLE", CanonicalType::Float64),
        ("FLOAT", CanonicalType::Float64),
        ("FLOAT4", CanonicalType::Float32),
        ("NUMERIC", CanonicalType::Numeric),
        ("NUMERIC_TEXT", CanonicalType::Numeric),
        ("DECIMAL(10,2)", decimal(10, 2)),
        ("DECIMAL_TEXT(30,10)", decimal(30, 10)),
        ("TEXT", TEXT),
        ("CLOB", TEXT),
        ("VARCHAR(20)", chars(20)),
        ("NVARCHAR(20)", chars(20)),
        ("BLOB", BYTES),
        ("VARBINARY(16)", binary(16)),
        ("DATE", CanonicalType::Date),
        ("TIME", CanonicalType::Time { fraction: 6 }),
        ("DATETIME", CanonicalType::DateTime { fraction: 6 }),
        ("TIMESTAMP", CanonicalType::Timestamp { fraction: 6 }),
        ("YEAR", CanonicalType::Year),
        ("JSON", CanonicalType::Json),
        ("UUID_TEXT", CanonicalType::Uuid),
        ("INET_TEXT", CanonicalType::Inet),
        ("BIT(8)", CanonicalType::Bit { width: 8 }),
        ("BIT_TEXT(64)", CanonicalType::Bit { width: 64 }),
        ("ANY, or no declared type", CanonicalType::Any),
    ]
}
