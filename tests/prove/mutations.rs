//! The mutation test of the verifier, on every pair: a copy is equal; then faults of every kind are
//! planted at the target, and each must be found, located to its row and columns, and nothing else
//! be told; then they are undone, and the copy is equal again. In many small ranges and in whole
//! tables. All faults at once, each in rows of its own; `STERNA_PROVE=alone` plants each of them
//! alone as well.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::ask::{assert_nothing, verify};
use super::planted::{self, Fault};
use super::rows::{self, MANY};
use super::told::{Found, Value, wrongs};
use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::process::Finished;

/// In small ranges, and in whole tables.
const RANGES: &[&str] = &["--partition-size", "8KiB"];
const WHOLE: &[&str] = &[];
/// In small ranges that both servers fold themselves, where they can.
const FAST: &[&str] = &["--partition-size", "8KiB", "--fast"];

/// Losses that a column of these tables might have on some way; no value of them has one.
const ACCEPTED: &[&str] = &[
    "number-range",
    "negative-zero",
    "storage-class",
    "text-length",
    "row-identity",
];

struct Scene {
    lab: Lab,
    source: Database,
    target: Database,
}

impl Scene {
    async fn copied(from: Kind, to: Kind) -> Option<Scene> {
        let lab = Lab::new(&[from, to]).await?;
        let source = lab.database(from, "true").await;
        source.exec(&rows::statements(from)).await;
        let target = lab.database(to, "copy").await;
        let accept: Vec<String> = { ACCEPTED.iter() }
            .flat_map(|loss| ["--accept".to_owned(), format!("{loss}:*")])
            .collect();
        let accept: Vec<&str> = accept.iter().map(String::as_str).collect();
        lab.copy(&source, &target, &accept).await;
        let save = |table: &&str| format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}");
        let save: Vec<String> = rows::TABLES.iter().map(save).collect();
        target.exec(&save).await;
        Some(Scene {
            lab,
            source,
            target,
        })
    }

    async fn verify(&self, args: &[&str]) -> Finished {
        verify(&self.lab, &self.source, &self.target, args)
            .run()
            .await
    }

    /// Undoes whatever was planted.
    async fn undo(&self) {
        let back = |table: &&str| {
            let insert = format!("INSERT INTO {table} SELECT * FROM saved_{table}");
            [format!("DELETE FROM {table}"), insert]
        };
        let back: Vec<String> = rows::TABLES.iter().flat_map(back).collect();
        self.target.exec(&back).await;
    }

    async fn assert_equal(&self, args: &[&str]) -> Json {
        let finished = self.verify(args).await;
        assert_eq!(finished.code, 0, "{}: {finished}", self.pair());
        assert_nothing(&finished);
        finished.json()
    }

    /// What the report doesn't say of these faults, or says beside them.
    async fn wrongs(&self, name: &str, expected: &[Found], args: &[&str]) -> Vec<String> {
        let finished = self.verify(args).await;
        let code = if expected.is_empty() { 0 } else { 10 };
        if finished.code != code {
            return vec![format!("{name}: {code} was expected: {finished}")];
        }
        let wrongs = wrongs(&finished.json(), expected);
        let wrongs = { wrongs.into_iter() }.map(|wrong| format!("{name} {args:?}: {wrong}"));
        wrongs.collect()
    }

    fn pair(&self) -> String {
        format!("{:?} to {:?}", self.source.kind, self.target.kind)
    }
}

async fn found(from: Kind, to: Kind) {
    let Some(scene) = Scene::copied(from, to).await else {
        return;
    };
    scene.assert_equal(WHOLE).await;
    let report = scene.assert_equal(RANGES).await;
    assert!(ranges_of(&report, "many") > 4, "{report:#}");
    let faults = planted::all(from, to);
    if folds_alike(from, to) {
        let fast = scene.assert_equal(FAST).await;
        let digest = |report: &Json| table(report, "many")["digest_source"].clone();
        assert_ne!(digest(&fast), digest(&report), "nothing was folded there");
    }
    let mut wrongs = together(&scene, &faults).await;
    if std::env::var("STERNA_PROVE").is_ok_and(|text| text == "alone") {
        wrongs.extend(alone(&scene, &faults).await);
    }
    wrongs.extend(every_row(&scene).await);
    assert!(
        wrongs.is_empty(),
        "{}:\n{}",
        scene.pair(),
        wrongs.join("\n")
    );
    scene.lab.no_leftovers(&scene.target).await;
}

/// Whether both are servers of one engine and flavour.
fn folds_alike(from: Kind, to: Kind) -> bool {
    from == to && from != Kind::Sqlite
}

fn ranges_of(report: &Json, name: &str) -> u64 {
    table(report, name)["ranges"].as_u64().expect("a number")
}

fn table<'a>(report: &'a Json, name: &str) -> &'a Json {
    let tables = report["tables"].as_array().expect("a list");
    let of = |table: &&Json| {
        let full = table["table"].as_str().unwrap_or_default();
        full.rsplit('.').next() == Some(name)
    };
    tables.iter().find(of).expect("it was compared")
}

async fn together(scene: &Scene, faults: &[Fault]) -> Vec<String> {
    let statements: Vec<&str> = { faults.iter() }
        .flat_map(|fault| fault.statements.iter().map(String::as_str))
        .collect();
    let expected: Vec<Found> = { faults.iter() }
        .flat_map(|fault| fault.found.iter().cloned())
        .collect();
    scene.target.exec(&statements).await;
    let mut wrongs = scene.wrongs("together", &expected, RANGES).await;
    wrongs.extend(scene.wrongs("together", &expected, WHOLE).await);
    if folds_alike(scene.source.kind, scene.target.kind) {
        wrongs.extend(scene.wrongs("together", &expected, FAST).await);
    }
    scene.undo().await;
    scene.assert_equal(RANGES).await;
    wrongs
}

async fn alone(scene: &Scene, faults: &[Fault]) -> Vec<String> {
    let mut wrongs = Vec::new();
    for fault in faults {
        scene.target.exec(&fault.statements).await;
        for args in [RANGES, WHOLE] {
            wrongs.extend(scene.wrongs(fault.name, &fault.found, args).await);
        }
        scene.undo().await;
        scene.assert_equal(WHOLE).await;
    }
    wrongs
}

/// Every row of the table that is cut differs: each is counted once, by whichever range it is in.
/// Then the rows at the borders of the ranges alone.
async fn every_row(scene: &Scene) -> Vec<String> {
    let plan = scene.lab.dir.file("borders.json");
    let mut args = RANGES.to_vec();
    args.extend(["--plan", plan.as_str()]);
    scene
        .target
        .exec(&["UPDATE many SET v = 'every one'"])
        .await;
    let report = scene.verify(&args).await.json();
    scene.undo().await;
    let mut wrongs = Vec::new();
    let counts = &report["counts"];
    if counts["different"] != MANY || counts["missing"] != 0 || counts["extra"] != 0 {
        wrongs.push(format!("of {MANY} rows that differ: {counts}"));
    }
    let borders = borders(&plan);
    assert!(borders.len() > 4, "{borders:?}");
    let rows: BTreeSet<u32> = { borders.iter().take(20) }
        // A border need not be a row's key.
        .map(|border| border / 3 * 3)
        .flat_map(|row| [row.saturating_sub(3), row, row + 3])
        .filter(|id| (1..=MANY).contains(&(id / 3)))
        .collect();
    let planted = |id: &u32| format!("UPDATE many SET v = 'at a border' WHERE id = {id}");
    scene
        .target
        .exec(&rows.iter().map(planted).collect::<Vec<_>>())
        .await;
    let expected = rows.iter().map(|id| {
        let source = rows::many(*id)[1].clone();
        let found = Found::new("different", "many", &[Value::number(id)]);
        found.columns(&[("v", source, Value::text("at a border"))])
    });
    let expected: Vec<Found> = expected.collect();
    wrongs.extend(scene.wrongs("at the borders", &expected, RANGES).await);
    scene.undo().await;
    scene.assert_equal(RANGES).await;
    wrongs
}

/// The keys at which a range of the plan begins.
fn borders(plan: &str) -> BTreeSet<u32> {
    let text = std::fs::read_to_string(plan).expect("verify wrote it");
    let plan: Json = serde_json::from_str(&text).expect("JSON");
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let ranges = list(&plan["ranges"])
        .into_iter()
        .flat_map(|of| list(&of["ranges"]));
    let from = ranges.filter_map(|range| range["from"][0].as_str().map(str::to_owned));
    // In the source's words: SQLite's begin with the storage class, PostgreSQL's are in quotes.
    let digits = |text: String| {
        text.trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok()
    };
    from.filter_map(digits).collect()
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            found(Kind::$from, Kind::$to).await;
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
    mysql9_to_mysql9: Mysql9, Mysql9;
    mysql9_to_postgres: Mysql9, Postgres;
    mariadb_to_mysql9: Mariadb, Mysql9;
    postgres_to_mysql9: Postgres, Mysql9;
}
