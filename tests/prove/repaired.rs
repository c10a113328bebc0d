//! Damage planted at a target is found, shown by a dry run, repaired by the plan, and nothing is left
//! of it.

use super::{ask, damage};
use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::process::{Finished, Sterna};

/// Losses that a value of these tests might have on some way.
const ACCEPT: &[&str] = &[
    "--accept",
    "number-range:*",
    "--accept",
    "negative-zero:*",
    "--accept",
    "storage-class:*",
    "--accept",
    "text-length:*",
    "--accept",
    "row-identity:*",
];

async fn verify(lab: &Lab, from: &Database, to: &Database, args: &[&str]) -> Finished {
    ask::verify(lab, from, to, args).run().await
}

/// `sterna repair` by a plan.
async fn repair(lab: &Lab, plan: &str, args: &[&str]) -> Finished {
    let state = tempfile::tempdir_in(lab.dir.path()).expect("a folder");
    let state = state.keep().display().to_string();
    Sterna::new(lab.dir.path(), &["repair", "--plan", plan])
        .args(&["--state-dir", &state, "--progress", "none"])
        .args(args)
        .run()
        .await
}

/// What the report tells of rows: `table class key columns`, sorted.
fn told(finished: &Finished) -> Vec<String> {
    let report = finished.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("NULL").to_owned();
    let listed = report["differences"].as_array().expect("a list");
    let mut told: Vec<String> = { listed.iter() }
        .map(|one| {
            let all = |list: &serde_json::Value, field: &str| -> Vec<String> {
                let list = list.as_array().expect("a list");
                list.iter().map(|one| text(&one[field])).collect()
            };
            let key = all(&one["key"], "value").join(",");
            let columns = all(&one["columns"], "column").join(",");
            format!(
                "{} {} {key} {columns}",
                text(&one["table"]),
                text(&one["class"])
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    told.sort();
    told
}

async fn pair(from: Kind, to: Kind) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let source = lab.database(from, "proved_src").await;
    source.exec(&damage::source(from, to)).await;
    let target = lab.database(to, "proved_tgt").await;
    lab.copy(&source, &target, ACCEPT).await;
    let finished = verify(&lab, &source, &target, &[]).await;
    assert_eq!(finished.code, 0, "after a copy: {finished}");

    target.exec(&damage::planted(from, to)).await;
    let plan = lab.dir.file("repair.json");
    let finished = verify(&lab, &source, &target, &["--plan", &plan]).await;
    assert_eq!(finished.code, 10, "{finished}");
    assert_eq!(told(&finished), damage::expected());
    let report = finished.json();
    let listed = report["differences"].as_array().expect("a list");
    let upper = { listed.iter() }.find(|one| one["key"][0]["value"] == "3");
    let column = &upper.expect("row 3 is told")["columns"][0];
    assert_eq!(column["source"], "name 3");
    assert_eq!(column["target"], "NAME 3");

    let finished = repair(&lab, &plan, &["--dry-run"]).await;
    assert_eq!(finished.code, 0, "{finished}");
    let again = verify(&lab, &source, &target, &[]).await;
    assert_eq!(
        told(&again),
        damage::expected(),
        "a dry run changed something"
    );

    let finished = repair(&lab, &plan, &[]).await;
    assert_eq!(finished.code, 0, "{finished}");
    let finished = verify(&lab, &source, &target, &[]).await;
    assert_eq!(finished.code, 0, "after the repair: {finished}");
    lab.no_leftovers(&target).await;
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                pair(Kind::$from, Kind::$to).await;
            }
        )*
    };
}

pairs! {
    mariadb_to_mariadb: Mariadb, Mariadb;
    mariadb_to_postgres: Mariadb, Postgres;
    mariadb_to_sqlite: Mariadb, Sqlite;
    mysql9_to_mariadb: Mysql9, Mariadb;
    mysql9_to_mysql9: Mysql9, Mysql9;
    postgres_to_mariadb: Postgres, Mariadb;
    postgres_to_postgres: Postgres, Postgres;
    postgres_to_sqlite: Postgres, Sqlite;
    sqlite_to_mariadb: Sqlite, Mariadb;
    sqlite_to_postgres: Sqlite, Postgres;
    sqlite_to_sqlite: Sqlite, Sqlite;
}
