//! Values of every type by the thousand, and those that are known to be nasty, on each server.

use mysql_async::prelude::Queryable;

use super::{differences, end, is_mariadb};
use crate::mysql9::Mysql9;
use crate::server::{connect_at, port};

/// Numbers 0..10000, to make values of.
const NUMBERS: &str = "CREATE TABLE n (i INT PRIMARY KEY) AS WITH RECURSIVE d (i) AS (SELECT 0 \
                       UNION ALL SELECT i + 1 FROM d WHERE i < 99) SELECT a.i * 100 + b.i AS i \
                       FROM d a, d b";

const NUMERIC: &[&str] = &[
    "CREATE TABLE floats (id INT PRIMARY KEY, f FLOAT, d DOUBLE, z FLOAT ZEROFILL, m DOUBLE(20,5))",
    "INSERT INTO floats SELECT i, RAND(i) * POW(10, i % 70 - 35), RAND(i + 7) * POW(10, i % 600 - \
     300), ABS(RAND(i + 9)), RAND(i + 3) * POW(10, i % 12) FROM n WHERE i < 4000",
    "INSERT INTO floats SELECT 10000 + i, POW(10, i - 36), POW(10, i - 36), i, i FROM n WHERE i < 72",
    "INSERT INTO floats SELECT 20000 + i, POW(2, i - 120), POW(2, i - 120), i, -i FROM n WHERE i < 240",
    "INSERT INTO floats SELECT 30000 + i, i * 1e11, i * 1e11 + i / 7, i, 1 / (i + 1) FROM n WHERE i % 5 = 0",
    "CREATE TABLE decimals (id INT PRIMARY KEY, a DECIMAL(1,0), b DECIMAL(9,9), c DECIMAL(10,9), d \
     DECIMAL(18,9), e DECIMAL(19,10), f DECIMAL(27,0), g DECIMAL(65,30), h DECIMAL(12,3) ZEROFILL, \
     i DECIMAL(30,30) ZEROFILL, j DECIMAL(9,0) UNSIGNED, k DECIMAL(65,0), l DECIMAL(4,4))",
    "INSERT INTO decimals SELECT i, i % 10 - 5, (i - 5000) / 5001, (i - 5000) / 999, (i - 5000) * \
     123.456789, (i - 5000) * 12345.678901, (i - 5000) * 123456789012345678.0, (i - 5000) * \
     98765432109876543210.123456789, i * 12.345, i / 10001, i * 9999, -i * POW(10, i % 60), (i - \
     5000) / 50001 FROM n WHERE i % 4 = 0",
    "INSERT INTO decimals (id) VALUES (20000)",
    "CREATE TABLE ints (id INT PRIMARY KEY, a TINYINT(4) ZEROFILL, b SMALLINT(7) ZEROFILL, c BIGINT \
     ZEROFILL, d INT(1) ZEROFILL, e MEDIUMINT ZEROFILL, f BIT(1), g BIT(8), h BIT(9), i BIT(33), j \
     BIT(64), y YEAR)",
    "INSERT INTO ints SELECT i, i % 256, i * 6, i * 123456789012345, i * 429000, i * 1600, i % 2, i \
     % 256, i % 512, i * 859993, CAST(i AS UNSIGNED) * 1844674407370955, IF(i % 256 = 0, 0, 1900 + i % 256) FROM n WHERE i % 4 = 0",
    // More columns than a byte counts is made below.
];

/// All fractions.
const MOMENTS: &[&str] = &[
    "CREATE TABLE moments (id INT PRIMARY KEY, t0 TIME, t1 TIME(1), t2 TIME(2), t3 TIME(3), t4 \
     TIME(4), t5 TIME(5), t6 TIME(6), d0 DATETIME, d1 DATETIME(1), d2 DATETIME(2), d3 DATETIME(3), \
     d4 DATETIME(4), d5 DATETIME(5), d6 DATETIME(6), s0 TIMESTAMP NULL, s1 TIMESTAMP(1) NULL, s2 \
     TIMESTAMP(2) NULL, s3 TIMESTAMP(3) NULL, s4 TIMESTAMP(4) NULL, s5 TIMESTAMP(5) NULL, s6 \
     TIMESTAMP(6) NULL, d DATE)",
    "INSERT INTO moments SELECT i, x, x, x, x, x, x, x, y, y, y, y, y, y, y, z, z, z, z, z, z, z, y \
     FROM (SELECT i, CONCAT(IF(i % 2, '-', ''), i % 839, ':', i % 60, ':', i % 59, '.', i * 97 % \
     1000000) x, CONCAT(i % 9999, '-', i % 13, '-', i % 32, ' ', i % 24, ':', i % 60, ':', i % 59, \
     '.', LPAD(i * 97 % 1000000, 6, '0')) y, CONCAT(1971 + i % 67, '-', 1 + i % 12, '-', 1 + i % 28, \
     ' ', i % 24, ':', i % 60, ':', i % 59, '.', LPAD(i * 97 % 1000000, 6, '0')) z FROM n WHERE i % 4 = 0) q",
    "INSERT INTO moments SELECT 10000 + i, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
     0, 0, 0 FROM n WHERE i < 2",
    "INSERT INTO moments (id, t1, t3, t5, t6) SELECT 20000 + i, CONCAT('-00:00:00.', i), \
     CONCAT('-00:00:00.', i), CONCAT('-00:00:01.', i), CONCAT('-00:59:59.99999', i % 10) FROM n \
     WHERE i < 1000",
];

const TEXTS: &[&str] = &[
    "CREATE TABLE chars (id INT PRIMARY KEY, a CHAR(5), b CHAR(255) CHARACTER SET utf8mb4, c CHAR(7) \
     CHARACTER SET ucs2, d CHAR(6) CHARACTER SET utf16, e CHAR(6) CHARACTER SET utf32, f CHAR(5) \
     CHARACTER SET latin1, g VARCHAR(63) CHARACTER SET utf8mb4, h VARCHAR(64) CHARACTER SET utf8mb4, \
     i CHAR(0), j BINARY(255), k VARBINARY(255), l VARBINARY(256), m BINARY(3), n TINYTEXT \
     CHARACTER SET utf16le, o LONGTEXT CHARACTER SET latin1, p CHAR(64) CHARACTER SET utf8mb4, q \
     BINARY(0))",
    "INSERT INTO chars SELECT i, LEFT(x, 5), REPEAT(LEFT(x, 3), i % 80), LEFT(x, 7), LEFT(y, 6), \
     LEFT(y, 6), LEFT(x, 5), REPEAT(LEFT(y, 1), i % 63), REPEAT(LEFT(y, 1), i % 64), '', \
     UNHEX(CONCAT(LEFT(SHA2(i, 256), 32), '0000')), UNHEX(CONCAT(LEFT(SHA2(i, 256), 32), REPEAT('00', i % 9))), \
     UNHEX(CONCAT(LEFT(SHA2(i, 256), 32), REPEAT('20', i % 9))), UNHEX(LPAD(HEX(i), 6, '0')), LEFT(y, 20), x, \
     LEFT(y, 60), '' FROM (SELECT i, CONCAT(REPEAT(' ', i % 3), i, 'é', REPEAT(' ', i % 4)) x, \
     CONCAT('😀', i, '中 ') y FROM n WHERE i < 2000) q",
    "INSERT INTO chars (id) VALUES (5000)",
    "CREATE TABLE members (id INT PRIMARY KEY, a ENUM('ü','ÿ€','x') CHARACTER SET latin1, b \
     ENUM('ü','中') CHARACTER SET ucs2, c SET('é','x','y z') CHARACTER SET latin1, d \
     SET('表','ソ','a') CHARACTER SET sjis, e SET('a','b','c','d','e','f','g','h','i') CHARACTER \
     SET utf8mb4, f ENUM('','b') CHARACTER SET ascii)",
    "INSERT INTO members SELECT i, i % 3 + 1, i % 2 + 1, i % 8, i % 8, i % 512, i % 2 + 1 FROM n \
     WHERE i < 600",
    "INSERT IGNORE INTO members VALUES (9000, 'no', 'no', 'no', 'no', 'no', 'no'), (9001, NULL, \
     NULL, NULL, NULL, NULL, NULL)",
    "CREATE TABLE refused_latin5 (id INT PRIMARY KEY, t VARCHAR(9) CHARACTER SET cp1257)",
    "INSERT INTO refused_latin5 VALUES (1, X'61A1')",
    "CREATE TABLE refused_sjis (id INT PRIMARY KEY, t VARCHAR(9) CHARACTER SET sjis)",
    "INSERT INTO refused_sjis VALUES (1, X'5C')",
];

const MARIADB: &[&str] = &[
    "CREATE TABLE addresses (id INT PRIMARY KEY, u UUID, i6 INET6, i4 INET4)",
    "INSERT INTO addresses SELECT i, CONCAT_WS('-', LEFT(x, 8), MID(x, 9, 4), MID(x, 13, 4), MID(x, \
     17, 4), MID(x, 21, 12)), CONCAT_WS(':', IF(i & 1, LEFT(x, 4), 0), IF(i & 2, MID(x, 5, 4), 0), \
     IF(i & 4, MID(x, 9, 4), 0), IF(i & 8, MID(x, 13, 4), 0), IF(i & 16, MID(x, 17, 4), 0), IF(i & \
     32, MID(x, 21, 4), IF(i & 256, 'ffff', 0)), IF(i & 64, MID(x, 25, 4), 0), IF(i & 128, 'c0', \
     0)), CONCAT_WS('.', i % 256, i DIV 256, 0, i * 7 % 256) FROM (SELECT i, LEFT(SHA2(i, 256), 32) x FROM n WHERE i < 3000) q",
    "INSERT INTO addresses VALUES (20000, '00000000-0000-0000-0000-000000000000', '::', '0.0.0.0'), \
     (20001, 'ffffffff-ffff-ffff-ffff-ffffffffff00', '1::', '1.0.0.0'), (20002, \
     '6ccd780c-baba-1026-9564-5b8c65602400', '::ffff:0:0', NULL), (20003, NULL, NULL, NULL)",
    "CREATE TABLE pressed (id INT PRIMARY KEY, a VARCHAR(500) COMPRESSED, b LONGBLOB COMPRESSED, c \
     TEXT CHARACTER SET latin1 COMPRESSED)",
    "INSERT INTO pressed SELECT i, REPEAT('ab', i % 200), REPEAT(CHAR(i % 256), i), REPEAT('é', i % \
     99) FROM n WHERE i < 1000",
    "CREATE TABLE until (id INT PRIMARY KEY, v INT, a TIMESTAMP(6) GENERATED ALWAYS AS ROW START, b \
     TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM \
     VERSIONING",
    "INSERT INTO until (id, v) SELECT i, i FROM n WHERE i < 100",
    "CREATE TABLE history (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
    "INSERT INTO history SELECT i, i FROM n WHERE i < 100",
    "UPDATE history SET v = -v WHERE id % 2",
    "DELETE HISTORY FROM history",
];

const MYSQL: &[&str] = &[
    "CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3))",
    "INSERT INTO vectors SELECT i, STRING_TO_VECTOR(CONCAT('[', i, ',0.1,-', i, ']')) FROM n WHERE i \
     < 100",
    "CREATE TABLE hidden (id INT PRIMARY KEY, j JSON, v VARCHAR(20), KEY ((CAST(j->'$.a' AS UNSIGNED \
     ARRAY))), KEY ((LOWER(v))))",
    "INSERT INTO hidden SELECT i, JSON_OBJECT('a', JSON_ARRAY(i, i + 1)), CONCAT('V', i) FROM n \
     WHERE i < 100",
    "SET sql_generate_invisible_primary_key = ON",
    "CREATE TABLE gipk (id INT, v INT)",
    "SET sql_generate_invisible_primary_key = OFF",
    "INSERT INTO gipk SELECT i, i FROM n WHERE i < 100",
    "CREATE TABLE documents (id INT PRIMARY KEY, j JSON)",
    "INSERT INTO documents SELECT i, CAST(RAND(i) * POW(10, i % 600 - 300) AS JSON) FROM n WHERE i < 3000",
    "INSERT INTO documents SELECT 10000 + i, JSON_ARRAY(i, -i, i * 100000, -i * 10000000000, i / 7, \
     CAST(i * 1e14 AS DOUBLE), CAST(i AS DECIMAL(20,5)), CAST(-i / 3 AS DECIMAL(65,30)), i % 2 = 0, \
     NULL, CAST(18446744073709551615 - i AS UNSIGNED)) FROM n WHERE i < 1000",
    "INSERT INTO documents SELECT 20000 + i, JSON_OBJECT(CHAR(i USING utf8mb4), CHAR(i USING \
     utf8mb4), CONCAT('k', i), REPEAT(CHAR(i USING utf8mb4), 200)) FROM n WHERE i BETWEEN 1 AND 127",
    "INSERT INTO documents SELECT 30000 + i, JSON_ARRAY(CAST(d AS JSON), CAST(CAST(d AS DATE) AS \
     JSON), CAST(t AS JSON), CAST(CAST(d AS DATETIME) AS JSON)) FROM (SELECT i, TIMESTAMP '2001-02-03 \
     04:05:06' + INTERVAL i * 1234567 MICROSECOND + INTERVAL i DAY d, CAST(CONCAT(IF(i % 2, '-', \
     ''), i % 839, ':', i % 60, ':01.', i) AS TIME(6)) t FROM n WHERE i < 1000) q",
    "INSERT INTO documents SELECT 40000 + i, JSON_ARRAY(CAST(REPEAT(CHAR(i % 256), i) AS BINARY), \
     b'101', X'00FF') FROM n WHERE i < 200",
    "INSERT INTO documents SELECT 50000, JSON_ARRAYAGG(JSON_OBJECT('i', i, CONCAT('key', i), \
     CONCAT('value ', i))) FROM n",
    "INSERT INTO documents SELECT 50001, JSON_OBJECTAGG(i, JSON_ARRAY(i, i * 70000, -i * 1e9, '')) \
     FROM n",
    "INSERT INTO documents VALUES (50002, '{}'), (50003, '[]'), (50004, '\"\"'), (50006, '[1.0, 100.0, 1e15, 1e14, 1e-7, -0.0, 123456789012345678901234567890]'), \
     (50007, JSON_ARRAY(ST_GeomFromText('POINT(1 2)'))), (50008, NULL)",
    "CREATE TABLE gb18030 (id INT PRIMARY KEY, t VARCHAR(4) CHARACTER SET gb18030)",
    "INSERT INTO gb18030 SELECT * FROM (SELECT a.i * 10000 + b.i AS id, CONVERT(CONVERT(\
     UNHEX(LPAD(HEX(a.i * 10000 + b.i), 8, '0')) USING utf32) USING gb18030) t FROM n a, n b WHERE \
     a.i < 20 AND b.i % 11 = 0) q WHERE t IS NOT NULL AND t <> '?'",
];

/// Every character of two (three) bytes that the server takes for one that converts back.
fn charset(name: &str) -> [String; 2] {
    let three = match name {
        "ujis" | "eucjpms" => ", X'8F'",
        _ => "",
    };
    let more = match three {
        "" => String::new(),
        _ => {
            "UNION ALL SELECT 70000 + i, CONCAT(X'8F', CHAR(161 + i DIV 94 USING binary), CHAR(161 \
              + i % 94 USING binary)) FROM n WHERE i < 8836"
                .to_owned()
        }
    };
    [
        format!("CREATE TABLE cs_{name} (id INT PRIMARY KEY, t VARCHAR(4) CHARACTER SET {name})"),
        format!(
            "INSERT INTO cs_{name} SELECT id, b FROM (SELECT id, b, CONVERT(b USING {name}) t FROM \
             (SELECT i id, CHAR(i USING binary) b FROM n WHERE i < 256 UNION ALL SELECT a.i * 256 + \
             b.i, CONCAT(CHAR(a.i USING binary), CHAR(b.i USING binary)) FROM n a, n b WHERE a.i \
             BETWEEN 128 AND 255 AND b.i BETWEEN 1 AND 255 {more}) x) y WHERE t IS NOT NULL AND \
             CAST(CONVERT(CONVERT(t USING utf8mb4) USING {name}) AS BINARY) = b"
        ),
    ]
}

async fn zoo(port: u16) -> Vec<String> {
    let from = end(port).await;
    let mut conn = connect_at(port, "").await;
    let mariadb = is_mariadb(&mut conn).await;
    let charsets: Vec<String> = conn
        .query("SELECT character_set_name FROM information_schema.character_sets")
        .await
        .expect("asked");
    let unicode = [
        "binary", "utf8mb3", "utf8mb4", "utf16", "utf16le", "utf32", "ucs2",
    ];
    let charsets = charsets
        .iter()
        .filter(|name| !unicode.contains(&name.as_str()));
    let wide: Vec<String> = (0..300)
        .map(|at| format!("c{at} SMALLINT DEFAULT {at}"))
        .collect();
    let mut statements: Vec<String> = [
        "DROP DATABASE IF EXISTS rowimage",
        "CREATE DATABASE rowimage CHARACTER SET utf8mb4",
        "USE rowimage",
        "SET NAMES utf8mb4",
        "SET time_zone='+00:00', sql_mode='ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'",
        NUMBERS,
    ]
    .map(str::to_owned)
    .to_vec();
    statements.push(format!(
        "CREATE TABLE wide (id INT PRIMARY KEY, {})",
        wide.join(", ")
    ));
    statements.push("INSERT INTO wide (id, c7) SELECT i, NULL FROM n WHERE i < 50".to_owned());
    statements.extend(charsets.flat_map(|name| charset(name)));
    let own = if mariadb { MARIADB } else { MYSQL };
    for part in [NUMERIC, MOMENTS, TEXTS, own] {
        statements.extend(part.iter().map(|sql| (*sql).to_owned()));
    }
    for sql in &statements {
        let done = conn.query_drop(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let tables: Vec<String> = conn.query("SHOW TABLES").await.expect("listed");
    for table in tables.iter().filter(|table| table.as_str() != "n") {
        for sql in [
            format!("UPDATE `{table}` SET id = id + 1000000 WHERE id % 2"),
            format!("DELETE FROM `{table}` WHERE id % 5 = 3"),
        ] {
            let done = conn.query_drop(&sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    differences(port, "rowimage", &from).await
}

#[tokio::test]
async fn thousands_of_values_are_the_same_on_mariadb() {
    assert_eq!(zoo(port()).await, Vec::<String>::new());
}

#[tokio::test]
async fn thousands_of_values_are_the_same_on_mysql_9() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    assert_eq!(zoo(server.port).await, Vec::<String>::new());
}
