//! What can't be followed is refused by name before anything is touched, or, where the user only
//! wants a copy, said in a note: keyless tables without old rows, logs without whole rows, children
//! that a cascade changes behind the log's back.

use super::living::{Living, Set};
use crate::faults::pool::Engine;
use crate::harness::oracle::values;
use crate::harness::process::{Finished, Sterna};

/// The exit status of a source whose log can't be used as it is.
const LOG_UNUSABLE: i32 = 8;

fn command(living: &Living, state: &str) -> Sterna {
    let dir = &living.cluster.dir;
    let ends = [living.source.url.as_str(), living.target.url.as_str()];
    Sterna::new(dir.path(), &["clone", ends[0], ends[1]]).args(&[
        "--state-dir",
        &dir.file(state),
        "--progress",
        "none",
    ])
}

/// `--follow` is refused with the word in it, and nothing is made at the target.
async fn refuses(living: &Living, word: &str) -> Finished {
    let refused = command(living, "refused").args(&["--follow"]).run().await;
    assert_eq!(refused.code, LOG_UNUSABLE, "{refused}");
    assert!(refused.stderr.contains("ST2012"), "{refused}");
    assert!(
        refused.stderr.contains(word),
        "{word} isn't named: {refused}"
    );
    let made = values::tables(&living.target, values::View::Exact).await;
    assert!(made.is_empty(), "tables were made: {made:?}");
    refused
}

/// Without `--follow` the same source is copied as before, and the report says what it isn't.
async fn is_copied_with_a_note(living: &Living, word: &str) {
    let copied = command(living, "copied").args(&["-o", "json"]).ok().await;
    let report = copied.json();
    let told = format!("{report} {}", copied.stderr);
    assert!(told.contains(word), "{word} isn't named: {copied}");
    values::assert_same(&living.source, &living.target, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyless_table_of_postgres_without_whole_old_rows() {
    let engine = Engine::PostgresPrepared;
    let set = Set::new(engine, engine);
    let set = set.before(|_| vec!["ALTER TABLE wl_dup REPLICA IDENTITY DEFAULT"]);
    let living = set.stage().await.expect("PostgreSQL is never off");
    let refused = refuses(&living, "wl_dup").await;
    let help = "REPLICA IDENTITY FULL";
    assert!(refused.stderr.contains(help), "no way out: {refused}");
    is_copied_with_a_note(&living, "wl_dup").await;
    living.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_log_without_whole_rows() {
    let set = Set::new(Engine::Mariadb, Engine::Mariadb);
    let mut living = set.stage().await.expect("MariaDB is never off");
    living.spoil();
    let minimal = "SET GLOBAL binlog_row_image = MINIMAL";
    living.source_server().exec(&[minimal]).await;
    refuses(&living, "binlog_row_image").await;
    is_copied_with_a_note(&living, "binlog_row_image").await;
    living.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_log_of_statements() {
    let set = Set::new(Engine::Mariadb, Engine::Mariadb);
    let mut living = set.stage().await.expect("MariaDB is never off");
    living.spoil();
    let statements = "SET GLOBAL binlog_format = STATEMENT";
    living.source_server().exec(&[statements]).await;
    refuses(&living, "binlog_format").await;
    living.discard().await;
}

/// InnoDB changes the children itself, and logs nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn children_changed_by_a_cascade() {
    let set = Set::new(Engine::Mariadb, Engine::Mariadb).before(|_| {
        vec![
            "CREATE TABLE parent (id INT PRIMARY KEY)",
            "CREATE TABLE child (id INT PRIMARY KEY, parent INT, \
             FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)",
            "INSERT INTO parent VALUES (1), (2)",
            "INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)",
        ]
    });
    let living = set.stage().await.expect("MariaDB is never off");
    refuses(&living, "child").await;
    is_copied_with_a_note(&living, "child").await;
    living.discard().await;
}

/// In PostgreSQL a cascade is logged as any other change.
#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_of_postgres_is_followed() {
    let engine = Engine::PostgresPrepared;
    let set = Set::new(engine, engine).before(|_| {
        vec![
            "CREATE TABLE parent (id int PRIMARY KEY)",
            "CREATE TABLE child (id int PRIMARY KEY, \
             parent int REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
            "INSERT INTO parent SELECT generate_series(1, 20)",
            "INSERT INTO child SELECT g, 1 + g % 20 FROM generate_series(1, 200) g",
        ]
    });
    let mut living = set.caught_up().await.expect("PostgreSQL is never off");
    for sql in [
        "DELETE FROM parent WHERE id = 3",
        "UPDATE parent SET id = 100 WHERE id = 4",
        "DELETE FROM parent WHERE id = 100",
    ] {
        living.source.exec(&[sql]).await;
        living.live_on(10).await;
    }
    living.settle().await;
    living.complete().await;
}
