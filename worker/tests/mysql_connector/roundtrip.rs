//! Every supported type travels unchanged, and a value the server would change stops the load.

use common::code::Code;
use common::job::TargetMode;
use common::schema::CellForm;
use common::task::TaskKind;
use common::value::RowBatch;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Recovered};
use worker::secret::Secrets;

use crate::server::{
    ask, digest, endpoint, job, load, pair, plan, prepared, run, txn, whole, work, work_in,
};

/// Everything a table of one of these tests is made of, loaded once more by INSERT.
async fn copies(name: &str, statements: &[&str]) -> (String, u64) {
    let (source, target) = pair(name).await;
    run(&format!("{name}_s"), statements).await;
    let mut insert = endpoint(&format!("{name}_t"));
    insert.url.push_str("?local-infile=off");
    let insert = Mysql::new(&insert, &Secrets::default()).expect("valid");
    copy(name, &source, &insert).await;
    copy(name, &source, &target).await
}

/// Copies one table natively and compares the digest read back with the one that was loaded.
async fn copy(name: &str, source: &Mysql, target: &Mysql) -> (String, u64) {
    let (job, plan) = (job(), plan(source, "t").await);
    let tables = [plan.clone()];
    let create = work(&job, 0, 1, TaskKind::Create, &tables);
    target
        .define(work_in(TargetMode::Recreate, create))
        .await
        .expect("created");
    let opened = target.writer(txn(&job, 0, 1), plan.clone());
    let mut writer = opened.await.expect("opened");
    assert_eq!(writer.begin(None).await.expect("begun"), Recovered::Absent);
    let loaded = load(source, &plan, writer.as_mut()).await;
    writer.prepare(loaded).await.expect("prepared");
    writer.commit().await.expect("committed");
    let back = digest(target, whole(&plan.target, &plan.source, CellForm::Native)).await;
    assert_eq!(back, loaded.digest, "{name}");
    assert_eq!(prepared(target, &job).await, []);
    // By other code than the copier's: the server's own comparison.
    let difference = format!(
        "SELECT COUNT(*) FROM (SELECT * FROM {name}_s.t EXCEPT SELECT * FROM {name}_t.t) AS d"
    );
    assert_eq!(ask("", &difference).await, "0", "{name}");
    (format!("{name}_t"), loaded.digest.rows)
}

#[tokio::test]
async fn numbers_keep_their_extremes() {
    copies(
        "rt_numbers",
        &[
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, \
             c MEDIUMINT, d INT UNSIGNED, e BIGINT, f BIGINT UNSIGNED, g DECIMAL(65,30), \
             h DECIMAL(10,0), z INT(8) UNSIGNED ZEROFILL, y BIT(1), x BIT(33), w BIT(64), \
             yr YEAR)",
            "INSERT INTO t VALUES (0, -128, 65535, -8388608, 4294967295, -9223372036854775808, \
             18446744073709551615, 99999999999999999999999999999999999.999999999999999999999999999999, \
             -9999999999, 42, b'1', b'111111111111111111111111111111111', \
             b'1111111111111111111111111111111111111111111111111111111111111111', 2155)",
            "INSERT INTO t VALUES (1, 127, 0, 8388607, 0, 9223372036854775807, 0, \
             -0.000000000000000000000000000001, 0, 0, b'0', 0, 0, 0)",
            "INSERT INTO t (id) VALUES (2), (-5)",
        ],
    )
    .await;
}

#[tokio::test]
async fn floats_keep_every_bit() {
    let (target, rows) = copies(
        "rt_floats",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, d DOUBLE, m FLOAT(7,3), n DOUBLE(9,2))",
            "INSERT INTO t VALUES (1, 16777217, 0.1, 1.234, 1.23), (2, 1.4e-45, 5e-324, 0.001, 0.01), \
             (3, 3.4028234663852886e38, 1.7976931348623157e308, -9999.999, 1234567.89), \
             (4, -0e0, -0e0, -0e0, -0e0), (5, 1.17549435e-38, 2.2250738585072014e-308, 1, 1), \
             (6, 0.3, 123456789012345680, 0.1, 0.1), (7, NULL, NULL, NULL, NULL)",
            "INSERT INTO t SELECT 100 + seq, RAND(seq) * POW(10, seq % 37), \
             RAND(seq + 7) * POW(10, seq % 300), ROUND(RAND(seq) * 1000, 3), \
             ROUND(RAND(seq) * 100000, 2) FROM seq_1_to_2000",
        ],
    )
    .await;
    assert_eq!(rows, 2007);
    // MariaDB keeps no -0 in a DOUBLE; loading one must be no reason to stop.
    assert_eq!(ask(&target, "SELECT d FROM t WHERE id = 4").await, "0");
}

#[tokio::test]
async fn texts_keep_their_bytes_in_any_charset() {
    copies(
        "rt_texts",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(50) CHARACTER SET utf8mb4, \
             b VARCHAR(50) CHARACTER SET latin1, c VARCHAR(50) CHARACTER SET sjis, \
             d CHAR(10) CHARACTER SET utf8mb3, e TEXT CHARACTER SET ucs2, f LONGTEXT CHARACTER SET \
             utf16, g VARCHAR(20) CHARACTER SET gbk, h TINYTEXT CHARACTER SET cp1251, \
             e1 ENUM('a','it''s','ü',',','\\\\') CHARACTER SET latin1, \
             s1 SET('x','y','zä') CHARACTER SET utf8mb4, j JSON)",
            "INSERT INTO t VALUES (1, '😀 tab\\t nl\\n cr\\r nul\\0 bs\\\\ q\\' \"', 'naïve €', \
             'ソ十表能\\\\', 'trail  ', 'ü', '😀x', '中\\\\文', 'Привет', 'ü', 'x,zä', \
             '{\"a\": [1, 2.50, \"\\\\u00e9\"]}')",
            "INSERT INTO t VALUES (2, '', '', '', '', '', '', '', '', 'it''s', '', '[]')",
            "INSERT INTO t VALUES (3, '\\\\N', 'NULL', '', ' x', '', '', '', '', '\\\\', 'y', 'null')",
            "INSERT INTO t (id) VALUES (4)",
        ],
    )
    .await;
}

#[tokio::test]
async fn bytes_and_moments_keep_everything() {
    copies(
        "rt_bytes",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, a BINARY(4), b VARBINARY(300), c LONGBLOB, \
             dt DATE, ti TIME(6), dm DATETIME(6), d0 DATETIME, ts TIMESTAMP(6) NULL, \
             g INT GENERATED ALWAYS AS (id + 1) STORED)",
            "INSERT INTO t (id, a, b, c) SELECT 1, X'01', GROUP_CONCAT(CHAR(seq USING binary) ORDER \
             BY seq SEPARATOR ''), REPEAT(X'00090A0D5C27', 100000) FROM seq_0_to_255",
            "INSERT INTO t (id, a, b, c, dt, ti, dm, d0, ts) VALUES (2, X'00000000', '', '', \
             '9999-12-31', '-838:59:59.999999', '9999-12-31 23:59:59.999999', \
             '1000-01-01 00:00:00', '2038-01-19 03:14:07.999999'), \
             (3, NULL, NULL, NULL, '0000-00-00', '-00:00:00.000001', '0000-00-00 00:00:00', \
             '2024-00-00 00:00:00', '1970-01-01 00:00:01')",
            "INSERT INTO t (id) VALUES (4)",
            "SET sql_mode='ALLOW_INVALID_DATES'",
            "INSERT INTO t (id, dt) VALUES (5, '2024-02-31')",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_row_of_64_mib_travels() {
    let (source, target) = pair("rt_large").await;
    run(
        "rt_large_s",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)",
            "INSERT INTO t VALUES (1, REPEAT(X'000102030405060708090A0B5C0D0E0F', 4194304)), (2, 'x')",
        ],
    )
    .await;
    let (target, _) = copy("rt_large", &source, &target).await;
    let length = ask(&target, "SELECT LENGTH(c) FROM t WHERE id = 1").await;
    assert_eq!(length, (64 << 20).to_string());
}

/// Loads one planted row of text cells into a table; the error's code.
async fn planted(name: &str, create: &str, cells: &[Option<&str>]) -> Code {
    let (source, target) = pair(name).await;
    run(&format!("{name}_s"), &[create]).await;
    let (job, mut plan) = (job(), plan(&source, "t").await);
    let tables = [plan.clone()];
    target
        .define(work(&job, 0, 1, TaskKind::Create, &tables))
        .await
        .expect("created");
    plan.form = CellForm::Canonical;
    let opened = target.writer(txn(&job, 0, 1), plan);
    let mut writer = opened.await.expect("opened");
    writer.begin(None).await.expect("begun");
    let mut batch = RowBatch::new(cells.len());
    for cell in cells {
        match cell {
            Some(cell) => batch.push(cell.as_bytes()),
            None => batch.push_null(),
        }
    }
    let error = writer.load(batch).await.expect_err("it does not fit");
    assert!(error.failure.what.contains("table t"), "{error}");
    let refused = writer.prepare(common::plan::Loaded::default()).await;
    refused.expect_err("an error poisons the writer");
    writer.rollback().await.expect("rolled back");
    assert_eq!(prepared(&target, &job).await, []);
    assert_eq!(
        ask(&format!("{name}_t"), "SELECT COUNT(*) FROM t").await,
        "0"
    );
    error.failure.code
}

#[tokio::test]
async fn a_value_the_server_would_change_stops_the_load() {
    let one = Some("1");
    for (at, (column, cell)) in [
        ("TINYINT", "999"),
        ("INT", "abc"),
        ("VARCHAR(3)", "abcdef"),
        ("DATE", "not a date"),
        ("DECIMAL(4,1)", "1.25"),
        ("VARCHAR(9) CHARACTER SET latin1", "中"),
        ("VARCHAR(9) CHARACTER SET utf8mb3", "😀"),
        ("ENUM('a')", "b"),
        ("BIT(2)", "9"),
        ("DOUBLE", "inf"),
    ]
    .into_iter()
    .enumerate()
    {
        let create = format!("CREATE TABLE t (id INT PRIMARY KEY, c {column})");
        let code = planted(&format!("bad_{at}"), &create, &[one, Some(cell)]).await;
        assert_eq!(code, Code::ValueChanged, "{column} {cell}");
    }
    let create = "CREATE TABLE t (id INT PRIMARY KEY, c INT NOT NULL)";
    let code = planted("bad_null", create, &[one, None]).await;
    assert_eq!(code, Code::ValueChanged);
    let create = "CREATE TABLE t (id INT PRIMARY KEY)";
    let code = planted("bad_twice", create, &[one, one]).await;
    assert_eq!(code, Code::Internal, "two cells for one column");
}
