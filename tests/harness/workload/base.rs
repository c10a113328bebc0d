//! The workload's tables as they are at the start, in the words of each engine.

use super::{ACCOUNTS, Options, UNIQUES};
use crate::harness::lab::{Database, Kind};

const ROWS_AT_ONCE: i64 = 1_000;

/// Makes and fills the tables. A PostgreSQL table without a key says whole old rows, as following it
/// needs; [`Kind::Sqlite`] gets a write-ahead log, so that readers and the writer don't wait for
/// each other.
pub async fn fill(database: &Database, options: Options) {
    let mut statements: Vec<String> = tables(database.kind).iter().map(|t| (*t).into()).collect();
    let accounts = (0..ACCOUNTS).map(|id| format!("({id},1000)"));
    statements.extend(inserts("acct", accounts.collect()));
    let unique = (0..UNIQUES).map(|id| format!("({id},{id},0)"));
    statements.extend(inserts("wl_uniq", unique.collect()));
    let rows = (0..i64::from(options.bulk_rows)).map(|n| row(database.kind, n));
    statements.extend(inserts("bulk", rows.collect()));
    match database.kind {
        Kind::Sqlite => {
            let all = statements.join(";\n");
            let script = format!("PRAGMA journal_mode=WAL;\nBEGIN;\n{all};\nCOMMIT");
            database.script(&script).await;
        }
        _ => database.exec(&statements).await,
    }
}

fn tables(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Mariadb | Kind::Mysql9 => &[
            "CREATE TABLE acct (id INT PRIMARY KEY, bal BIGINT NOT NULL)",
            "CREATE TABLE ledger (tx BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, src INT, dst INT, \
             amt INT)",
            "CREATE TABLE bulk (id BIGINT NOT NULL PRIMARY KEY, k INT NOT NULL, u VARCHAR(40) \
             COLLATE utf8mb4_general_ci NOT NULL, pad VARCHAR(120), amt DECIMAL(20,4), \
             ts DATETIME(6), UNIQUE KEY (u), KEY (k))",
            "CREATE TABLE wl_counter (s INT PRIMARY KEY, n BIGINT NOT NULL)",
            "CREATE TABLE wl_seq (s INT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (s, n))",
            "CREATE TABLE wl_uniq (id INT PRIMARY KEY, u INT UNIQUE, v INT)",
            "CREATE TABLE wl_dup (a INT, b INT)",
        ],
        Kind::Postgres => &[
            "CREATE TABLE acct (id int PRIMARY KEY, bal bigint NOT NULL)",
            "CREATE TABLE ledger (tx bigserial PRIMARY KEY, src int, dst int, amt int)",
            "CREATE TABLE bulk (id bigint PRIMARY KEY, k int NOT NULL, u varchar(40) NOT NULL \
             UNIQUE, pad varchar(120), amt numeric(20,4), ts timestamptz)",
            "CREATE INDEX bulk_k ON bulk (k)",
            "CREATE TABLE wl_counter (s int PRIMARY KEY, n bigint NOT NULL)",
            "CREATE TABLE wl_seq (s int NOT NULL, n bigint NOT NULL, PRIMARY KEY (s, n))",
            "CREATE TABLE wl_uniq (id int PRIMARY KEY, u int UNIQUE, v int)",
            "CREATE TABLE wl_dup (a int, b int)",
            "ALTER TABLE wl_dup REPLICA IDENTITY FULL",
        ],
        Kind::Sqlite => &[
            "CREATE TABLE acct (id INTEGER PRIMARY KEY, bal INTEGER NOT NULL)",
            "CREATE TABLE ledger (tx INTEGER PRIMARY KEY AUTOINCREMENT, src INT, dst INT, amt INT)",
            "CREATE TABLE bulk (id INTEGER PRIMARY KEY, k INT, u TEXT COLLATE NOCASE UNIQUE, \
             pad TEXT, amt NUMERIC, ts TEXT)",
            "CREATE TABLE wl_counter (s INT PRIMARY KEY, n BIGINT NOT NULL)",
            "CREATE TABLE wl_seq (s INT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (s, n))",
            "CREATE TABLE wl_uniq (id INT PRIMARY KEY, u INT UNIQUE, v INT)",
            "CREATE TABLE wl_dup (a INT, b INT)",
        ],
    }
}

/// A row of `bulk`: gaps in its key, case that matters to some collations only.
fn row(kind: Kind, n: i64) -> String {
    let (id, k) = (n * 3 + 1, n * 7919 % 1000);
    let u = format!("{}{n:08}", if n % 2 == 1 { 'U' } else { 'u' });
    let letter = char::from(b'a' + u8::try_from(n % 26).expect("below 26"));
    let pad = String::from(letter).repeat(usize::try_from(n % 120).expect("below 120"));
    let ten_thousandths = n * 12_345 - 500_000_000;
    let sign = if ten_thousandths < 0 { "-" } else { "" };
    let (whole, part) = (
        ten_thousandths.abs() / 10_000,
        ten_thousandths.abs() % 10_000,
    );
    let (seconds, micros) = (n * 997 / 1_000_000, n * 997 % 1_000_000);
    let time = format!(
        "2020-01-01 00:{:02}:{:02}.{micros:06}",
        seconds / 60,
        seconds % 60
    );
    let zone = if kind == Kind::Postgres { "+00" } else { "" };
    format!("({id},{k},'{u}','{pad}',{sign}{whole}.{part:04},'{time}{zone}')")
}

fn inserts(table: &str, rows: Vec<String>) -> Vec<String> {
    let at_once = usize::try_from(ROWS_AT_ONCE).expect("small");
    let chunks = rows.chunks(at_once);
    let insert = |rows: &[String]| format!("INSERT INTO {table} VALUES {}", rows.join(","));
    chunks.map(insert).collect()
}
