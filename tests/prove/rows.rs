//! The source of the verifier's tests: a table for every kind of value, in every engine's words, and
//! what each row holds.

use super::told::Value;
use crate::harness::lab::Kind;

/// Rows of each table of kinds.
pub const ROWS: u32 = 60;
/// Rows of the table that is cut into ranges, under the keys 3, 6, 9, …
pub const MANY: u32 = 3_000;
/// Copies of each row of the table without a key.
pub const COPIES: u32 = 3;
/// Rows of which a column is NULL.
pub const NULL: u32 = 50;
/// A row with an empty text.
pub const EMPTY: u32 = 51;

pub const TABLES: &[&str] = &[
    "num", "txt", "bin", "day", "doc", "pair", "bag", "many", "void", "lone",
];

struct Types {
    big: &'static str,
    decimal: &'static str,
    double: &'static str,
    float: &'static str,
    bool: &'static str,
    /// Text under a collation that takes cases, accents and spaces at the end for equal.
    loose: &'static str,
    exact: &'static str,
    bytes: &'static str,
    moment: &'static str,
    instant: &'static str,
    json: &'static str,
    uuid: &'static str,
}

const MARIADB: Types = Types {
    big: "BIGINT",
    decimal: "DECIMAL(65,30)",
    double: "DOUBLE",
    float: "FLOAT",
    bool: "BOOLEAN",
    loose: "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    exact: "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    bytes: "LONGBLOB",
    moment: "DATETIME(6)",
    instant: "TIMESTAMP(6) NULL",
    json: "JSON",
    uuid: "UUID",
};

const MYSQL9: Types = Types {
    uuid: "CHAR(36)",
    ..MARIADB
};

const POSTGRES: Types = Types {
    big: "BIGINT",
    decimal: "NUMERIC(65,30)",
    double: "DOUBLE PRECISION",
    float: "REAL",
    bool: "BOOLEAN",
    loose: "VARCHAR(200)",
    exact: "TEXT",
    bytes: "BYTEA",
    moment: "TIMESTAMP(6)",
    instant: "TIMESTAMPTZ(6)",
    json: "JSON",
    uuid: "UUID",
};

const SQLITE: Types = Types {
    big: "BIGINT",
    // A file keeps no more digits of a number than a double has.
    decimal: "TEXT",
    double: "DOUBLE",
    float: "REAL",
    bool: "INTEGER",
    loose: "VARCHAR(200) COLLATE NOCASE",
    exact: "TEXT",
    bytes: "BLOB",
    moment: "DATETIME",
    instant: "TEXT",
    json: "TEXT",
    uuid: "TEXT",
};

fn types(kind: Kind) -> &'static Types {
    match kind {
        Kind::Mariadb => &MARIADB,
        Kind::Mysql9 => &MYSQL9,
        Kind::Postgres => &POSTGRES,
        Kind::Sqlite => &SQLITE,
    }
}

/// Statements that make the source.
pub fn statements(kind: Kind) -> Vec<String> {
    let mut all = create(kind);
    let insert = |table: &str, rows: Vec<Vec<Value>>| {
        let rows: Vec<String> = rows.iter().map(|row| tuple(kind, row)).collect();
        format!("INSERT INTO {table} VALUES {}", rows.join(", "))
    };
    let keyed = |row: fn(u32) -> Vec<Value>| (1..=ROWS).map(row).collect::<Vec<_>>();
    all.push(insert("num", keyed(num)));
    all.push(insert("txt", keyed(txt)));
    all.push(insert("bin", keyed(bin)));
    all.push(insert("day", keyed(day)));
    all.push(insert("doc", keyed(doc)));
    all.push(insert("pair", keyed(pair)));
    let copies = (0..COPIES).flat_map(|_| 1..=ROWS).map(bag);
    all.push(insert("bag", copies.collect()));
    all.push(insert("many", (1..=MANY).map(|n| many(n * 3)).collect()));
    all.push(insert(
        "lone",
        vec![vec![Value::number(7), Value::text("alone")]],
    ));
    match kind {
        // Sizes are estimated by what the server knows.
        Kind::Mariadb | Kind::Mysql9 => all.push("ANALYZE TABLE many".to_owned()),
        Kind::Postgres => all.push("ANALYZE".to_owned()),
        Kind::Sqlite => {}
    }
    all
}

fn create(kind: Kind) -> Vec<String> {
    let t = types(kind);
    let (big, decimal, double, float, bool) = (t.big, t.decimal, t.double, t.float, t.bool);
    let (loose, exact, bytes) = (t.loose, t.exact, t.bytes);
    let (moment, instant, json, uuid) = (t.moment, t.instant, t.json, t.uuid);
    // The engine's own word for a key that isn't a rowid's alias is the same everywhere.
    vec![
        format!(
            "CREATE TABLE num (id INTEGER PRIMARY KEY, big {big}, dec_ {decimal}, dbl {double}, \
             flt {float}, yes {bool})"
        ),
        format!(
            "CREATE TABLE txt (id INTEGER PRIMARY KEY, loose {loose}, exact_ {exact}, \
             code VARCHAR(40) NOT NULL UNIQUE)"
        ),
        format!("CREATE TABLE bin (id INTEGER PRIMARY KEY, b {bytes}, long_ {bytes})"),
        format!("CREATE TABLE day (id INTEGER PRIMARY KEY, d DATE, m {moment}, i {instant})"),
        format!("CREATE TABLE doc (id INTEGER PRIMARY KEY, j {json}, u {uuid})"),
        "CREATE TABLE pair (a VARCHAR(40) NOT NULL, n INTEGER NOT NULL, v VARCHAR(40), \
         PRIMARY KEY (a, n))"
            .to_owned(),
        format!("CREATE TABLE bag (x INTEGER, y VARCHAR(40), f {double})"),
        "CREATE TABLE many (id INTEGER PRIMARY KEY, v VARCHAR(60) NOT NULL)".to_owned(),
        "CREATE TABLE void (id INTEGER PRIMARY KEY, v VARCHAR(40))".to_owned(),
        "CREATE TABLE lone (id INTEGER PRIMARY KEY, v VARCHAR(40))".to_owned(),
    ]
}

/// `(1, 'x', …)`.
pub fn tuple(kind: Kind, row: &[Value]) -> String {
    let cells: Vec<String> = row.iter().map(|value| value.literal(kind)).collect();
    format!("({})", cells.join(", "))
}

fn or_null(id: u32, value: Value) -> Value {
    if id == NULL { Value::Null } else { value }
}

/// 31 digits before and 30 after the point, the last of which isn't 0.
pub fn decimal(id: u32) -> String {
    format!(
        "{}234567890123456789012345678901.{:030}",
        1 + id % 9,
        id * 10 + 1
    )
}

pub fn double(id: u32) -> f64 {
    f64::from(id) * 0.1
}

pub fn float(id: u32) -> f32 {
    id as f32 / 8.0
}

pub fn num(id: u32) -> Vec<Value> {
    vec![
        Value::number(id),
        or_null(id, Value::number(i64::from(id) * 1_000_003)),
        or_null(id, Value::Number(decimal(id))),
        // One is zero, for the sake of its sign.
        or_null(
            id,
            Value::Double(if id == EMPTY { 0.0 } else { double(id) }),
        ),
        or_null(id, Value::Float(float(id))),
        or_null(id, Value::Bool(id % 2 == 1)),
    ]
}

pub fn words(id: u32) -> Value {
    match id {
        NULL => Value::Null,
        EMPTY => Value::text(""),
        _ => Value::text(format!("the text {id}")),
    }
}

pub fn txt(id: u32) -> Vec<Value> {
    let code = Value::text(format!("code-{id:04}"));
    vec![Value::number(id), words(id), words(id), code]
}

pub fn blob(id: u32) -> Vec<u8> {
    match id {
        EMPTY => Vec::new(),
        _ => vec![0, 255, id as u8, 39, 92, 10, 0],
    }
}

/// Longer than a report shows.
pub fn long(id: u32) -> Vec<u8> {
    (0..5_000u32).map(|at| (at * 7 + id) as u8).collect()
}

pub fn bin(id: u32) -> Vec<Value> {
    vec![
        Value::number(id),
        or_null(id, Value::Bytes(blob(id))),
        or_null(id, Value::Long(long(id))),
    ]
}

pub fn moment(id: u32) -> String {
    format!("2024-03-{:02} {:02}:30:15.250001", 1 + id % 28, 2 + id % 20)
}

pub fn day(id: u32) -> Vec<Value> {
    let date = format!("2023-12-{:02}", 1 + id % 28);
    vec![
        Value::number(id),
        or_null(id, Value::Moment(date)),
        or_null(id, Value::Moment(moment(id))),
        or_null(id, Value::Instant(moment(id))),
    ]
}

pub fn document(id: u32) -> String {
    format!(r#"{{"number": {id}, "list": [1, 2, {id}], "text": "x {id}"}}"#)
}

pub fn uuid(id: u32) -> String {
    format!("0190b2c3-d4e5-7f60-8123-4567890a{id:04x}")
}

pub fn doc(id: u32) -> Vec<Value> {
    vec![
        Value::number(id),
        or_null(id, Value::Json(document(id))),
        or_null(id, Value::text(uuid(id))),
    ]
}

/// Six rows under each first column.
pub fn pair_key(id: u32) -> Vec<Value> {
    vec![Value::text(format!("key {}", id % 10)), Value::number(id)]
}

pub fn pair(id: u32) -> Vec<Value> {
    let mut row = pair_key(id);
    row.push(words(id));
    row
}

pub fn bag(id: u32) -> Vec<Value> {
    vec![
        or_null(id, Value::number(id)),
        words(id),
        Value::Double(double(id)),
    ]
}

pub fn many(id: u32) -> Vec<Value> {
    vec![
        Value::number(id),
        Value::text(format!("a row under {id:010}")),
    ]
}
