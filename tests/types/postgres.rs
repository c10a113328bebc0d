//! PostgreSQL's types.

use super::{Column, column, round_trip};
use crate::harness::lab::Kind::{self, Mariadb, Mysql9, Postgres, Sqlite};
use crate::random::Values::{
    Bits, Bytes, Date, Decimal, Float32, Float64, Inet4, Inet6, Int, Json, Moment, One, Text, Time,
    Uuid,
};

const I64: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);
/// Their numbers know no NaN and 65 digits, their dates no infinity: `coercion` shows it.
const MYSQLS: &[Kind] = &[Mariadb, Mysql9];

const TYPES: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s, \"q\"')",
    "CREATE DOMAIN posint AS int CHECK (VALUE > 0)",
    "CREATE TYPE comp AS (a int, b text)",
];

const COLUMNS: &[Column] = &[
    column("boolean", One(&["true", "false"]), &["true", "false"]),
    column("smallint", Int(-32768, 32767), &["-32768", "32767"]),
    column(
        "integer",
        Int(-2_147_483_648, 2_147_483_647),
        &["-2147483648"],
    ),
    column(
        "bigint",
        Int(I64.0, I64.1),
        &["-9223372036854775808", "9223372036854775807"],
    ),
    column("oid", Int(0, 4_294_967_295), &["4294967295"]),
    column(
        "numeric(20,5)",
        Decimal {
            whole: 15,
            scale: 5,
            unsigned: false,
        },
        &["0.00001"],
    ),
    column(
        "numeric(60,30)",
        Decimal {
            whole: 30,
            scale: 30,
            unsigned: false,
        },
        &["0"],
    ),
    column(
        "numeric(5,-2)",
        Int(-9_999_900, 9_999_900),
        &["100", "-100"],
    ),
    column(
        "numeric",
        Decimal {
            whole: 30,
            scale: 25,
            unsigned: false,
        },
        &["1.000", "-0.5"],
    ),
    column(
        "numeric",
        Decimal {
            whole: 300,
            scale: 300,
            unsigned: false,
        },
        &["'NaN'", "'Infinity'", "'-Infinity'"],
    )
    .except(MYSQLS),
    column(
        "numeric(1000,500)",
        Decimal {
            whole: 400,
            scale: 500,
            unsigned: false,
        },
        &["0"],
    )
    .except(MYSQLS),
    column(
        "numeric(10,2)",
        Decimal {
            whole: 8,
            scale: 2,
            unsigned: false,
        },
        &["'NaN'"],
    )
    .except(&[Mariadb, Mysql9, Sqlite]),
    column("real", Float32, &["16777217", "0.1", "1.17549435e-38"]),
    column(
        "double precision",
        Float64,
        &["0.1", "5e-324", "1.7976931348623157e308"],
    ),
    column(
        "double precision",
        Float64,
        &["'NaN'", "'Infinity'", "'-Infinity'"],
    )
    .except(MYSQLS),
    // SQLite and MariaDB keep no sign of a zero.
    column("double precision", Float64, &["'-0'"]).except(&[Mariadb, Mysql9, Sqlite]),
    column(
        "money",
        Decimal {
            whole: 12,
            scale: 2,
            unsigned: false,
        },
        &["-0.01"],
    ),
    column("text", Text(300), &["''", "'a  '", "'\\N'", "E'\\\\.'"]),
    column("varchar(60)", Text(60), &["''", "' '"]),
    column(
        "char(10)",
        One(&["'a'", "'é b'", "'\\N'"]),
        &["''", "'a  '"],
    ),
    column("name", Text(12), &["''"]),
    column("\"char\"", One(&["'a'", "'\\'", "'$'"]), &["''"]),
    column(
        "bytea",
        Bytes { min: 0, max: 300 },
        &["'\\x'", "'\\x5c4e'", "'\\x00'"],
    ),
    column("date", Date, &["'0001-01-01'", "'9999-12-31'"]),
    column(
        "date",
        Date,
        &[
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 BC'",
            "'5874897-12-31'",
        ],
    )
    .except(MYSQLS),
    column("timestamp", Moment(6), &["'1900-01-01 00:00:00'"]),
    column("timestamp(0)", Moment(0), &["'2024-02-29 23:59:59'"]),
    column(
        "timestamp",
        Moment(6),
        &["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'"],
    )
    .except(MYSQLS),
    column(
        "timestamptz",
        Moment(6),
        &["'2023-11-05 01:30:00-04'", "'2023-11-05 01:30:00-05'"],
    ),
    column(
        "timestamptz",
        Moment(3),
        &["'infinity'", "'294276-12-31 23:59:59.999999+00'"],
    )
    .except(MYSQLS),
    column(
        "time",
        Time {
            hours: 24,
            fraction: 6,
            signed: false,
        },
        &["'24:00:00'", "'00:00:00'"],
    ),
    column(
        "timetz",
        One(&["'12:00:00.000001+05:30'", "'00:00:00+00'"]),
        &["'24:00:00-15:59'"],
    ),
    column(
        "interval",
        One(&["'1 mon -1 day +00:00:00.000001'", "'720 hours'"]),
        &["'178000000 years'"],
    ),
    column("uuid", Uuid, &["'00000000-0000-0000-0000-000000000000'"]),
    column(
        "json",
        Json,
        &["'{\"b\": 1, \"a\":2, \"b\":3}'", "' [1.0,1e400]'"],
    ),
    column(
        "jsonb",
        Json,
        &["'{\"b\": 1, \"a\":2}'", "'12345678901234567890.123'"],
    ),
    column("inet", Inet4, &["'0.0.0.0/0'", "'192.168.1.5/24'"]),
    column("inet", Inet6, &["'::1'", "'2001:db8::1/64'"]),
    column(
        "cidr",
        One(&["'10.0.0.0/8'", "'2001:db8::/32'"]),
        &["'0.0.0.0/0'"],
    ),
    column(
        "macaddr",
        One(&["'08:00:2b:01:02:03'"]),
        &["'ff:ff:ff:ff:ff:ff'"],
    ),
    column("bit(1)", Bits(1), &["b'0'", "b'1'"]),
    column("bit(12)", Bits(12), &["b'000000000001'"]),
    column("bit(64)", Bits(64), &["repeat('1', 64)::bit(64)"]),
    column("bit(100)", Bits(100), &[]),
    column("varbit", Bits(17), &["b''"]),
    column("mood", One(&["'sad'", "'ok'"]), &["'it''s, \"q\"'"]),
    column("posint", Int(1, 2_147_483_647), &["1"]),
    column(
        "comp",
        One(&["ROW(1, 'x,\"y\"')::comp", "ROW(NULL, '')::comp"]),
        &[],
    ),
    column(
        "int[]",
        One(&["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'"]),
        &["'[0:2]={1,2,3}'"],
    ),
    column(
        "text[]",
        One(&[
            "'{\"\",NULL,\"NULL\",\"a,b\"}'",
            "'{\"\\\"q\\\"\",\"\\\\\"}'",
        ]),
        &[],
    ),
    column("int4range", One(&["'[1,5)'", "'(,)'"]), &["'empty'"]),
    column("int4multirange", One(&["'{[1,5),[7,9)}'"]), &["'{}'"]),
    column("tsvector", One(&["'''a'':1A,3 ''it''''s'':2B'"]), &["''"]),
    column(
        "point",
        One(&["'(0,-0)'", "'(1e-300,0.1)'"]),
        &["'(Infinity,NaN)'"],
    ),
    column("xml", One(&["'<a b=\"c\">é&amp;</a>'"]), &["'plain'"]),
    column("pg_lsn", One(&["'16/B374D848'"]), &["'0/0'"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn to_sqlite() {
    round_trip(Postgres, Sqlite, TYPES, &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mariadb() {
    round_trip(Postgres, Mariadb, TYPES, &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mysql9() {
    round_trip(Postgres, Mysql9, TYPES, &[COLUMNS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_postgres() {
    round_trip(Postgres, Postgres, TYPES, &[COLUMNS]).await;
}
