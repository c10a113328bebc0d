//! What can't be followed is said by name, before it begins or where it comes in the log.

use common::code::Code;
use worker::connector::{Connector, Role};

use crate::follow::{Followed, TABLES, told};
use crate::mysql9::Mysql9;
use crate::server::{port, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_log_with_parts_of_json_is_an_error_by_name() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let tables = [("j", "CREATE TABLE j (id INT PRIMARY KEY, d JSON)")];
    let (followed, p0) = Followed::begin(server.port, "json_follow", &tables).await;
    followed
        .run(&[
            "INSERT INTO j VALUES (1, '{\"a\": \"0123456789012345678901234567890\", \"b\": 1}')",
            "SET SESSION binlog_row_value_options = PARTIAL_JSON",
            "UPDATE j SET d = JSON_SET(d, '$.b', 2)",
        ])
        .await;
    let error = followed.failure(&p0.position).await.expect_err("refused");
    assert_eq!(error.failure.code, Code::LogUnusable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_images_are_an_error_by_name() {
    for port in [Some(port()), Mysql9::shared().map(|server| server.port)] {
        let Some(port) = port else { continue };
        let (followed, p0) = Followed::begin(port, "image_follow", &TABLES).await;
        followed
            .run(&[
                "INSERT INTO a VALUES (1, 'x')",
                "SET SESSION binlog_row_image = 'MINIMAL'",
                "UPDATE a SET v = 'y'",
            ])
            .await;
        let error = followed.failure(&p0.position).await.expect_err("refused");
        assert_eq!(error.failure.code, Code::LogUnusable, "{error}");
        assert!(error.failure.what.contains(" a"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_statements_is_an_error_by_name() {
    for port in [Some(port()), Mysql9::shared().map(|server| server.port)] {
        let Some(port) = port else { continue };
        let (followed, p0) = Followed::begin(port, "words_follow", &TABLES).await;
        followed
            .run(&[
                "INSERT INTO a VALUES (1, 'x')",
                "SET SESSION binlog_format = 'STATEMENT'",
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "UPDATE a SET v = 'y'",
            ])
            .await;
        let error = followed.failure(&p0.position).await.expect_err("refused");
        assert_eq!(error.failure.code, Code::LogUnusable, "{error}");
        assert!(error.failure.what.contains("UPDATE a SET"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_not_followed() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let (followed, p0) = Followed::begin(server.port, "other_follow", &TABLES).await;
    let followed = Followed {
        identity: "mysql server_uuid 0".to_owned(),
        ..followed
    };
    let error = followed.failure(&p0.position).await.expect_err("refused");
    assert_eq!(error.failure.code, Code::SourceOther, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_taken_from_what_the_user_gives() {
    for port in [Some(port()), Mysql9::shared().map(|server| server.port)] {
        let Some(port) = port else { continue };
        let (followed, _) = Followed::begin(port, "given_follow", &TABLES).await;
        let end = followed.source.log_end().await.expect("known");
        followed.run(&["INSERT INTO a VALUES (1, 'x')"]).await;
        let given = followed
            .source
            .log_position(&end.text)
            .await
            .expect("taken");
        assert_eq!(given.position.order, end.order);
        assert_eq!(given.identity, followed.identity);
        assert_eq!(followed.all(&given.position).await.0, told(&[&["a+1,x"]]));
        let wrong = followed.source.log_position("bin.999999:4").await;
        assert_eq!(wrong.expect_err("refused").failure.code, Code::LogLost);
        let wrong = followed.source.log_position("yesterday").await;
        assert_eq!(wrong.expect_err("refused").failure.code, Code::Usage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_name_what_is_in_the_way() {
    use common::change::LogFacts;
    for port in [Some(port()), Mysql9::shared().map(|server| server.port)] {
        let Some(port) = port else { continue };
        let (followed, _) = Followed::begin(port, "facts_follow", &TABLES).await;
        let source = &followed.source;
        let facts = |tables: Vec<common::schema::TableSchema>| async move {
            source.log_facts(&tables).await.expect("asked")
        };
        let tables = followed.tables.iter().map(|table| table.source.clone());
        assert_eq!(facts(tables.collect()).await, LogFacts::Usable);
        followed
            .run(&[
                "CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM",
                "CREATE TABLE c (id INT PRIMARY KEY, a INT, CONSTRAINT gone FOREIGN KEY (a) \
                 REFERENCES a (id) ON DELETE CASCADE)",
            ])
            .await;
        let inspected = source
            .inspect(Role::Source, &spec())
            .await
            .expect("inspected");
        // Measured on 9.7, see the test of cascades.
        let logs_cascades = Mysql9::shared().is_some_and(|server| server.port == port);
        for (name, words) in [("m", "MyISAM"), ("c", "foreign key gone of c")] {
            let table = inspected.tables.iter().find(|table| table.name == name);
            match facts(vec![table.expect("there").clone()]).await {
                LogFacts::Unusable(failure) => {
                    assert!(failure.what.contains(words), "{failure}");
                    assert!(
                        failure
                            .fixes
                            .iter()
                            .any(|fix| fix.starts_with("ALTER TABLE"))
                    );
                }
                LogFacts::Usable if name == "c" && logs_cascades => {}
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cascades_are_in_the_log_of_a_mysql_that_does_them_above_innodb() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let tables = [
        ("p", "CREATE TABLE p (id INT PRIMARY KEY)"),
        (
            "c",
            "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON \
             DELETE CASCADE ON UPDATE SET NULL)",
        ),
    ];
    let (followed, p0) = Followed::begin(server.port, "cascade_follow", &tables).await;
    let schemas = followed.tables.iter().map(|table| table.source.clone());
    let facts = followed
        .source
        .log_facts(&schemas.collect::<Vec<_>>())
        .await;
    if facts.expect("asked") != common::change::LogFacts::Usable {
        return;
    }
    followed
        .run(&[
            "INSERT INTO p VALUES (1), (2)",
            "INSERT INTO c VALUES (10, 1), (20, 2)",
            "DELETE FROM p WHERE id = 1",
            "UPDATE p SET id = 3",
        ])
        .await;
    let (found, _) = followed.all(&p0.position).await;
    let mut last: Vec<String> = found.into_iter().skip(2).flatten().collect();
    last.sort();
    assert_eq!(last, ["c-10,1", "c:20,2>20,NULL", "p-1", "p:2>3"]);
}
