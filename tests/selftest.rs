//! Tests of the harness: a judge that can't say no proves nothing.

use mysql_async::prelude::Queryable;

use crate::harness::wait::secs;
use crate::harness::{
    dataset, leftovers, oracle, process::Dir, proxy, proxy::Proxy, proxy::Trap, server,
};

/// Copies a database in the plainest way there is: CREATE TABLE … LIKE, INSERT … SELECT.
async fn plain_copy(server: &server::Server, from: &str, to: &str, tables: &[&str]) -> String {
    let url = server.create(to).await;
    for table in tables {
        let create = format!("CREATE TABLE `{to}`.`{table}` LIKE `{from}`.`{table}`");
        let fill = format!("INSERT INTO `{to}`.`{table}` SELECT * FROM `{from}`.`{table}`");
        server.exec("", &[&create, &fill]).await;
    }
    url
}

async fn says_no(what: &str, source: String, target: String) {
    let judged = tokio::spawn(async move { oracle::assert_equal(&source, &target).await });
    let verdict = judged.await;
    assert!(verdict.is_err(), "the judge didn't notice: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_notices_every_kind_of_difference() {
    let server = server::lend().await;
    let source = dataset::text_keyed(&server, "a", 500).await;
    let target = plain_copy(&server, "a", "b", &["keyed"]).await;
    oracle::assert_equal(&source, &target).await;
    oracle::assert_large_equal(&source, &target, "keyed", "v").await;
    let changes = [
        (
            "a value",
            "UPDATE keyed SET v = v + 1 ORDER BY v DESC LIMIT 1",
        ),
        ("a key's case", "UPDATE keyed SET k = LOWER(k)"),
        ("a missing row", "DELETE FROM keyed WHERE v = 7"),
        (
            "a row too many",
            "INSERT INTO keyed VALUES ('zz', '2000-01-01', 1)",
        ),
        ("an index", "ALTER TABLE keyed ADD KEY (v)"),
        ("a type", "ALTER TABLE keyed MODIFY v BIGINT"),
        ("another table", "CREATE TABLE more (id INT PRIMARY KEY)"),
    ];
    for (what, change) in changes {
        server.exec("", &["DROP DATABASE b"]).await;
        plain_copy(&server, "a", "b", &["keyed"]).await;
        server.exec("b", &[change]).await;
        says_no(what, source.clone(), target.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_sees_foreign_keys_floats_and_decimals() {
    let server = server::lend().await;
    let source = dataset::shop_mysql(&server, "shop").await;
    oracle::assert_equal(&source, &source).await;
    let copy = dataset::shop_mysql(&server, "copy").await;
    let changes = [
        "ALTER TABLE order_lines DROP FOREIGN KEY order_lines_ibfk_1",
        "UPDATE order_lines SET ratio = ratio * 1.0001 WHERE order_id = 5",
        "UPDATE customers SET credit = credit + 0.0000000001",
        "UPDATE documents SET body = '' WHERE body IS NULL",
    ];
    for change in changes {
        server.exec("copy", &[change]).await;
        says_no(change, source.clone(), copy.clone()).await;
        server.exec("", &["DROP DATABASE copy"]).await;
        dataset::shop_mysql(&server, "copy").await;
    }
    let dir = Dir::new();
    let file = dataset::shop_sqlite(&dir.file("a.db")).await;
    oracle::assert_equal(&file, &file).await;
    std::fs::copy(dir.file("a.db"), dir.file("b.db")).expect("copied");
    let change = "UPDATE track SET gain = gain + 1e-16 WHERE track_id = 9";
    dataset::sqlite_exec(&dir.file("b.db"), change).await;
    says_no(change, file, format!("sqlite:{}", dir.file("b.db"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_are_noticed() {
    let mut server = server::Server::start(&[]).await;
    leftovers::none_on(&server).await;
    server.create("d").await;
    server
        .exec(
            "d",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY)",
                "XA START 'left'",
                "INSERT INTO t VALUES (1)",
                "XA END 'left'",
                "XA PREPARE 'left'",
            ],
        )
        .await;
    assert_eq!(leftovers::prepared(&server).await, ["left"]);
    // A prepared transaction survives the server's death, and so does our noticing.
    server.kill();
    server.run().await;
    assert_eq!(leftovers::prepared(&server).await, ["left"]);
    server.exec("", &["XA ROLLBACK 'left'"]).await;
    leftovers::none_on(&server).await;
    server.create("sterna").await;
    assert!(server.databases().await.contains(&"sterna".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_cuts_and_loses_answers() {
    let server = server::lend().await;
    server.create("d").await;
    server.exec("d", &["CREATE TABLE t (id INT)"]).await;
    let proxy = Proxy::to(server.port).await;
    let url = format!(
        "mysql://root@127.0.0.1:{}/d?prefer_socket=false",
        proxy.port
    );
    let mut conn = mysql_async::Conn::from_url(url.as_str())
        .await
        .expect("through");
    proxy.trap(b"VALUES (42)", Trap::Silence);
    let lost = tokio::time::timeout(secs(1), conn.query_drop("INSERT INTO t VALUES (42)")).await;
    assert!(lost.is_err(), "the answer came");
    assert_eq!(proxy.sprung(), 1);
    let mut direct = server.connect("d").await;
    let rows: Option<u32> = direct.query_first("SELECT id FROM t").await.expect("read");
    assert_eq!(rows, Some(42), "the statement itself was done");
    let mut conn = mysql_async::Conn::from_url(url.as_str())
        .await
        .expect("through");
    proxy.cut();
    // The proxy's tasks hear of it a moment later.
    let cut = async { while conn.query_drop("SELECT 1").await.is_ok() {} };
    tokio::time::timeout(secs(5), cut)
        .await
        .expect("the line is cut");
    proxy.blackhole(true);
    let deaf = tokio::time::timeout(secs(1), mysql_async::Conn::from_url(url.as_str())).await;
    assert!(!matches!(deaf, Ok(Ok(_))), "nothing is heard");
    proxy.blackhole(false);
    proxy.delay(std::time::Duration::from_millis(50));
    let started = std::time::Instant::now();
    let slow = mysql_async::Conn::from_url(url.as_str()).await;
    assert!(slow.is_ok() && started.elapsed().as_millis() >= 50);
    assert!(proxy.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_holds_back_refuses_and_loses_requests() {
    let server = server::lend().await;
    server.create("d").await;
    server.exec("d", &["CREATE TABLE t (id INT)"]).await;
    let proxy = Proxy::to(server.port).await;
    let url = format!(
        "mysql://root@127.0.0.1:{}/d?prefer_socket=false",
        proxy.port
    );
    let through = || async { mysql_async::Conn::from_url(url.as_str()).await };
    let rows = || async { server.count("d.t").await };
    // A trap waits for its turn on one connection.
    proxy.trap_after(Some(b"SELECT 7"), b"VALUES (1)", Trap::LoseRequest);
    let (mut first, mut second) = (through().await.expect("up"), through().await.expect("up"));
    first.query_drop("SELECT 7").await.expect("not trapped");
    let insert = "INSERT INTO t VALUES (1)";
    second.query_drop(insert).await.expect("not its turn");
    assert!(first.query_drop(insert).await.is_err(), "the line is cut");
    assert_eq!((rows().await, proxy.sprung()), (1, 1), "never asked");
    // The work is done, the answer lost, and the client told.
    proxy.trap(b"VALUES (2)", Trap::LoseAnswer);
    let lost = second.query_drop("INSERT INTO t VALUES (2)").await;
    assert!(lost.is_err() && rows().await == 2, "{lost:?}");
    // What was held back arrives when it is released.
    let mut third = through().await.expect("up");
    proxy.hold(proxy::Way::ToServer);
    let mut held = Box::pin(third.query_drop("INSERT INTO t VALUES (3)"));
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut held).await;
    assert!(early.is_err() && rows().await == 2, "{early:?}");
    proxy.release();
    held.await.expect("late, not lost");
    assert_eq!(rows().await, 3);
    proxy.refuse(1);
    assert!(through().await.is_err(), "the next one only");
    assert!(through().await.is_ok());
    proxy.down();
    assert!(through().await.is_err());
}
