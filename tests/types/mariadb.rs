//! The types that MariaDB and MySQL share, and MariaDB's own.

use super::{Column, column, round_trip};
use crate::harness::lab::Kind::{Mariadb, Mysql9, Postgres, Sqlite};
use crate::random::Values::{
    Bits, Bytes, Date, Decimal, Float32, Float64, Inet4, Inet6, Instant, Int, Json, Latin, Moment,
    One, Text, Time, Uuid,
};

const I64: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);

pub const SHARED: &[Column] = &[
    column("TINYINT", Int(-128, 127), &["-128", "127"]),
    column("TINYINT UNSIGNED", Int(0, 255), &["0", "255"]),
    column("TINYINT(1)", Int(-128, 127), &["0", "1", "2", "-128"]),
    column("SMALLINT", Int(-32768, 32767), &["-32768", "32767"]),
    column("SMALLINT UNSIGNED", Int(0, 65535), &["0", "65535"]),
    column("MEDIUMINT", Int(-8_388_608, 8_388_607), &["-8388608"]),
    column("MEDIUMINT UNSIGNED", Int(0, 16_777_215), &["16777215"]),
    column("INT", Int(-2_147_483_648, 2_147_483_647), &["-2147483648"]),
    column("INT UNSIGNED", Int(0, 4_294_967_295), &["4294967295"]),
    column(
        "INT(10) UNSIGNED ZEROFILL",
        Int(0, 4_294_967_295),
        &["7", "0"],
    ),
    column(
        "BIGINT",
        Int(I64.0, I64.1),
        &["-9223372036854775808", "9223372036854775807"],
    ),
    column(
        "BIGINT UNSIGNED",
        Int(0, u64::MAX as i128),
        &["18446744073709551615", "9223372036854775808"],
    ),
    column(
        "DECIMAL(65,30)",
        Decimal {
            whole: 35,
            scale: 30,
            unsigned: false,
        },
        &["0.000000000000000000000000000001"],
    ),
    column(
        "DECIMAL(10,2)",
        Decimal {
            whole: 8,
            scale: 2,
            unsigned: false,
        },
        &["0.01", "-99999999.99"],
    ),
    column(
        "DECIMAL(10,0) UNSIGNED",
        Decimal {
            whole: 10,
            scale: 0,
            unsigned: true,
        },
        &["0", "9999999999"],
    ),
    column(
        "FLOAT",
        Float32,
        &["16777217", "0.1", "1.175494351e-38", "3.4028234e38"],
    ),
    column(
        "DOUBLE",
        Float64,
        &["0.1", "5e-324", "1.7976931348623157e308", "1e22"],
    ),
    column("CHAR(10)", Text(10), &["''", "'a'"]),
    column("VARCHAR(60)", Text(60), &["''", "'a  '", "'NULL'"]),
    column("TINYTEXT", Text(60), &["''"]),
    column("TEXT", Text(300), &["'a\\tb'"]),
    column("MEDIUMTEXT", Text(2000), &["'\\\\N'"]),
    column("LONGTEXT", Text(300), &["'\\\\.'"]),
    column("VARCHAR(40) CHARACTER SET latin1", Latin(40), &["'é'"]),
    column("VARCHAR(40) CHARACTER SET utf16", Text(40), &["'😀'"]),
    column(
        "VARCHAR(40) CHARACTER SET sjis",
        One(&["'表ソ'", "'a'", "'\\\\'"]),
        &["'表'"],
    ),
    column(
        "VARCHAR(40) CHARACTER SET gbk",
        One(&["'誠'", "'b'", "'中'"]),
        &["'誠'"],
    ),
    column(
        "BINARY(8)",
        Bytes { min: 0, max: 8 },
        &["X''", "X'4120'", "X'0000000000000000'"],
    ),
    column(
        "VARBINARY(40)",
        Bytes { min: 0, max: 40 },
        &["X''", "X'4100'", "X'2020'"],
    ),
    column("TINYBLOB", Bytes { min: 0, max: 255 }, &["X''"]),
    column("BLOB", Bytes { min: 0, max: 300 }, &["X'5C4E'"]),
    column("MEDIUMBLOB", Bytes { min: 0, max: 300 }, &["X'1A'"]),
    column("LONGBLOB", Bytes { min: 0, max: 300 }, &["X'00'"]),
    column(
        "DATE",
        Date,
        &["'1000-01-01'", "'9999-12-31'", "'2024-02-29'"],
    ),
    column("DATETIME", Moment(0), &["'9999-12-31 23:59:59'"]),
    column("DATETIME(6)", Moment(6), &["'1582-10-10 12:00:00.000001'"]),
    column(
        "TIMESTAMP",
        Instant(0),
        &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    ),
    column("TIMESTAMP(6)", Instant(6), &["'2023-11-05 05:30:00.5'"]),
    column(
        "TIME",
        Time {
            hours: 838,
            fraction: 0,
            signed: true,
        },
        &["'838:59:59'", "'-838:59:59'", "'-00:00:01'"],
    ),
    column(
        "TIME(6)",
        Time {
            hours: 838,
            fraction: 6,
            signed: true,
        },
        &["'838:59:59'", "'-00:00:00.000001'"],
    ),
    column("YEAR", Int(1901, 2155), &["0", "1901", "2155"]),
    column(
        "ENUM('a','b,c','d''e','','ÿ','0')",
        One(&["'a'", "'b,c'", "'d''e'", "'ÿ'", "'0'"]),
        &["''"],
    ),
    column(
        "SET('x','y z','q''r')",
        One(&["'x'", "'x,y z'", "'q''r'", "'x,y z,q''r'"]),
        &["''"],
    ),
    column("BIT(1)", Bits(1), &["b'0'", "b'1'"]),
    column("BIT(12)", Bits(12), &["b'0'", "b'111111111111'"]),
    column(
        "BIT(64)",
        Bits(64),
        &["b'0'", "0x8000000000000000", "0xFFFFFFFFFFFFFFFF"],
    ),
    column("JSON", Json, &["'null'", "'{}'", "'[1.50, 1]'"]),
    column(
        "POINT",
        One(&[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POINT(-1.5 1e10)')",
        ]),
        &[],
    ),
    column(
        "GEOMETRY",
        One(&[
            "ST_GeomFromText('LINESTRING(0 0,1 1)')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')",
        ]),
        &[],
    ),
];

const OWN: &[Column] = &[
    column(
        "UUID",
        Uuid,
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    )
    .except(&[Mysql9]),
    column("INET4", Inet4, &["'0.0.0.0'", "'255.255.255.255'"]).except(&[Mysql9]),
    column("INET6", Inet6, &["'::'", "'::ffff:1.2.3.4'"]).except(&[Mysql9]),
    // MySQL has no NO PAD collation of that name.
    column(
        "VARCHAR(20) COLLATE utf8mb4_nopad_bin",
        Text(20),
        &["'a  '"],
    )
    .except(&[Mysql9]),
];

#[tokio::test(flavor = "multi_thread")]
async fn to_sqlite() {
    round_trip(Mariadb, Sqlite, &[], &[SHARED, OWN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mariadb() {
    round_trip(Mariadb, Mariadb, &[], &[SHARED, OWN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mysql9() {
    round_trip(Mariadb, Mysql9, &[], &[SHARED, OWN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_postgres() {
    round_trip(Mariadb, Postgres, &[], &[SHARED, OWN]).await;
}
