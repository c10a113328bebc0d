//! A thousand rows of a copy damaged at random; a repair that is killed, and the same command again:
//! nothing is left of it, on every pair.

use std::collections::BTreeSet;

use super::ask;
use crate::harness::lab::{Kind, Lab};
use crate::harness::process::Sterna;
use crate::random::Random;

const ROWS: u64 = 4_000;
const DAMAGED: usize = 1_000;
/// A dozen ranges and more.
const SMALL: &[&str] = &["--partition-size", "8KiB"];

/// Where the repair dies, by turns: each in a transaction that repairs a range, before or after it
/// is committed, or while rows are read.
const DEATHS: &[&str] = &[
    "target-before-books=exit@3",
    "target-after-books=exit@5",
    "target-in-doubt=exit@4",
    "verify-midway=exit@30",
    "worker-after-task=exit@6",
];

fn source(kind: Kind) -> Vec<String> {
    let row = |id: u64| format!("({id}, 'a row under {id:08}', {})", id % 97);
    let rows: Vec<String> = (1..=ROWS).map(row).collect();
    let mut all = vec![
        "CREATE TABLE many (id INTEGER PRIMARY KEY, v VARCHAR(60) NOT NULL, n INTEGER)".to_owned(),
        format!("INSERT INTO many VALUES {}", rows.join(", ")),
    ];
    match kind {
        Kind::Mariadb | Kind::Mysql9 => all.push("ANALYZE TABLE many".to_owned()),
        Kind::Postgres => all.push("ANALYZE".to_owned()),
        Kind::Sqlite => {}
    }
    all
}

/// Statements that damage rows, and how many of them are missing, different and extra.
fn damage(random: &mut Random) -> (Vec<String>, [u64; 3]) {
    let mut rows = BTreeSet::new();
    while rows.len() < DAMAGED {
        rows.insert(1 + random.below(ROWS));
    }
    let mut counts = [0; 3];
    let statements = rows.iter().map(|id| {
        let which = random.below(4);
        counts[match which {
            0 => 0,
            3 => 2,
            _ => 1,
        }] += 1;
        match which {
            0 => format!("DELETE FROM many WHERE id = {id}"),
            1 => format!("UPDATE many SET v = 'damaged' WHERE id = {id}"),
            2 => format!("UPDATE many SET n = NULL WHERE id = {id}"),
            _ => format!("INSERT INTO many VALUES ({}, 'extra', 1)", id + 2 * ROWS),
        }
    });
    (statements.collect(), counts)
}

async fn repaired(from: Kind, to: Kind) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let database = lab.database(from, "thousand_src").await;
    database.exec(&source(from)).await;
    let target = lab.database(to, "thousand_tgt").await;
    lab.copy(&database, &target, &["--accept", "storage-class:*"])
        .await;
    let seed = u64::from(std::process::id()) << 8 | (from as u64) << 4 | to as u64;
    println!("seed {seed}");
    let mut random = Random(seed);
    let (statements, [missing, different, extra]) = damage(&mut random);
    target.exec(&statements).await;
    let plan = lab.dir.file("thousand.json");
    let mut args = SMALL.to_vec();
    args.extend(["--plan", &plan]);
    let finished = ask::verify(&lab, &database, &target, &args).run().await;
    assert_eq!(finished.code, 10, "{finished}");
    let counts = &finished.json()["counts"];
    let expected = serde_json::json!([missing, different, extra]);
    let found = ["missing", "different", "extra"].map(|class| counts[class].clone());
    assert_eq!(serde_json::json!(found), expected, "seed {seed}");

    let state = lab.dir.file("repairing");
    let repair = || {
        Sterna::new(lab.dir.path(), &["repair", "--plan", &plan]).args(&[
            "--state-dir",
            &state,
            "--progress",
            "none",
        ])
    };
    let death = DEATHS[random.below(DEATHS.len() as u64) as usize];
    let killed = repair().env("STERNA_FAULT", death).run().await;
    // As a process that is aborted ends.
    assert_eq!(killed.code, 134, "it didn't die of {death}: {killed}");
    let again = repair().run().await;
    assert_eq!(again.code, 0, "after {death}, seed {seed}: {again}");
    ask::assert_equal(&lab, &database, &target, &[]).await;
    lab.no_leftovers(&target).await;
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            repaired(Kind::$from, Kind::$to).await;
        })*
    };
}

pairs! {
    sqlite_to_sqlite: Sqlite, Sqlite;
    sqlite_to_mariadb: Sqlite, Mariadb;
    sqlite_to_postgres: Sqlite, Postgres;
    mariadb_to_sqlite: Mariadb, Sqlite;
    mariadb_to_mariadb: Mariadb, Mariadb;
    mariadb_to_postgres: Mariadb, Postgres;
    postgres_to_sqlite: Postgres, Sqlite;
    postgres_to_mariadb: Postgres, Mariadb;
    postgres_to_postgres: Postgres, Postgres;
    mysql9_to_mariadb: Mysql9, Mariadb;
    mariadb_to_mysql9: Mariadb, Mysql9;
}
