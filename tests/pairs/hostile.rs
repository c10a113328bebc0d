//! The part of each torture database that another engine can hold: everything but the tables
//! listed here, each with the reason. What isn't listed must arrive with every value.

use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::oracle::values::{self, View};
use crate::prove::ask;
use crate::torture;

use Kind::{Mariadb, Mysql9, Postgres, Sqlite};

/// A table that stays behind, and why.
type LeftOut = (&'static str, &'static str);

const FROM_MYSQL: &[LeftOut] = &[
    ("casetable", "SQLite takes it for CaseTable"),
    ("CaseTable", "SQLite takes it for casetable"),
];
const MYSQL_TO_SQLITE: &[LeftOut] = &[("pk_ubig", "keys above 2^63")];
const MYSQL9_TO_SQLITE: &[LeftOut] = &[("t_num", "-0, which MariaDB doesn't keep to begin with")];
/// In PostgreSQL, further ones.
const MYSQL_TO_POSTGRES: &[LeftOut] = &[
    ("t_time", "zero and impossible dates"),
    ("fk_orphan", "violates its own foreign key"),
    ("pk_ts", "a zero date in the key"),
    ("pk_dt", "zero and impossible dates in the key"),
    ("defaults", "a zero date"),
    ("t_str", "a NUL byte in text"),
    ("pk_bin", "a NUL byte in a key"),
    ("t_enumset", "a value that isn't in its enumeration"),
    (
        "pk_enum",
        "a value that isn't in its enumeration, in the key",
    ),
    (
        "t234567890123456789012345678901234567890123456789012345678901234",
        "a name of 64 bytes",
    ),
];
const FROM_SQLITE: &[LeftOut] = &[
    ("affinity", "every storage class in every column"),
    ("dates", "dates in three forms in one column"),
    ("texty", "text that isn't UTF-8"),
    ("mixedkey", "a key of several storage classes"),
    ("wr", "a NUL byte in a key"),
    ("wr_comp", "a key of several storage classes"),
    ("nullpk", "NULL in a primary key"),
    ("nullpk_comp", "NULL in a primary key"),
    ("intpk_notrowid", "NULL in a primary key"),
    ("intpk_desc", "text in an integer key"),
    ("gen", "text in an integer column"),
    (
        "strict_t",
        "several storage classes in a column of type ANY",
    ),
    (
        "we\"ird 't' [x]; DROP TABLE digits; --",
        "a column without a name",
    ),
];
/// Neither SQLite nor a MySQL that loads checks it.
const SQLITE_TO_POSTGRES: &[LeftOut] = &[("fk_self", "violates its own foreign key")];
const FROM_POSTGRES: &[LeftOut] = &[
    ("t_num", "NaN, infinite numbers, 131072 digits"),
    ("t_time", "infinite dates and years before Christ"),
    ("pk_numeric", "NaN in the key"),
    ("pk_float", "NaN in the key"),
    ("pk_ts", "infinite instants in the key"),
    ("keyless", "NaN"),
    ("zero_cols", "no column"),
    ("CaseTable", "SQLite takes it for casetable"),
    ("casetable", "SQLite takes it for CaseTable"),
    (
        "we\"ird 't' `x`; DROP TABLE t_num; --",
        "columns that differ by case only",
    ),
];

fn left_out(from: Kind, to: Kind) -> Vec<&'static str> {
    let lists: &[&[LeftOut]] = match (from, to) {
        (Mariadb | Mysql9, Postgres) => &[FROM_MYSQL, MYSQL_TO_POSTGRES],
        (Mysql9, Sqlite) => &[FROM_MYSQL, MYSQL_TO_SQLITE, MYSQL9_TO_SQLITE],
        (Mariadb | Mysql9, _) => &[FROM_MYSQL, MYSQL_TO_SQLITE],
        (Sqlite, Postgres) => &[FROM_SQLITE, SQLITE_TO_POSTGRES],
        (Sqlite, _) => &[FROM_SQLITE],
        (Postgres, _) => &[FROM_POSTGRES],
    };
    let all = lists.iter().copied().flatten();
    all.map(|(name, _)| *name).collect()
}

/// A glob that matches that name only.
fn glob(name: &str) -> String {
    let special = |c: char| "*?[]{}!\\".contains(c);
    name.chars()
        .map(|c| if special(c) { '?' } else { c })
        .collect()
}

async fn representable(from: Kind, to: Kind) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let source = torture::source(&lab, from).await;
    let source = Database {
        url: match from {
            Postgres => format!("{}?schema=torture", source.url),
            _ => source.url.clone(),
        },
        ..source
    };
    let target = lab.database(to, "copy").await;
    let mut out = left_out(from, to);
    let tables = values::tables(&source, View::Meaning).await;
    // PostgreSQL's other schemas aren't the source's default one.
    let others = tables.iter().map(|table| table.name.as_str());
    let others: Vec<&str> = others
        .filter(|name| name.starts_with("We ird\"S'; --."))
        .collect();
    out.extend(others);
    let globs: Vec<String> = out.iter().map(|name| glob(name)).collect();
    let args: Vec<&str> = globs
        .iter()
        .flat_map(|glob| ["-x", glob.as_str()])
        .collect();
    lab.copy(&source, &target, &args).await;
    ask::assert_equal(&lab, &source, &target, &args).await;
    values::assert_same(&source, &target, &out).await;
}

macro_rules! representable {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            representable($from, $to).await;
        })*
    };
}

representable! {
    sqlite_to_mariadb: Sqlite, Mariadb;
    sqlite_to_postgres: Sqlite, Postgres;
    mariadb_to_sqlite: Mariadb, Sqlite;
    mariadb_to_postgres: Mariadb, Postgres;
    mysql9_to_sqlite: Mysql9, Sqlite;
    mysql9_to_postgres: Mysql9, Postgres;
    postgres_to_sqlite: Postgres, Sqlite;
    postgres_to_mariadb: Postgres, Mariadb;
}
