//! Following SQLite files: every way to change a row, writers at work meanwhile, a follower that dies.

mod sqlite_support;

#[path = "sqlite_support/follow.rs"]
mod follow;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::code::Code;
use follow::*;
use sqlite_support::*;

/// Tables of every kind of key there is.
const TABLES: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE alias (id INTEGER PRIMARY KEY, u INT UNIQUE, v);
    CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v);
    CREATE TABLE pair (a INT, b TEXT COLLATE NOCASE, v, PRIMARY KEY (b DESC, a)) WITHOUT ROWID;
    CREATE TABLE loose (a, b);
    CREATE TABLE loose_unique (u INT UNIQUE, v);
    CREATE TABLE clause (id INTEGER PRIMARY KEY, b TEXT, e TEXT, UNIQUE (b) ON CONFLICT REPLACE);
    CREATE UNIQUE INDEX clause_e ON clause (lower(e)) WHERE b IS NOT NULL;
    CREATE TABLE any_key (k PRIMARY KEY NOT NULL, v);
    CREATE TABLE swap (id INTEGER PRIMARY KEY, u INT UNIQUE);
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER PRIMARY KEY,
        p INT REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE seq (s INT NOT NULL, n INT NOT NULL, PRIMARY KEY (s, n));
    CREATE TABLE \"we\"\"ird 't'\" (\"id \"\"1\"\"\" INTEGER PRIMARY KEY, \"select\" TEXT UNIQUE, \"a.b\");
    WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 59)
    INSERT INTO alias SELECT i, i, 'v' || i FROM c;
    INSERT INTO swap SELECT id, u FROM alias WHERE id < 20;
    INSERT INTO loose SELECT id % 5, v FROM alias;
    INSERT INTO loose_unique SELECT id, v FROM alias WHERE id < 9;
    INSERT INTO parent SELECT id FROM alias;
    INSERT INTO word VALUES ('a', 1), ('B', 2);";

fn living(path: &Path, seconds: &str, seed: &str) -> Child {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/sqlite_support/living.py"
    );
    Command::new("python3")
        .arg(script)
        .arg(path)
        .args([seconds, seed, "4"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3")
}

fn ended(child: Child) -> u64 {
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_to_in_every_way_is_followed() {
    for seed in ["1", "2", "3"] {
        let (_keep, from, to) = files();
        script(&from, TABLES).await;
        let writers = living(&from, "6", seed);
        let pair = Pair::copied(&from, &to, |_| {
            std::thread::sleep(std::time::Duration::from_millis(50))
        })
        .await;
        pair.catch_up(1, false).await.expect("replayed");
        // Strictly from here, by one follower after another, while the writers go on.
        for epoch in 2..6 {
            pair.catch_up(epoch, true).await.expect("followed");
        }
        let committed = ended(writers);
        assert!(committed > 100, "{committed}");
        let end = pair.catch_up(7, true).await.expect("followed to the end");
        // As those see it who only look; nobody follows into the source.
        let mark = pair.target.follow_mark(&uid()).await.expect("read");
        assert_eq!(mark.map(|mark| mark.position), Some(end));
        assert_eq!(pair.source.follow_mark(&uid()).await.expect("read"), None);
        assert_equal(&from, &to, &pair.plans).await;
        pair.source.release(&uid()).await.expect("released");
        let left = texts(
            &from,
            "SELECT name FROM sqlite_master WHERE name LIKE 'sterna%'",
        )
        .await;
        assert_eq!(left, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_200_000_rows_arrives_whole_and_its_log_goes() {
    let (_keep, from, to) = files();
    script(&from, TABLES).await;
    let pair = Pair::copied(&from, &to, |_| ()).await;
    pair.catch_up(1, false).await.expect("replayed");
    let big = "BEGIN; WITH RECURSIVE c(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM c WHERE i < 100999)
        INSERT INTO alias SELECT i, i, 'big' FROM c;
        UPDATE alias SET u = -u WHERE id >= 1000; UPDATE alias SET u = 101999 + u WHERE id >= 1000; COMMIT;";
    script(&from, big).await;
    let mut follower = Follower::new(&pair, 2).await;
    let end = pair.source.log_end().await.expect("a log");
    while follower.position.order < end.order {
        follower.step(&pair, true).await.expect("followed");
    }
    assert_eq!(follower.transactions, 1);
    assert_equal(&from, &to, &pair.plans).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while texts(&from, "SELECT count(*) || '' FROM sterna_changes").await != ["1"] {
        assert!(
            std::time::Instant::now() < deadline,
            "the log is not emptied"
        );
        follower.step(&pair, true).await.expect("idle");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_follower_fences_the_first_and_a_stray_row_is_named() {
    let (_keep, from, to) = files();
    script(&from, TABLES).await;
    let pair = Pair::copied(&from, &to, |_| ()).await;
    let (mut first, _) = pair.applier(1).await;
    let (mut second, _) = pair.applier(2).await;
    let late = first
        .commit(&[(0, "{}".to_owned())])
        .await
        .expect_err("fenced");
    assert_eq!(late.class, common::code::ErrorClass::Fenced);
    second.commit(&[]).await.expect("the newer one may");
    drop((first, second));
    pair.catch_up(3, false).await.expect("replayed");
    script(&to, "DELETE FROM alias WHERE id = 7").await;
    script(&from, "UPDATE alias SET v = 'new' WHERE id = 7").await;
    let error = pair
        .catch_up(4, true)
        .await
        .expect_err("the row is missing");
    assert_eq!(error.failure.code, Code::ReplayMismatch);
    assert!(
        error.failure.what.contains("alias: the row id = 7"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stood_still_while_it_was_copied_is_followed_strictly_from_the_beginning() {
    let (_keep, from, to) = files();
    script(&from, TABLES).await;
    let pair = Pair::copied(&from, &to, |_| ()).await;
    pair.catch_up(1, false).await.expect("nothing to replay");
    script(
        &from,
        "INSERT INTO alias VALUES (500, 500, 'new'), (501, 501, 'gone'); DELETE FROM alias WHERE id = 501;
         REPLACE INTO alias VALUES (3, 4, 'two rows go'); INSERT INTO loose VALUES (1, 2);
         DELETE FROM loose WHERE a = 2; REPLACE INTO loose_unique VALUES (3, 'again');",
    )
    .await;
    pair.catch_up(2, true).await.expect("followed");
    assert_equal(&from, &to, &pair.plans).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_table_stops_the_stream_by_name() {
    let (_keep, from, to) = files();
    script(&from, TABLES).await;
    let pair = Pair::copied(&from, &to, |_| ()).await;
    pair.catch_up(1, false).await.expect("replayed");
    script(
        &from,
        "INSERT INTO seq VALUES (1, 1); ALTER TABLE parent ADD COLUMN c INT DEFAULT 7;",
    )
    .await;
    let error = pair.catch_up(2, true).await.expect_err("a drift");
    assert_eq!(error.failure.code, Code::SchemaDrift);
    assert!(
        error.failure.what.starts_with("parent: columns are now"),
        "{error}"
    );
}
