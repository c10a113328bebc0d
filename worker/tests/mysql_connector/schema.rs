//! Catalogue, definitions, key ranges, and errors of endpoints.

use common::code::{Code, ErrorClass};
use common::digest::Digest;
use common::id::TableNo;
use common::job::{Endpoint, SecretRef, TargetMode};
use common::partition::Split;
use common::schema::{CanonicalType, TableRef};
use common::task::TaskKind;
use secrecy::SecretString;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Occupied, Role};
use worker::secret::Secrets;

use crate::server::{
    ask, connector, digest_of, endpoint, job, pair, plan, port, run, spec, work, work_in,
};

/// Ranges over sampled bounds read every row once, from the index.
async fn partitions_exactly(name: &str, statements: &[&str], rows: u64) {
    let (source, _) = pair(name).await;
    run(&format!("{name}_s"), statements).await;
    run(&format!("{name}_s"), &["ANALYZE TABLE t"]).await;
    let table = plan(&source, "t").await.source;
    let sampled = source.sample(table.clone(), 8).await.expect("sampled").key;
    assert!(
        (4..=32).contains(&sampled.bounds.len()),
        "{name}: {:?}",
        sampled.bounds
    );
    let split = Split::Bucketed {
        columns: sampled.columns.clone(),
        bounds: sampled.bounds.into_iter().collect(),
        n: 4,
        seed: 7,
    };
    let whole = digest_of(&source, &table, &[], Vec::new()).await;
    assert_eq!(whole.rows, rows, "{name}");
    let (mut sum, mut largest) = (Digest::default(), 0);
    for bucket in 0..split.buckets() {
        let ranges = vec![split.range(bucket)];
        let part = digest_of(&source, &table, &sampled.columns, ranges).await;
        largest = largest.max(part.rows);
        sum += part;
    }
    assert_eq!(sum, whole, "{name}");
    assert!(largest < rows / 2, "{name}: one bucket has {largest} rows");
    let ranges = (0..split.buckets()).map(|bucket| split.range(bucket));
    let together = digest_of(&source, &table, &sampled.columns, ranges.collect()).await;
    assert_eq!(together, whole, "{name}");
}

#[tokio::test]
async fn integer_keys_are_cut_where_the_rows_are() {
    partitions_exactly(
        "cut_int",
        &[
            "CREATE TABLE t (id BIGINT PRIMARY KEY, c CHAR(100))",
            "INSERT INTO t SELECT seq, 'x' FROM seq_1_to_20000",
            "INSERT INTO t VALUES (-9223372036854775808, 'low'), (9223372036854775807, 'high')",
        ],
        20_002,
    )
    .await;
}

#[tokio::test]
async fn composite_keys_are_cut_by_all_their_columns() {
    partitions_exactly(
        "cut_pair",
        &[
            "CREATE TABLE t (tenant INT, at DATETIME(3), name VARCHAR(20), c CHAR(50), \
             PRIMARY KEY (tenant, at, name))",
            "INSERT INTO t SELECT seq % 2, '2024-01-01' + INTERVAL seq DIV 10 MINUTE, \
             CONCAT('n', seq), 'x' FROM seq_1_to_20000",
        ],
        20_000,
    )
    .await;
}

#[tokio::test]
async fn text_keys_are_cut_under_their_own_collation() {
    partitions_exactly(
        "cut_text",
        &[
            "CREATE TABLE t (k VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_german1_ci \
             PRIMARY KEY, c CHAR(50))",
            "INSERT INTO t SELECT CONCAT(ELT(1 + seq % 6, 'a', 'B', 'ä', 'ß', '_', 'Z'), '\\'\\\\', \
             seq), 'x' FROM seq_1_to_20000",
        ],
        20_000,
    )
    .await;
    partitions_exactly(
        "cut_unique",
        &[
            "CREATE TABLE t (k VARBINARY(16) NOT NULL, c CHAR(50), UNIQUE KEY u (k))",
            "INSERT INTO t SELECT UNHEX(MD5(seq)), 'x' FROM seq_1_to_20000",
        ],
        20_000,
    )
    .await;
}

#[tokio::test]
async fn ranges_of_a_composite_key_use_the_index() {
    let (source, _) = pair("cut_plan").await;
    run(
        "cut_plan_s",
        &[
            "CREATE TABLE t (a INT, b INT, c CHAR(50), PRIMARY KEY (a, b))",
            "INSERT INTO t SELECT seq DIV 100, seq, 'x' FROM seq_1_to_20000",
            "ANALYZE TABLE t",
        ],
    )
    .await;
    drop(source);
    let explained = ask(
        "cut_plan_s",
        "EXPLAIN FORMAT=JSON SELECT * FROM t WHERE (`a` >= 10 AND (`a` > 10 OR (`a` = 10 AND \
         `b` >= 5))) AND (`a` <= 12 AND (`a` < 12 OR (`a` = 12 AND `b` < 7)))",
    )
    .await;
    assert!(
        explained.contains("\"access_type\": \"range\""),
        "{explained}"
    );
}

#[tokio::test]
async fn definitions_are_copied_and_repeatable() {
    let (source, target) = pair("def").await;
    run(
        "def_s",
        &[
            "CREATE TABLE p (id INT UNSIGNED NOT NULL AUTO_INCREMENT, code VARCHAR(20) CHARACTER SET \
             latin1 NOT NULL DEFAULT 'it''s' COMMENT 'KEY `x` (1),', price DECIMAL(8,2) DEFAULT 1.50, \
             at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, body TEXT, \
             twice INT GENERATED ALWAYS AS (id * 2) VIRTUAL, u CHAR(36) DEFAULT uuid(), \
             hid INT INVISIBLE, PRIMARY KEY (id), UNIQUE KEY code (code, price), KEY body (body(10)), \
             FULLTEXT KEY ft (body), CONSTRAINT ck CHECK (price >= 0)) AUTO_INCREMENT=500 \
             COMMENT='the p''s' COLLATE=utf8mb4_bin",
            "CREATE TABLE t (a INT, b INT UNSIGNED, n INT AUTO_INCREMENT, PRIMARY KEY (a), KEY n (n), \
             KEY b (b), CONSTRAINT fk FOREIGN KEY (b) REFERENCES p (id) ON DELETE CASCADE)",
            "CREATE VIEW v AS SELECT 1",
        ],
    )
    .await;
    let inspection = source
        .inspect(Role::Source, &spec())
        .await
        .expect("inspected");
    let views: Vec<&str> = { inspection.objects.iter() }
        .map(|object| object.name.as_str())
        .collect();
    assert_eq!(views, ["v"]);
    assert!(inspection.mark.is_some(), "the binary log is on");
    let tables = [plan(&source, "p").await, plan(&source, "t").await];
    let job = job();
    for epoch in 1..=2 {
        let kinds = [
            (0, TaskKind::Create),
            (1, TaskKind::Index { table: TableNo(0) }),
            (2, TaskKind::Index { table: TableNo(1) }),
            (3, TaskKind::ForeignKeys { table: TableNo(1) }),
        ];
        for (task, kind) in kinds {
            let defined = target.define(work(&job, task, epoch, kind, &tables)).await;
            defined.expect("defined");
        }
    }
    for table in ["p", "t"] {
        assert_eq!(
            create_of("def_t", table).await,
            create_of("def_s", table).await
        );
    }
    let zombie = target
        .define(work(&job, 0, 1, TaskKind::Create, &tables))
        .await;
    assert_eq!(zombie.expect_err("fenced").class, ErrorClass::Fenced);
}

/// SHOW CREATE TABLE, its index lines sorted: they may be in another order.
async fn create_of(database: &str, table: &str) -> Vec<String> {
    use mysql_async::prelude::Queryable;
    let mut conn = crate::server::connect(database).await;
    let row: Option<(String, String)> = conn
        .query_first(format!("SHOW CREATE TABLE {table}"))
        .await
        .expect("shown");
    conn.disconnect().await.expect("closed");
    let create = row
        .expect("one row")
        .1
        .replace(&format!("`{database}`."), "");
    let mut lines: Vec<String> = create
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn tables_that_are_there_are_treated_as_the_mode_says() {
    let (source, target) = pair("mode").await;
    run(
        "mode_s",
        &["CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(9))"],
    )
    .await;
    let tables = [plan(&source, "t").await];
    let job = job();
    let mut task = 0;
    let mut create = async |mode: TargetMode| {
        task += 1;
        let work = work(&job, task, 1, TaskKind::Create, &tables);
        target
            .define(work_in(mode, work))
            .await
            .map_err(|error| error.failure.code)
    };
    let fill = "INSERT INTO t VALUES (1, 'x')";
    assert_eq!(create(TargetMode::RequireEmpty).await, Ok(()));
    run("mode_t", &[fill]).await;
    assert_eq!(
        create(TargetMode::RequireEmpty).await,
        Err(Code::TargetNotEmpty)
    );
    assert_eq!(create(TargetMode::Append).await, Ok(()));
    assert_eq!(ask("mode_t", "SELECT COUNT(*) FROM t").await, "1");
    assert_eq!(create(TargetMode::Truncate).await, Ok(()));
    assert_eq!(ask("mode_t", "SELECT COUNT(*) FROM t").await, "0");
    run("mode_t", &["ALTER TABLE t MODIFY c VARCHAR(8)"]).await;
    assert_eq!(create(TargetMode::Append).await, Err(Code::TargetDiffers));
    run("mode_t", &["ALTER TABLE t ENGINE=MyISAM"]).await;
    assert_eq!(
        create(TargetMode::Append).await,
        Err(Code::NotTransactional)
    );
    assert_eq!(create(TargetMode::Recreate).await, Ok(()));
    let names = ["t", "nothing"].map(|name| TableRef {
        schema: None,
        name: name.to_owned(),
    });
    let occupied = target.occupied(&names).await.expect("looked");
    assert_eq!(occupied, [Occupied::Empty, Occupied::Absent]);
}

#[tokio::test]
async fn what_can_not_be_moved_is_named() {
    let (source, _) = pair("odd").await;
    run("odd_s", &["CREATE TABLE t (id INT PRIMARY KEY, place INT)"]).await;
    let mut table = plan(&source, "t").await.source;
    // As a type that nobody knows yet is inspected.
    table.columns[1].canonical = CanonicalType::Any;
    let error = source.sample(table, 1).await.expect_err("not supported");
    assert_eq!(error.failure.code, Code::UnsupportedType);
    assert!(error.failure.what.contains("t.place"), "{error}");
}

#[tokio::test]
async fn endpoints_that_do_not_answer_say_why() {
    let code = async |connector: Mysql| {
        let error = connector
            .inspect(Role::Source, &spec())
            .await
            .expect_err("refused");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        (error.class, error.failure.code)
    };
    let missing = connector("no_such_database");
    assert_eq!(
        code(missing).await,
        (ErrorClass::Permanent, Code::NoSuchDatabase)
    );
    let mut secrets = Secrets::default();
    secrets.insert("source", SecretString::from("s3cret"));
    let mut wrong = endpoint("mysql");
    wrong.password = Some(SecretRef::Session("source".into()));
    let wrong = Mysql::new(&wrong, &secrets).expect("valid");
    assert_eq!(
        code(wrong).await,
        (ErrorClass::Permanent, Code::AccessDenied)
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = free.local_addr().expect("bound").port();
    drop(free);
    assert_ne!(nobody, port());
    let nobody = Endpoint {
        url: format!("mysql://root@127.0.0.1:{nobody}/x"),
        password: None,
    };
    let nobody = Mysql::new(&nobody, &Secrets::default()).expect("valid");
    assert_eq!(
        code(nobody).await,
        (ErrorClass::Transient, Code::Unreachable)
    );
}

#[tokio::test]
async fn a_reader_dropped_half_way_is_gone_at_once() {
    let (source, _) = pair("half").await;
    run(
        "half_s",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, c LONGTEXT)",
            "INSERT INTO t SELECT seq, REPEAT('x', 100000) FROM seq_1_to_400",
        ],
    )
    .await;
    let table = plan(&source, "t").await.source;
    let request = crate::server::whole(&table, &table, common::schema::CellForm::Native);
    let mut reader = source.read(request).await.expect("opened");
    reader.next().await.expect("read").expect("a batch");
    drop(reader);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'half_s' AND id <> \
                 CONNECTION_ID()";
    while ask("", count).await != "0" {
        assert!(
            std::time::Instant::now() < deadline,
            "the session is still there"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
