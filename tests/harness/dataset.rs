//! Generated databases: a small shop with every kind of key and type, and large tables of one
//! shape each. The servers make the rows themselves, so two million take seconds.

use sqlx::Connection;

use super::server::Server;

/// A shop for MariaDB: decimals, dates, foreign keys (one to itself), composite and text keys
/// under a case-insensitive collation, latin1, exact floats, bytes, JSON, enum, set, bit, NULLs.
const SHOP_MYSQL: &[&str] = &[
    "CREATE TABLE staff (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(60) NOT NULL, \
     boss INT NULL, hired DATE, FOREIGN KEY (boss) REFERENCES staff (id) ON DELETE SET NULL)",
    "CREATE TABLE customers (code VARCHAR(40) COLLATE utf8mb4_general_ci PRIMARY KEY, \
     city VARCHAR(40) CHARACTER SET latin1, born DATE, credit DECIMAL(30,10) NOT NULL DEFAULT 0.5, \
     served_by INT, note TEXT, UNIQUE KEY one_per_city (city, born), \
     FOREIGN KEY (served_by) REFERENCES staff (id))",
    "CREATE TABLE orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, \
     customer VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL, placed DATETIME(6) NOT NULL, \
     changed TIMESTAMP(3) NULL, state ENUM('new','paid','sent') DEFAULT 'new', \
     marks SET('gift','fast','fragile'), KEY by_time (placed, state), \
     FOREIGN KEY (customer) REFERENCES customers (code) ON UPDATE CASCADE)",
    "CREATE TABLE order_lines (order_id BIGINT UNSIGNED NOT NULL, line SMALLINT NOT NULL, \
     price DECIMAL(10,2) NOT NULL, weight DOUBLE, ratio FLOAT, flags BIT(12), \
     PRIMARY KEY (order_id, line), \
     FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE)",
    "CREATE TABLE documents (id BINARY(8) PRIMARY KEY, body LONGBLOB, meta JSON, \
     length TIME(2), made YEAR, KEY by_start (body(16)))",
    "CREATE TABLE `odd ``name` (`a key` INT PRIMARY KEY, `select` VARCHAR(20) DEFAULT 'it''s')",
    "INSERT INTO staff VALUES (1, 'Ada', NULL, '1999-12-31'), (2, 'Bob', 1, NULL), \
     (3, 'Zoë 🐦', 1, '2024-02-29')",
    "INSERT INTO customers SELECT CONCAT(CHAR(97 + seq % 26), '-', seq, IF(seq % 3, 'X', 'é')), \
     IF(seq % 7, CONCAT('Köln', seq), NULL), DATE '1950-01-01' + INTERVAL seq DAY, \
     CAST('12345678901234567890.0123456789' AS DECIMAL(30,10)) - seq / 3, 1 + seq % 3, \
     IF(seq % 5, CONCAT('tab\\tnew\\nline \\\\ quote '' ', seq), NULL) FROM seq_1_to_500",
    "INSERT INTO orders SELECT seq, (SELECT code FROM customers ORDER BY code LIMIT 1), \
     TIMESTAMP '2001-02-03 04:05:06.789012' + INTERVAL seq * 7919 SECOND, \
     IF(seq % 4, TIMESTAMP '2020-01-01 00:00:00.123', NULL), 1 + seq % 3, seq % 8 FROM seq_1_to_3000",
    "INSERT INTO orders (id, customer, placed) SELECT 18446744073709551610, code, NOW(6) \
     FROM customers ORDER BY code DESC LIMIT 1",
    "INSERT INTO order_lines SELECT 1 + seq % 3000, seq DIV 3000, seq / 100, 1 / (1 + seq), \
     CAST(1 / (3 + seq) AS FLOAT), seq % 4096 FROM seq_0_to_8999",
    "INSERT INTO documents SELECT UNHEX(LPAD(HEX(seq * 7), 16, '0')), \
     IF(seq % 9, UNHEX(SHA2(seq, 512)), NULL), JSON_OBJECT('n', seq, 'ü', 'x\\\\y'), \
     SEC_TO_TIME(seq * 60), 1970 + seq % 100 FROM seq_1_to_400",
    "INSERT INTO documents VALUES ('\\0\\t\\n\\\\\\'\"\\Z\\r', '', '[]', '-838:59:59', 2155)",
    "INSERT INTO `odd ``name` VALUES (-1, NULL), (0, ''), (1, 'NULL'), (2, '\\\\N')",
];

/// The same idea in SQLite's words; several statements are run at once. The keys of `label` differ
/// only by case, by a space at the end, or under collations that know German.
const SHOP_SQLITE: &str = "
CREATE TABLE artist (artist_id INTEGER NOT NULL PRIMARY KEY, name NVARCHAR(120));
CREATE TABLE album (album_id INTEGER NOT NULL PRIMARY KEY, title NVARCHAR(160) NOT NULL,
  artist_id INTEGER NOT NULL, FOREIGN KEY (artist_id) REFERENCES artist (artist_id)
  ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE track (track_id INTEGER NOT NULL PRIMARY KEY, name NVARCHAR(200) NOT NULL,
  album_id INTEGER, milliseconds INTEGER NOT NULL, unit_price NUMERIC(10,2) NOT NULL,
  gain REAL, cover BLOB, FOREIGN KEY (album_id) REFERENCES album (album_id));
CREATE TABLE employee (employee_id INTEGER NOT NULL PRIMARY KEY, last_name NVARCHAR(20) NOT NULL,
  reports_to INTEGER, hire_date DATETIME, FOREIGN KEY (reports_to) REFERENCES employee (employee_id));
CREATE TABLE playlist_track (playlist_id INTEGER NOT NULL, track_id INTEGER NOT NULL,
  PRIMARY KEY (playlist_id, track_id), FOREIGN KEY (track_id) REFERENCES track (track_id));
CREATE TABLE label (code NVARCHAR(30) NOT NULL PRIMARY KEY, country NVARCHAR(40));
CREATE INDEX album_by_artist ON album (artist_id);
CREATE UNIQUE INDEX track_once ON track (album_id, name);
CREATE INDEX track_by_price ON track (unit_price, milliseconds);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
  INSERT INTO artist SELECT i, CASE WHEN i % 11 = 0 THEN NULL ELSE 'Sigur Rós ' || i || '🐦' END FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
  INSERT INTO album SELECT i, 'tab' || char(9) || 'line' || char(10) || '''quote'' \\N ' || i, 1 + i % 200 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
  INSERT INTO track SELECT i * 3, 'Track ' || i, 1 + i % 400, i * 1009, (i % 300) / 100.0,
  CASE WHEN i % 5 = 0 THEN NULL ELSE 1.0 / i END, CASE WHEN i % 7 = 0 THEN NULL ELSE randomblob(i % 60) END FROM n;
INSERT INTO employee VALUES (1, 'Adams', NULL, '2002-08-14 00:00:00'), (2, 'Edwards', 1, '2002-05-01 09:30:00'),
  (3, '', 2, NULL);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 3999)
  INSERT INTO playlist_track SELECT 1 + i % 20, (1 + i) * 3 FROM n;
INSERT INTO label VALUES ('a', 'x'), ('A', 'y'), ('b ', NULL), ('b', ''), ('ß', 'z'), ('ss', 'z');
";

/// Fills a new database of the server with the shop; its URL.
pub async fn shop_mysql(server: &Server, database: &str) -> String {
    let url = server.create(database).await;
    server.exec(database, SHOP_MYSQL).await;
    url
}

/// Makes a SQLite file with the shop; its URL.
pub async fn shop_sqlite(path: &str) -> String {
    sqlite_exec(path, SHOP_SQLITE).await;
    format!("sqlite:{path}")
}

/// Runs statements on a SQLite file, which is made if it isn't there.
pub async fn sqlite_exec(path: &str, statements: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(false);
    let mut conn = sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("a SQLite file");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut conn)
        .await
        .expect("the statements run");
    conn.close().await.expect("closed");
}

/// `rows` narrow rows (about 60 bytes) in table `narrow`, key `id` with gaps.
pub async fn narrow(server: &Server, database: &str, rows: u64) -> String {
    let url = server.create(database).await;
    let fill = format!(
        "INSERT INTO narrow SELECT seq * 3, CRC32(seq), CONCAT('name-', seq), seq / 100, \
         TIMESTAMP '2020-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_{rows}"
    );
    let create = "CREATE TABLE narrow (id BIGINT PRIMARY KEY, n INT UNSIGNED NOT NULL, \
                  name VARCHAR(40) NOT NULL, amount DECIMAL(12,2), at DATETIME, KEY by_n (n))";
    let statements = [create, fill.as_str(), "ANALYZE TABLE narrow"];
    server.exec(database, &statements).await;
    url
}

/// `rows` rows of about 5 kB in table `wide`.
pub async fn wide(server: &Server, database: &str, rows: u64) -> String {
    let url = server.create(database).await;
    let fill = format!(
        "INSERT INTO wide SELECT seq, REPEAT(MD5(seq), 60), UNHEX(REPEAT(SHA2(seq, 512), 48)) \
         FROM seq_1_to_{rows}"
    );
    let create = "CREATE TABLE wide (id INT PRIMARY KEY, words MEDIUMTEXT, bytes MEDIUMBLOB)";
    let statements = [create, fill.as_str(), "ANALYZE TABLE wide"];
    server.exec(database, &statements).await;
    url
}

/// `rows` rows in table `keyed` under a composite key of case-insensitive text and a date.
pub async fn text_keyed(server: &Server, database: &str, rows: u64) -> String {
    let url = server.create(database).await;
    let fill = format!(
        "INSERT INTO keyed SELECT CONCAT(IF(seq % 2, 'key', 'KEY'), '-é-', seq DIV 10), \
         DATE '2000-01-01' + INTERVAL seq % 10 DAY, seq FROM seq_1_to_{rows}"
    );
    let create = "CREATE TABLE keyed (k VARCHAR(60) COLLATE utf8mb4_unicode_ci, d DATE, v INT, \
                  PRIMARY KEY (k, d))";
    let statements = [create, fill.as_str(), "ANALYZE TABLE keyed"];
    server.exec(database, &statements).await;
    url
}

/// `rows` rows in table `t` of a new SQLite file; its URL.
pub async fn numbers_sqlite(path: &str, rows: u64) -> String {
    let statements = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, half REAL);
         CREATE INDEX t_by_name ON t (name);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t SELECT i * 2, 'row number ' || i, i / 2.0 FROM n;"
    );
    sqlite_exec(path, &statements).await;
    format!("sqlite:{path}")
}
