//! Values a server would cut, clamp, round or zero are errors that name them, on both servers and
//! both ways of loading.

use common::code::Code;
use common::schema::CellForm;
use common::task::TaskKind;
use common::value::RowBatch;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Role};
use worker::secret::Secrets;

use crate::mysql9::Mysql9;
use crate::server::{ask_at, endpoint_at, job, plan_of, port, run_at, spec, txn, work};

/// Type of the column, and what it can't hold as it is.
const PLANTED: &[(&str, &[u8])] = &[
    ("TINYINT", b"999"),
    ("TINYINT", b"-129"),
    ("TINYINT UNSIGNED", b"-1"),
    ("INT", b"abc"),
    ("INT", b"12abc"),
    ("INT", b"1.5"),
    ("INT", b""),
    ("BIGINT", b"9223372036854775808"),
    ("BIGINT UNSIGNED", b"18446744073709551616"),
    ("DECIMAL(4,1)", b"1.25"),
    ("DECIMAL(4,1)", b"12345"),
    ("DECIMAL(65,30)", b"NaN"),
    ("DECIMAL(65,30)", b"0.0000000000000000000000000000001"),
    ("FLOAT", b"1e39"),
    ("DOUBLE", b"inf"),
    ("DOUBLE", b"NaN"),
    ("DOUBLE", b"-Infinity"),
    ("VARCHAR(3)", b"abcdef"),
    ("VARCHAR(3)", b"abc   "),
    ("VARCHAR(9)", b"\xC3\x28"),
    ("CHAR(9)", b"a "),
    ("TINYTEXT", &[b'x'; 256]),
    ("VARBINARY(3)", b"\0\0\0\0"),
    ("BINARY(2)", b"abc"),
    ("VARCHAR(9) CHARACTER SET latin1", "中".as_bytes()),
    ("VARCHAR(9) CHARACTER SET utf8mb3", "😀".as_bytes()),
    ("VARCHAR(9) CHARACTER SET ascii", "é".as_bytes()),
    ("VARCHAR(9) CHARACTER SET sjis", "é".as_bytes()),
    ("DATE", b"not a date"),
    ("DATE", b"2024-13-01"),
    ("DATE", b"2024-01-02 03:04:05"),
    ("DATE", b"10000-01-01"),
    ("DATE", b"infinity"),
    ("DATE", b"0044-03-15 BC"),
    ("TIME", b"12"),
    ("TIME", b"839:00:00"),
    ("TIME", b"01:02:03.5"),
    ("TIME(3)", b"01:02:03.0001"),
    ("DATETIME", b"2024-01-02 03:04:05.5"),
    ("DATETIME", b"2024-01-02 25:00:00"),
    ("DATETIME(3)", b"2024-01-02 03:04:05.1234"),
    ("TIMESTAMP NULL", b"2200-01-01 00:00:00"),
    ("YEAR", b"24"),
    ("YEAR", b"2200"),
    ("ENUM('a')", b"b"),
    ("ENUM('a')", b"A"),
    ("ENUM('a','b')", b"2"),
    ("SET('a','b')", b"a,c"),
    ("SET('a','b')", b"A"),
    ("BIT(2)", b"9"),
    ("BIT(2)", b"x"),
    ("POINT", b"nonsense"),
];

async fn nothing_is_coerced(port: u16, own: &[(&str, &[u8])]) {
    for (options, tag) in [("", "file"), ("?local-infile=off", "insert")] {
        let database = format!("coerced_{tag}");
        run_at(
            port,
            "",
            &[
                &format!("DROP DATABASE IF EXISTS {database}"),
                &format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"),
            ],
        )
        .await;
        for (at, (kind, _)) in PLANTED.iter().chain(own).enumerate() {
            let create = format!("CREATE TABLE t{at} (id INT PRIMARY KEY, c {kind})");
            run_at(port, &database, &[&create]).await;
        }
        let endpoint = endpoint_at(port, &format!("{database}{options}"));
        let target = Mysql::new(&endpoint, &Secrets::default()).expect("valid");
        let inspected = target.inspect(Role::Source, &spec()).await.expect("read");
        let job = job();
        for (at, (kind, cell)) in PLANTED.iter().chain(own).enumerate() {
            let mut plan = plan_of(&inspected, &format!("t{at}"));
            plan.form = CellForm::Canonical;
            if at == 0 {
                let create = work(&job, 0, 1, TaskKind::Create, &[plan.clone()]);
                target.define(create).await.expect("the fence");
            }
            let opened = target.writer(txn(&job, at as u32, 1), plan).await;
            let mut writer = opened.expect("opened");
            writer.begin(None).await.expect("begun");
            let mut batch = RowBatch::new(2);
            batch.push(b"41");
            batch.push_null();
            batch.push(b"42");
            batch.push(cell);
            let loaded = writer.load(batch).await;
            let shown = String::from_utf8_lossy(cell);
            let error = loaded.expect_err(&format!("{tag} {kind} took {shown:?}"));
            let what = &error.failure.what;
            assert_eq!(
                error.failure.code,
                Code::ValueChanged,
                "{tag} {kind}: {what}"
            );
            let named =
                what.contains(&format!("table t{at}: c = ")) && what.contains("id = \"42\"");
            // Of these the server doesn't say where.
            let silent = matches!(*kind, "POINT" | "JSON" | "VECTOR(2)");
            assert!(named || silent, "{tag} {kind}: {what}");
            writer.rollback().await.expect("rolled back");
            let count = format!("SELECT COUNT(*) FROM t{at}");
            assert_eq!(ask_at(port, &database, &count).await, "0");
        }
    }
}

#[tokio::test]
async fn mariadb_coerces_nothing() {
    let own: [(&str, &[u8]); 2] = [("UUID", b"no uuid"), ("INET6", b"1.2.3.4.5")];
    nothing_is_coerced(port(), &own).await;
}

#[tokio::test]
async fn mysql_9_coerces_nothing() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    nothing_is_coerced(server.port, &[("JSON", b"{"), ("VECTOR(2)", b"abc")]).await;
}
