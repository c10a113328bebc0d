//! Views, triggers, routines, events and sequences of the target that have the name of one the job
//! carries: refused by name before anything changes, replaced only under `recreate`; and a task
//! that makes objects can be run again half way.

use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::process::{Dir, Finished, Sterna};
use crate::harness::{leftovers, oracle};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT)";
const ROW: &str = "INSERT INTO t VALUES (1, 10)";

/// Kind, name, statement at the source, another one of the same name.
const MYSQL: &[(&str, &str, &str, &str)] = &[
    (
        "view",
        "vu",
        "CREATE VIEW vu AS SELECT id, v FROM t",
        "CREATE VIEW vu AS SELECT 1 AS mine",
    ),
    (
        "function",
        "fu",
        "CREATE FUNCTION fu(a INT) RETURNS INT DETERMINISTIC RETURN a + 1",
        "CREATE FUNCTION fu(a INT) RETURNS INT DETERMINISTIC RETURN a + 2",
    ),
    (
        "procedure",
        "pr",
        "CREATE PROCEDURE pr() SELECT 1",
        "CREATE PROCEDURE pr() SELECT 2",
    ),
    (
        "trigger",
        "tr",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.v = NEW.v",
        "CREATE TRIGGER tr BEFORE INSERT ON other FOR EACH ROW SET NEW.v = 2",
    ),
    (
        "event",
        "ev",
        "CREATE EVENT ev ON SCHEDULE EVERY 1 YEAR DISABLE DO SET @x = 1",
        "CREATE EVENT ev ON SCHEDULE EVERY 1 YEAR DISABLE DO SET @x = 2",
    ),
];

const SEQUENCE: (&str, &str, &str, &str) = (
    "sequence",
    "sq",
    "CREATE SEQUENCE sq START WITH 5",
    "CREATE SEQUENCE sq START WITH 700",
);

const SQLITE: &[(&str, &str, &str, &str)] = &[
    MYSQL[0],
    (
        "trigger",
        "tr",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE TRIGGER tr AFTER INSERT ON other BEGIN SELECT 2; END",
    ),
];

const OTHER: &str = "CREATE TABLE other (id INT PRIMARY KEY, v INT)";

async fn clone(from: &Database, to: &Database, mode: &str, fault: &str) -> Finished {
    let dir = Dir::new();
    let args = ["clone", &from.url, &to.url, "--target-mode", mode];
    let command = Sterna::new(dir.path(), &args).env("STERNA_FAULT", fault);
    command
        .args(&["--state-dir", &dir.file("state")])
        .run()
        .await
}

/// One object after the other stands in the way; nothing changes. Then the modes.
async fn each(lab: &Lab, kind: Kind, objects: &[(&str, &str, &str, &str)]) {
    let source = lab.database(kind, "src").await;
    source.exec(&[TABLE, ROW]).await;
    for (_, _, here, _) in objects {
        source.exec(&[here]).await;
    }
    for (no, (object, name, _, there)) in objects.iter().enumerate() {
        let target = lab.database(kind, &format!("tgt{no}")).await;
        let twin = lab.database(kind, &format!("twin{no}")).await;
        for database in [&target, &twin] {
            database.exec(&[OTHER, there]).await;
        }
        let finished = clone(&source, &target, "append", "").await;
        assert_eq!(finished.code, 8, "{object}: {finished}");
        assert!(finished.stderr.contains("ST3001"), "{object}: {finished}");
        let named = finished.stderr.contains(&format!("{object} {name}"));
        assert!(named, "{object} is not named: {finished}");
        oracle::assert_equal(&twin.url, &target.url).await;
        lab.no_leftovers(&target).await;
    }
    // With its answer lost after each of the first objects the task is run again and again.
    let target = lab.database(kind, "made").await;
    let lost = "objects-midway=lose-answer@1,objects-midway=lose-answer@3";
    clone(&source, &target, "require-empty", lost)
        .await
        .expect_ok();
    oracle::assert_equal(&source.url, &target.url).await;
    // What is the same already is in nobody's way.
    clone(&source, &target, "truncate", "").await.expect_ok();
    oracle::assert_equal(&source.url, &target.url).await;
    for (_, _, _, there) in &objects[..1] {
        target.exec(&["DROP VIEW vu", there]).await;
    }
    clone(&source, &target, "recreate", "").await.expect_ok();
    oracle::assert_equal(&source.url, &target.url).await;
    lab.no_leftovers(&target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_objects_of_others_are_refused_by_name() {
    let lab = Lab::new(&[Kind::Mariadb]).await.expect("always there");
    let mut objects = MYSQL.to_vec();
    objects.push(SEQUENCE);
    each(&lab, Kind::Mariadb, &objects).await;
    if let Some(server) = &lab.mariadb {
        leftovers::none_on(server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql9_objects_of_others_are_refused_by_name() {
    if let Some(lab) = Lab::new(&[Kind::Mysql9]).await {
        each(&lab, Kind::Mysql9, MYSQL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_objects_of_others_are_refused_by_name() {
    let lab = Lab::new(&[]).await.expect("always there");
    each(&lab, Kind::Sqlite, SQLITE).await;
}
