//! Following a server that restarts, forgets its log, or writes it in another way.

use std::time::{Duration, Instant};

use common::code::{Code, ErrorClass};

use crate::follow::{Followed, TABLES, told};
use crate::mysql9::Mysql9;
use crate::private::Private;
use crate::server::run_at;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_whatever_its_checksums_and_compression() {
    for options in [
        "--log-bin-compress=ON --log-bin-compress-min-len=10",
        "--log-bin-compress=ON --log-bin-compress-min-len=10 --binlog-checksum=NONE \
         --binlog-row-metadata=FULL",
        "--binlog-checksum=CRC32 --binlog-annotate-row-events=OFF",
    ] {
        let server = Private::start(options);
        let (followed, p0) = Followed::begin(server.port, "ways", &TABLES).await;
        followed
            .run(&[
                "INSERT INTO a VALUES (1, 'one'), (2, 'two')",
                "INSERT INTO b VALUES (1, REPEAT('x', 3000000))",
                "FLUSH BINARY LOGS",
                "UPDATE a SET v = CONCAT(v, ' and some more')",
                "CREATE TABLE other (id INT PRIMARY KEY, what VARCHAR(200))",
                "DELETE FROM b",
            ])
            .await;
        let expected = told(&[
            &["a+1,one", "a+2,two"],
            &["b+1,3000000 bytes"],
            &["a:1,one>1,one and some more", "a:2,two>2,two and some more"],
            &["b-1,3000000 bytes"],
        ]);
        assert_eq!(followed.all(&p0.position).await.0, expected, "{options}");
    }
}

/// A restart ends the stream with an error that passes; from the last position nothing is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_mariadb_is_followed_on() {
    let mut server = Private::start("");
    let (followed, p0) = Followed::begin(server.port, "again", &TABLES).await;
    followed.run(&["INSERT INTO a VALUES (1, 'one')"]).await;
    let mut stream = followed.open(&p0.position).await.expect("opened");
    let (found, mut position) = followed.rest(&mut stream).await;
    assert_eq!(found, told(&[&["a+1,one"]]));
    for round in 2..4 {
        if round == 2 {
            server.kill();
        } else {
            server.stop();
        }
        let error = loop {
            if let Err(error) = stream.next().await {
                break error;
            }
        };
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        server.run();
        let insert = format!("INSERT INTO a VALUES ({round}, 'more')");
        followed.run(&[&insert]).await;
        stream = followed.open(&position).await.expect("opened");
        let (found, end) = followed.rest(&mut stream).await;
        assert_eq!(found, told(&[&[&format!("a+{round},more")]]));
        position = end;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_mysql_is_followed_on() {
    let Some(server) = Mysql9::start() else {
        return;
    };
    let (followed, p0) = Followed::begin(server.port, "again", &TABLES).await;
    followed.run(&["INSERT INTO a VALUES (1, 'one')"]).await;
    let mut stream = followed.open(&p0.position).await.expect("opened");
    let (found, position) = followed.rest(&mut stream).await;
    assert_eq!(found, told(&[&["a+1,one"]]));
    server.kill();
    let error = loop {
        if let Err(error) = stream.next().await {
            break error;
        }
    };
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    server.run();
    followed.run(&["INSERT INTO a VALUES (2, 'more')"]).await;
    assert_eq!(followed.all(&position).await.0, told(&[&["a+2,more"]]));
    // Its log begins anew: other files, other numbers.
    run_at(server.port, "", &["RESET BINARY LOGS AND GTIDS"]).await;
    followed.run(&["INSERT INTO a VALUES (3, 'x')"]).await;
    let error = followed.failure(&position).await.expect_err("refused");
    let codes = [Code::LogLost, Code::SourceOther];
    assert!(codes.contains(&error.failure.code), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_an_error_by_name() {
    let server = Private::start("");
    let (followed, p0) = Followed::begin(server.port, "purge", &TABLES).await;
    followed
        .run(&[
            "INSERT INTO a VALUES (1, 'one')",
            "FLUSH BINARY LOGS",
            "INSERT INTO a VALUES (2, 'two')",
        ])
        .await;
    let (_, end) = followed.all(&p0.position).await;
    // The server keeps a file that a session of its still reads.
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        followed.run(&["PURGE BINARY LOGS TO 'bin.000002'"]).await;
        match followed.open(&p0.position).await {
            Err(error) => break error,
            Ok(_) if Instant::now() > deadline => panic!("it is still there"),
            Ok(_) => {}
        }
    };
    assert_eq!(error.failure.code, Code::LogLost, "{error}");
    assert!(
        error.failure.what.contains("begins with bin.000002"),
        "{error}"
    );
    assert_eq!(error.class, ErrorClass::Permanent);
    assert_eq!(followed.all(&end).await.0, told(&[]));
    // A new log with files of the same names and lengths beyond our position.
    followed.run(&["RESET MASTER", "FLUSH BINARY LOGS"]).await;
    let row = "INSERT INTO b VALUES (1, REPEAT('x', 100000))";
    followed.run(&[row]).await;
    let error = followed.failure(&end).await.expect_err("refused");
    assert_eq!(error.failure.code, Code::SourceOther, "{error}");
}
