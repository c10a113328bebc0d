//! The torture database, copied whole on each server: no row and no definition may differ.

use std::process::{Command, Stdio};
use std::time::Instant;

use common::job::JobSpec;
use tokio::sync::Mutex;

use crate::mysql9::Mysql9;
use crate::server::{connect_at, endpoint_at, port, run_at};
use crate::{compare, whole};

const SQL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/torture/mysql_torture.sql"
);

/// The databases have fixed names: one test at a time.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// Loads the torture database (and a second one with a hostile name) into a server.
pub fn load(port: u16) {
    let sql = std::fs::File::open(SQL).expect("the torture database");
    let loaded = Command::new("mariadb")
        .args(["--no-defaults", "-h127.0.0.1", "-uroot"])
        .args(["--default-character-set=utf8mb4", "--binary-mode"])
        .args(["--max-allowed-packet=64M", &format!("-P{port}")])
        .stdin(Stdio::from(sql))
        .output()
        .expect("the client runs");
    let words = String::from_utf8_lossy(&loaded.stderr);
    assert!(loaded.status.success(), "{words}");
}

/// Copies `from` to `to` on one server and compares; the differences of the definitions.
async fn copied(port: u16, from: (&str, &str), to: (&str, &str)) -> (Vec<String>, whole::Copied) {
    let started = Instant::now();
    let mut spec = JobSpec::new("t", endpoint_at(port, from.1), endpoint_at(port, to.1));
    (
        spec.partition_bytes,
        spec.bucket_bytes,
        spec.split_bytes_min,
    ) = (1, 1, 0);
    let copied = whole::copy(&spec).await;
    let took = started.elapsed();
    let mut conn = connect_at(port, "").await;
    let tables = compare::tables(&mut conn, from.0).await;
    assert_eq!(compare::tables(&mut conn, to.0).await, tables);
    assert_eq!(tables.len(), copied.plan.tables.len());
    for (table, columns) in &tables {
        let before = compare::rows(&mut conn, from.0, table, columns).await;
        let after = compare::rows(&mut conn, to.0, table, columns).await;
        assert!(before == after, "table {table} differs");
    }
    let before = compare::definitions(&mut conn, from.0).await;
    let after = compare::definitions(&mut conn, to.0).await;
    assert!(before.len() > tables.len() || from.0 != "torture");
    eprintln!(
        "port {port}: {} tables ({} cut by key), {} definitions, {took:?}",
        tables.len(),
        copied.cut,
        before.len()
    );
    (compare::differences(&before, &after), copied)
}

async fn torture(port: u16) -> Vec<String> {
    load(port);
    run_at(
        port,
        "",
        &[
            "DROP DATABASE IF EXISTS torture_copy",
            "CREATE DATABASE torture_copy CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
            "CREATE EVENT torture.`ev 1` ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' \
             DISABLE DO INSERT INTO rows0 VALUES (1, 'x')",
            "DROP DATABASE IF EXISTS `tort``ure '3`",
            "CREATE DATABASE `tort``ure '3` CHARACTER SET latin1 COLLATE latin1_bin",
        ],
    )
    .await;
    let (from, to) = (("torture", "torture"), ("torture_copy", "torture_copy"));
    let (differences, copied) = copied(port, from, to).await;
    assert!(copied.cut >= 20, "{} tables were cut", copied.cut);
    let from = ("tort`ure \"2\"; -- x", "tort%60ure%20%222%22%3B%20--%20x");
    let to = ("tort`ure '3", "tort%60ure%20'3");
    let (none, _) = self::copied(port, from, to).await;
    assert_eq!(none, Vec::<String>::new());
    differences
}

/// Tables of engines without transactions become InnoDB's, see the plan's notes.
fn is_of_an_engine(line: &str) -> bool {
    line.starts_with("TABLE eng_myisam:") || line.starts_with("TABLE eng_memory:")
}

#[tokio::test]
async fn the_torture_database_is_copied_on_mariadb() {
    let _turn = TURN.lock().await;
    let mut differences = torture(port()).await;
    differences.retain(|line| !is_of_an_engine(line.as_str()));
    assert_eq!(differences, Vec::<String>::new());
}

#[tokio::test]
async fn the_torture_database_is_copied_on_mysql_9() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let _turn = TURN.lock().await;
    let mut differences = torture(server.port).await;
    differences.retain(|line| !is_of_an_engine(line.as_str()));
    assert_eq!(differences, Vec::<String>::new());
}

/// MariaDB to MySQL 9, or back: every row as it was, in the target's nearest types.
async fn crossed(from: u16, to: u16, excluded: &[&str]) {
    let sql = ["DROP DATABASE IF EXISTS crossed", "CREATE DATABASE crossed"];
    run_at(to, "", &sql).await;
    let (source, target) = (endpoint_at(from, "torture"), endpoint_at(to, "crossed"));
    let mut spec = JobSpec::new("t", source, target);
    spec.exclude = excluded.iter().map(|name| (*name).to_owned()).collect();
    let copied = whole::copy(&spec).await;
    let (mut one, mut other) = (connect_at(from, "").await, connect_at(to, "").await);
    let mut tables = compare::tables(&mut one, "torture").await;
    tables.retain(|name, _| !excluded.contains(&name.as_str()));
    assert_eq!(tables.len(), copied.plan.tables.len());
    for (table, columns) in &tables {
        let before = compare::rows(&mut one, "torture", table, columns).await;
        let after = compare::rows(&mut other, "crossed", table, columns).await;
        assert!(
            before == after,
            "table {table} differs: {before:.300?} {after:.300?}"
        );
    }
    for note in copied.plan.notes {
        eprintln!("{note}");
    }
}

#[tokio::test]
async fn the_torture_database_crosses_from_mariadb_to_mysql_9_and_back() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let _turn = TURN.lock().await;
    load(port());
    load(server.port);
    // MySQL's TIME ends at 838:59:59.000000: the load stops and names the value.
    crossed(port(), server.port, &["pk_time", "t_time"]).await;
    // MariaDB's DOUBLE has no -0: verification tells. And its JSON_VALUE has no RETURNING: the
    // table can't be made, before any row is copied.
    crossed(server.port, port(), &["t_num", "gen_cols"]).await;
}
