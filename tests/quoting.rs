//! Ten thousand hostile names and as many hostile values for each engine, against the real
//! servers: tables and columns made with them are copied on the same engine and to the others. The
//! source stays as it was, the target is equal, and no name is ever run as a statement.

use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::literal;
use crate::harness::oracle::values;
use crate::random::Random;

/// 10,200 names on one engine; a fifth of them between two.
const TABLES: usize = 60;
const TABLES_ACROSS: usize = 12;
/// No more TEXT columns fit into a row of InnoDB.
const COLUMNS: usize = 170;

/// What names and values are put together from: quotes of every kind, escapes, comments, statement
/// ends, parameters, the bytes that follow 0x5C in sjis and gbk, and words that are reserved.
const PIECES: &[&str] = &[
    "'",
    "\"",
    "`",
    "\\",
    "\\'",
    "''",
    "\"\"",
    "``",
    ";",
    "--",
    "-- ",
    "/*",
    "*/",
    "#",
    "\n",
    "\r",
    "\t",
    "\u{1a}",
    "\u{8}",
    "$1",
    "$$",
    "$q$",
    "?",
    ":p",
    "@v",
    "%s",
    "%n",
    "{}",
    "{0}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ".",
    "表",
    "ソ",
    "誠",
    "許",
    "功",
    "\u{a5}",
    "\u{20a9}",
    "\u{bf}'",
    "é",
    "e\u{301}",
    "ÿ",
    "😀",
    "\u{200d}",
    "\u{feff}",
    "\u{202e}",
    "שלום",
    "SELECT",
    "table",
    "null",
    "user",
    "ORDER",
    "x'; DROP TABLE t; --",
    "\" OR \"1\"=\"1",
    "`; DROP TABLE t; --",
    "E'\\x'",
    "X'41'",
    "0x41",
    "\\N",
    "\\.",
    "$(id)",
    "`id`",
    "../",
    "<b>",
    "&amp;",
    "a",
    "Z",
    "0",
    "_",
    " ",
];

fn hostile(random: &mut Random, pieces: u64, bytes_max: usize) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(pieces) {
        let piece = PIECES[random.below(PIECES.len() as u64) as usize];
        if text.len() + piece.len() <= bytes_max {
            text.push_str(piece);
        }
    }
    text
}

/// A name that all engines take: unique without case, at most 63 bytes, no blank at its end (MySQL
/// refuses it) and no character beyond U+FFFF (the same).
fn name(random: &mut Random, number: usize) -> String {
    let unique = format!("{number}");
    let mut name: String = hostile(random, 12, 63 - unique.len() - 1)
        .chars()
        .filter(|c| *c <= '\u{ffff}')
        .collect();
    // Sometimes filled up to the last byte that PostgreSQL keeps.
    if random.below(8) == 0 {
        while name.len() + unique.len() < 63 {
            name.push('x');
        }
    }
    format!("{name}{unique}")
}

/// Tables with hostile names and columns, a row each with hostile values.
async fn fill(database: &Database, seed: u64, tables: usize) -> Vec<String> {
    let kind = database.kind;
    let mut random = Random(seed);
    let mut names = Vec::new();
    let mut statements = Vec::new();
    for table in 0..tables {
        let table = name(&mut random, table);
        let quoted = literal::name(kind, &table);
        let columns: Vec<String> = (0..COLUMNS).map(|i| name(&mut random, i)).collect();
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("{} TEXT", literal::name(kind, column)))
            .collect();
        // A key of a hostile name too: it is sampled, compared and ordered by.
        let key = literal::name(kind, &name(&mut random, COLUMNS));
        let unquoted = list.join(", ");
        statements.push(format!(
            "CREATE TABLE {quoted} ({key} INTEGER PRIMARY KEY, {unquoted})"
        ));
        for row in 0..2 {
            let values: Vec<String> = (0..COLUMNS)
                .map(|_| literal::text(kind, &hostile(&mut random, 6, 200)))
                .collect();
            statements.push(format!(
                "INSERT INTO {quoted} VALUES ({row}, {})",
                values.join(", ")
            ));
        }
        names.push(table);
    }
    // What the names above try to drop.
    statements.push("CREATE TABLE t (id INTEGER PRIMARY KEY)".to_owned());
    statements.push("INSERT INTO t VALUES (1)".to_owned());
    names.push("t".to_owned());
    database.exec(&statements).await;
    names
}

async fn copied(from: Kind, to: Kind) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let seed = 42 + from as u64 * 7;
    println!("names and values of seed {seed}");
    let source = lab.database(from, "hostile").await;
    let twin = lab.database(from, "twin").await;
    let tables = if from.same_engine(to) {
        TABLES
    } else {
        TABLES_ACROSS
    };
    let names = fill(&source, seed, tables).await;
    fill(&twin, seed, tables).await;
    let target = lab.database(to, "copy").await;
    lab.copy(&source, &target, &[]).await;
    values::assert_same(&source, &target, &[]).await;
    values::assert_same(&twin, &source, &[]).await;
    let found = values::tables(&target, values::View::Meaning).await;
    for name in &names {
        assert!(
            found.iter().any(|table| table.name == *name),
            "{name:?} isn't there"
        );
    }
}

macro_rules! copied {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            copied(Kind::$from, Kind::$to).await;
        })*
    };
}

copied! {
    sqlite_to_sqlite: Sqlite, Sqlite;
    sqlite_to_mariadb: Sqlite, Mariadb;
    sqlite_to_postgres: Sqlite, Postgres;
    mariadb_to_mariadb: Mariadb, Mariadb;
    mariadb_to_postgres: Mariadb, Postgres;
    mariadb_to_sqlite: Mariadb, Sqlite;
    mysql9_to_mysql9: Mysql9, Mysql9;
    postgres_to_postgres: Postgres, Postgres;
    postgres_to_mariadb: Postgres, Mariadb;
    postgres_to_sqlite: Postgres, Sqlite;
}
