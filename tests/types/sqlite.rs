//! SQLite's declared types with values of their own kind; other storage classes are `coercion`'s
//! and, on SQLite itself, the torture database's.

use super::{Column, column, round_trip};
use crate::harness::lab::Kind::{Mariadb, Mysql9, Postgres, Sqlite};
use crate::random::Values::{Bytes, Date, Decimal, Float64, Int, Json, Moment, One, Text, Time};

const I64: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);

const COLUMNS: &[Column] = &[
    column("BOOLEAN", One(&["0", "1"]), &["0", "1", "NULL"]),
    column("TINYINT", Int(-128, 127), &["-128", "127", "0"]),
    column("SMALLINT", Int(-32768, 32767), &["-32768", "32767"]),
    column(
        "MEDIUMINT",
        Int(-8_388_608, 8_388_607),
        &["-8388608", "8388607"],
    ),
    column(
        "INT",
        Int(-2_147_483_648, 2_147_483_647),
        &["-2147483648", "2147483647"],
    ),
    column(
        "INTEGER",
        Int(I64.0, I64.1),
        &["-9223372036854775808", "9223372036854775807"],
    ),
    column("BIGINT", Int(I64.0, I64.1), &["9007199254740993", "-1"]),
    column(
        "REAL",
        Float64,
        &["0.1", "5e-324", "1.7976931348623157e308", "1e22"],
    ),
    column(
        "DOUBLE PRECISION",
        Float64,
        &["-1.5", "2.2250738585072014e-308"],
    ),
    column(
        "NUMERIC(10,2)",
        Decimal {
            whole: 8,
            scale: 2,
            unsigned: false,
        },
        &["0.01", "-99999999.99"],
    ),
    column(
        "DECIMAL(12,0)",
        Decimal {
            whole: 12,
            scale: 0,
            unsigned: false,
        },
        &["0", "999999999999"],
    ),
    column(
        "TEXT",
        Text(300),
        &["''", "'a  '", "'\\N'", "'NULL'", "'😀'"],
    ),
    column("NVARCHAR(40)", Text(40), &["''", "' '"]),
    column("CLOB", Text(2000), &["'\\.'"]),
    column(
        "BLOB",
        Bytes { min: 0, max: 300 },
        &["X''", "X'00'", "X'5C4E'"],
    ),
    column(
        "VARBINARY(20)",
        Bytes { min: 0, max: 20 },
        &["X''", "X'2020'"],
    ),
    column(
        "DATE",
        Date,
        &["'0001-01-01'", "'9999-12-31'", "'2024-02-29'"],
    ),
    column(
        "DATETIME",
        Moment(6),
        &["'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59'"],
    ),
    column(
        "TIMESTAMP",
        Moment(3),
        &["'2038-01-19 03:14:08'", "'1970-01-01 00:00:00'"],
    ),
    column(
        "TIME",
        Time {
            hours: 838,
            fraction: 6,
            signed: true,
        },
        &["'00:00:00'", "'838:59:59'"],
    ),
    column("YEAR", Int(1901, 2155), &["1901", "2155"]),
    column("JSON", Json, &["'{}'", "'null'", "'[1, 2.50]'"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn to_sqlite() {
    round_trip(Sqlite, Sqlite, &[], &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mariadb() {
    round_trip(Sqlite, Mariadb, &[], &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mysql9() {
    round_trip(Sqlite, Mysql9, &[], &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_postgres() {
    round_trip(Sqlite, Postgres, &[], &[COLUMNS]).await;
}
