//! Following SQLite files: every way to change a row, writers at work meanwhile, a follower that dies.

mod sqlite_support;

#[path = "sqlite_support/follow.rs"]
mod follow;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::change::LogFacts;
use common::code::Code;
use follow::*;
use sqlite_support::*;
use worker::connector::changes::Event;

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
        pair.catch_up(7, true).await.expect("followed to the end");
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
