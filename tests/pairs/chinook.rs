//! A music shop in the shape of the Chinook sample: its eleven tables and relations with rows of
//! our own, and three tables that migrations trip over: no key, a unique key with NULLs, a
//! generated column. Written once, spelled for each engine.

use crate::harness::lab::{Database, Kind};

/// A column's type, spelled by each engine in its own way.
#[derive(Clone, Copy, Debug)]
enum Ty {
    Int,
    Big,
    Bool,
    Chars(u32),
    Text,
    Dec(u32, u32),
    Real,
    Date,
    Moment,
    Bytes,
}

/// A value to be written.
#[derive(Clone, Debug)]
enum Value {
    Null,
    /// Digits of any kind, without quotes.
    Plain(String),
    Text(String),
    Bytes(Vec<u8>),
}

struct Shape {
    name: &'static str,
    columns: &'static [(&'static str, Ty)],
    /// Keys, as they follow the columns; `""` quotes are turned into the engine's.
    keys: &'static str,
}

use Ty::{Big, Bool, Bytes, Chars, Date, Dec, Int, Moment, Real, Text};

const SHAPES: &[Shape] = &[
    Shape {
        name: "Artist",
        columns: &[("ArtistId", Int), ("Name", Chars(120))],
        keys: r#"PRIMARY KEY ("ArtistId")"#,
    },
    Shape {
        name: "Album",
        columns: &[("AlbumId", Int), ("Title", Chars(160)), ("ArtistId", Int)],
        keys: r#"PRIMARY KEY ("AlbumId"), FOREIGN KEY ("ArtistId") REFERENCES "Artist" ("ArtistId")"#,
    },
    Shape {
        name: "Genre",
        columns: &[("GenreId", Int), ("Name", Chars(120))],
        keys: r#"PRIMARY KEY ("GenreId")"#,
    },
    Shape {
        name: "MediaType",
        columns: &[("MediaTypeId", Int), ("Name", Chars(120))],
        keys: r#"PRIMARY KEY ("MediaTypeId")"#,
    },
    Shape {
        name: "Track",
        columns: &[
            ("TrackId", Int),
            ("Name", Chars(200)),
            ("AlbumId", Int),
            ("MediaTypeId", Int),
            ("GenreId", Int),
            ("Composer", Text),
            ("Milliseconds", Int),
            ("Bytes", Big),
            ("UnitPrice", Dec(10, 2)),
            ("Gain", Real),
            ("Cover", Bytes),
            ("Live", Bool),
        ],
        keys: r#"PRIMARY KEY ("TrackId"), FOREIGN KEY ("AlbumId") REFERENCES "Album" ("AlbumId"),
                FOREIGN KEY ("GenreId") REFERENCES "Genre" ("GenreId"),
                FOREIGN KEY ("MediaTypeId") REFERENCES "MediaType" ("MediaTypeId")"#,
    },
    Shape {
        name: "Playlist",
        columns: &[("PlaylistId", Int), ("Name", Chars(120))],
        keys: r#"PRIMARY KEY ("PlaylistId")"#,
    },
    Shape {
        name: "PlaylistTrack",
        columns: &[("PlaylistId", Int), ("TrackId", Int)],
        keys: r#"PRIMARY KEY ("PlaylistId", "TrackId"),
                FOREIGN KEY ("PlaylistId") REFERENCES "Playlist" ("PlaylistId"),
                FOREIGN KEY ("TrackId") REFERENCES "Track" ("TrackId")"#,
    },
    Shape {
        name: "Employee",
        columns: &[
            ("EmployeeId", Int),
            ("LastName", Chars(20)),
            ("ReportsTo", Int),
            ("BirthDate", Date),
            ("HireDate", Moment),
        ],
        keys: r#"PRIMARY KEY ("EmployeeId"),
                FOREIGN KEY ("ReportsTo") REFERENCES "Employee" ("EmployeeId")"#,
    },
    Shape {
        name: "Customer",
        columns: &[
            ("CustomerId", Int),
            ("FirstName", Chars(40)),
            ("Address", Chars(70)),
            ("SupportRepId", Int),
        ],
        keys: r#"PRIMARY KEY ("CustomerId"),
                FOREIGN KEY ("SupportRepId") REFERENCES "Employee" ("EmployeeId")"#,
    },
    Shape {
        name: "Invoice",
        columns: &[
            ("InvoiceId", Big),
            ("CustomerId", Int),
            ("InvoiceDate", Moment),
            ("Total", Dec(10, 2)),
        ],
        keys: r#"PRIMARY KEY ("InvoiceId"),
                FOREIGN KEY ("CustomerId") REFERENCES "Customer" ("CustomerId")"#,
    },
    Shape {
        name: "InvoiceLine",
        columns: &[
            ("InvoiceLineId", Big),
            ("InvoiceId", Big),
            ("TrackId", Int),
            ("UnitPrice", Dec(10, 2)),
            ("Quantity", Int),
        ],
        keys: r#"PRIMARY KEY ("InvoiceLineId"),
                FOREIGN KEY ("InvoiceId") REFERENCES "Invoice" ("InvoiceId"),
                FOREIGN KEY ("TrackId") REFERENCES "Track" ("TrackId")"#,
    },
    Shape {
        name: "plays",
        columns: &[("track", Int), ("at", Moment), ("device", Chars(20))],
        keys: "",
    },
    Shape {
        name: "coupon",
        columns: &[("code", Chars(20)), ("region", Int), ("percent", Dec(4, 1))],
        keys: r#"UNIQUE ("code", "region")"#,
    },
];

/// The names of its tables.
pub fn tables() -> Vec<&'static str> {
    let plain = SHAPES.iter().map(|shape| shape.name);
    plain.chain(["rounded"]).collect()
}

/// Fills an empty database with the shop.
pub async fn fill(database: &Database) {
    let kind = database.kind;
    let mut statements = Vec::new();
    for shape in SHAPES {
        let columns = shape
            .columns
            .iter()
            .map(|(name, ty)| format!("\"{name}\" {}", spelled(kind, *ty)));
        let mut parts: Vec<String> = columns.collect();
        if !shape.keys.is_empty() {
            parts.push(shape.keys.to_owned());
        }
        let create = format!("CREATE TABLE \"{}\" ({})", shape.name, parts.join(", "));
        statements.push(quotes_of(kind, &create));
        for rows in rows(shape.name).chunks(200) {
            let rows: Vec<String> = rows.iter().map(|row| line(kind, row)).collect();
            let insert = quotes_of(kind, &format!("INSERT INTO \"{}\" VALUES ", shape.name));
            statements.push(format!("{insert}{}", rows.join(", ")));
        }
    }
    let generated = r#"CREATE TABLE "rounded" ("id" INTEGER PRIMARY KEY, "n" INTEGER,
                     "twice" INTEGER GENERATED ALWAYS AS ("n" * 2) STORED)"#;
    statements.push(quotes_of(kind, generated));
    let fill = r#"INSERT INTO "rounded" ("id", "n") VALUES (1, 21), (2, NULL), (3, -4)"#;
    statements.push(quotes_of(kind, fill));
    database.exec(&statements).await;
}

fn quotes_of(kind: Kind, sql: &str) -> String {
    match kind.is_mysql() {
        true => sql.replace('"', "`"),
        false => sql.to_owned(),
    }
}

fn spelled(kind: Kind, ty: Ty) -> String {
    let postgres = kind == Kind::Postgres;
    let sqlite = kind == Kind::Sqlite;
    match ty {
        Ty::Int => "INTEGER".into(),
        Ty::Big => "BIGINT".into(),
        Ty::Bool if kind.is_mysql() => "TINYINT(1)".into(),
        Ty::Bool => "BOOLEAN".into(),
        Ty::Chars(n) if sqlite => format!("NVARCHAR({n})"),
        Ty::Chars(n) if kind.is_mysql() => format!("VARCHAR({n}) COLLATE utf8mb4_bin"),
        Ty::Chars(n) => format!("VARCHAR({n})"),
        Ty::Text => "TEXT".into(),
        Ty::Dec(p, s) => format!("NUMERIC({p},{s})"),
        Ty::Real if sqlite => "REAL".into(),
        Ty::Real => "DOUBLE PRECISION".into(),
        Ty::Date => "DATE".into(),
        Ty::Moment if postgres => "TIMESTAMP".into(),
        Ty::Moment if sqlite => "DATETIME".into(),
        Ty::Moment => "DATETIME(6)".into(),
        Ty::Bytes if postgres => "BYTEA".into(),
        Ty::Bytes => "BLOB".into(),
    }
}

fn line(kind: Kind, row: &[Value]) -> String {
    let cells: Vec<String> = row.iter().map(|value| literal(kind, value)).collect();
    format!("({})", cells.join(", "))
}

fn literal(kind: Kind, value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Plain(text) => text.clone(),
        Value::Text(text) => crate::harness::literal::text(kind, text),
        Value::Bytes(bytes) => crate::harness::literal::bytes(kind, bytes),
    }
}

fn int(n: i64) -> Value {
    Value::Plain(n.to_string())
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// Hundredths with two digits after the point.
fn price(hundredths: i64) -> Value {
    Value::Plain(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

const NAMES: &[&str] = &[
    "AC/DC",
    "Sigur Rós",
    "Motörhead",
    "椎名林檎",
    "Мумий Тролль",
    "🐦 & the 'Terns'",
    "back\\slash \\N \\.",
    "tab\there\nand there",
    "",
    "NULL",
    "שלום",
    "a  ",
];

fn name(i: i64) -> Value {
    match i % 13 {
        12 => Value::Null,
        n => text(format!(
            "{}{}",
            NAMES[n as usize],
            if i < 13 {
                String::new()
            } else {
                format!(" {i}")
            }
        )),
    }
}

fn moment(i: i64) -> Value {
    let (day, hour, minute) = (1 + i % 28, i % 24, i * 7 % 60);
    let year = [1970, 1999, 2000, 2024, 2037][(i % 5) as usize];
    text(format!(
        "{year}-02-{day:02} {hour:02}:{minute:02}:{:02}",
        i % 60
    ))
}

fn rows(table: &str) -> Vec<Vec<Value>> {
    let many = |n: i64, row: &dyn Fn(i64) -> Vec<Value>| (1..=n).map(row).collect();
    let numbered = |n: i64| -> Vec<Vec<Value>> { (1..=n).map(|i| vec![int(i), name(i)]).collect() };
    match table {
        "Artist" => numbered(60),
        "Genre" => numbered(25),
        "MediaType" => numbered(5),
        "Playlist" => numbered(18),
        "Album" => many(120, &|i| {
            vec![
                int(i),
                text(format!("{} {i}", NAMES[i as usize % 12])),
                int(1 + i % 60),
            ]
        }),
        "Track" => many(1500, &track),
        "PlaylistTrack" => many(1800, &|i| vec![int(1 + i % 18), int(1 + i * 7 % 1500)])
            .into_iter()
            .take(1500)
            .collect(),
        "Employee" => many(8, &|i| {
            let boss = if i == 1 { Value::Null } else { int(i / 2) };
            let birth = text(format!("19{}-12-31", 40 + i));
            vec![int(i), text(format!("Ødegård {i}")), boss, birth, moment(i)]
        }),
        "Customer" => many(59, &|i| {
            vec![
                int(i),
                text(NAMES[i as usize % 12]),
                name(i + 6),
                int(1 + i % 8),
            ]
        }),
        "Invoice" => many(412, &|i| {
            vec![
                int(i * 1_000_000_007),
                int(1 + i % 59),
                moment(i),
                price(i * 99),
            ]
        }),
        "InvoiceLine" => many(2240, &|i| {
            let invoice = int((1 + i % 412) * 1_000_000_007);
            vec![
                int(i),
                invoice,
                int(1 + i % 1500),
                price(99 + i % 2 * 100),
                int(1 + i % 3),
            ]
        }),
        "plays" => many(300, &|i| {
            vec![int(i % 10), moment(i % 10), name(i % 4 + 11)]
        }),
        "coupon" => many(40, &|i| {
            let code = if i % 3 == 0 {
                Value::Null
            } else {
                text(format!("c{i}"))
            };
            let region = if i % 4 == 0 { Value::Null } else { int(i) };
            vec![code, region, Value::Plain(format!("{}.5", i % 100))]
        }),
        other => panic!("{other} has no rows"),
    }
}

fn track(i: i64) -> Vec<Value> {
    let none = |cond: bool, value: Value| if cond { Value::Null } else { value };
    let cover: Vec<u8> = (0..i % 40).map(|k| (k * 37 + i) as u8).collect();
    vec![
        int(i),
        text(format!("Track {i} {}", NAMES[i as usize % 12])),
        none(i % 17 == 0, int(1 + i % 120)),
        int(1 + i % 5),
        none(i % 11 == 0, int(1 + i % 25)),
        name(i),
        int(i * 1009 % 5_000_000),
        none(i % 19 == 0, int(i * 3_037_000_493)),
        price(i % 300),
        none(
            i % 5 == 0,
            Value::Plain(format!("{:e}", 1.0 / (i as f64) - 0.001)),
        ),
        none(i % 7 == 0, Value::Bytes(cover)),
        none(
            i % 9 == 0,
            Value::Plain(if i % 2 == 0 { "TRUE" } else { "FALSE" }.into()),
        ),
    ]
}
