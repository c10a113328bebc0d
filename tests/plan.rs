//! `sterna plan`: what it shows, that it changes nothing, and that a job does as it was planned.

use serde_json::Value;

use crate::harness::dataset;
use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::process::{Dir, Finished, Sterna};

fn plan(lab: &Lab, from: &Database, to: &Database) -> Sterna {
    Sterna::new(lab.dir.path(), &["plan", &from.url, &to.url])
}

/// The table of that name in a plan or report.
fn table<'a>(document: &'a Value, name: &str) -> &'a Value {
    let tables = document["tables"].as_array().expect("tables");
    let found = tables.iter().find(|table| table["name"] == name);
    found.unwrap_or_else(|| panic!("no table {name}: {document:#}"))
}

/// Files of the test's directory, the outputs of commands aside.
fn files(lab: &Lab) -> Vec<String> {
    let entries = std::fs::read_dir(lab.dir.path()).expect("readable");
    let names = entries.map(|entry| entry.expect("there").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".out") && !name.ends_with(".err"))
        .collect();
    names.sort();
    names
}

/// Nothing of ours is there; a SQLite file, which a copy would make, isn't there at all.
async fn untouched(lab: &Lab, database: &Database) {
    match database.kind {
        Kind::Sqlite => assert!(!std::path::Path::new(&database.name).exists()),
        _ => lab.no_leftovers(database).await,
    }
}

async fn shop(lab: &Lab) -> Database {
    let database = lab.database(Kind::Sqlite, "shop").await;
    dataset::shop_sqlite(&database.name).await;
    database
}

/// The keys that a plan as JSON always has.
fn assert_shape(plan: &Value) {
    for key in [
        "api_version",
        "job",
        "source",
        "target",
        "tables",
        "unplanned",
        "not_carried",
        "notes",
        "ddl",
        "estimate",
        "problems",
        "exit_code",
    ] {
        assert!(plan.get(key).is_some(), "no {key}: {plan:#}");
    }
    for table in plan["tables"].as_array().expect("tables") {
        for key in [
            "name",
            "target",
            "rows_estimate",
            "bytes_estimate",
            "partitions",
            "split",
            "columns",
        ] {
            assert!(table.get(key).is_some(), "no {key}: {table:#}");
        }
        for column in table["columns"].as_array().expect("columns") {
            for key in ["column", "from", "to", "verdict", "losses", "why"] {
                assert!(column.get(key).is_some(), "no {key}: {column:#}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_what_the_copy_does_and_changes_nothing() {
    let Some(lab) = Lab::new(&[Kind::Mariadb]).await else {
        return;
    };
    let from = shop(&lab).await;
    for kind in [Kind::Sqlite, Kind::Mariadb] {
        let to = lab.database(kind, "copy").await;
        let before = files(&lab);
        let planned = plan(&lab, &from, &to).args(&["-o", "json"]).ok().await;
        let planned = planned.json();
        assert_eq!(
            files(&lab),
            before,
            "a plan keeps nothing, and makes no file"
        );
        untouched(&lab, &to).await;
        assert_shape(&planned);
        assert_eq!(planned["exit_code"], 0);
        assert_eq!(planned["source"]["engine"], "sqlite");
        assert_eq!(planned["tables"].as_array().expect("tables").len(), 6);
        let ddl = planned["ddl"].as_array().expect("statements");
        assert!(ddl.len() >= 6, "{ddl:?}");
        let seconds = |key: &str| planned["estimate"][key].as_f64().expect("a number");
        assert!(seconds("seconds_min") <= seconds("seconds_max"));
        let finished = lab.copy(&from, &to, &["-o", "json"]).await;
        let report = finished.json();
        for name in ["artist", "track", "label"] {
            let (planned, done) = (table(&planned, name), table(&report, name));
            assert_eq!(planned["partitions"], done["partitions"], "{name}");
            assert_eq!(planned["split"], done["cut"], "{name}");
            assert_eq!(planned["target"], done["target"], "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ddl_alone_is_a_script_that_runs() {
    let Some(lab) = Lab::new(&[Kind::Mariadb]).await else {
        return;
    };
    let from = shop(&lab).await;
    for kind in [Kind::Sqlite, Kind::Mariadb] {
        let to = lab.database(kind, "copy").await;
        let planned = plan(&lab, &from, &to).args(&["--ddl"]).ok().await;
        assert!(planned.stdout.starts_with("CREATE TABLE"), "{planned}");
        to.script(&planned.stdout).await;
        // What was made is in the way of a plan now.
        let refused = plan(&lab, &from, &to).run().await;
        assert_eq!(refused.code, 8, "{refused}");
        assert!(refused.stderr.contains("error[ST3001]"), "{refused}");
        let none = plan(&lab, &from, &to).args(&["--ddl"]).run().await;
        assert_eq!((none.code, none.stdout.as_str()), (8, ""), "{none}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_way_is_said_at_once_with_what_could_be_planned() {
    let Some(lab) = Lab::new(&[Kind::Mariadb]).await else {
        return;
    };
    let from = shop(&lab).await;
    let long = "n".repeat(70);
    let add = format!("CREATE TABLE {long} (id INTEGER NOT NULL PRIMARY KEY)");
    dataset::sqlite_exec(&from.name, &add).await;
    let to = lab.database(Kind::Mariadb, "copy").await;
    to.exec(&["CREATE TABLE label (mine INT)"]).await;
    let refused = plan(&lab, &from, &to).run().await;
    assert_eq!(refused.code, 8, "{refused}");
    assert!(refused.stdout.contains("album"), "{refused}");
    assert!(refused.stderr.contains("label"), "{refused}");
    assert!(refused.stderr.contains(&long), "{refused}");
    let refused = plan(&lab, &from, &to).args(&["-o", "json"]).run().await;
    let planned = refused.json();
    assert_shape(&planned);
    assert_eq!(refused.code, 8);
    assert_eq!(planned["exit_code"], 8);
    assert_eq!(planned["unplanned"], serde_json::json!([long]));
    assert_eq!(planned["problems"].as_array().expect("both").len(), 2);
    assert!(planned["error"]["code"].is_string(), "{planned:#}");
    table(&planned, "album");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_file_says_the_same_as_the_command_line() {
    let Some(lab) = Lab::new(&[]).await else {
        return;
    };
    let from = shop(&lab).await;
    let to = lab.database(Kind::Sqlite, "copy").await;
    let toml = format!(
        "name = \"copy\"\n[source]\nurl = \"{}\"\n[target]\nurl = \"{}\"\n\
         [tables]\ninclude = [\"a*\"]\n",
        from.url, to.url
    );
    std::fs::write(lab.dir.file("job.toml"), toml).expect("writable");
    let run = |args: &[&str]| Sterna::new(lab.dir.path(), args);
    let by_file = run(&["plan", "-f", "job.toml", "-o", "json"]).ok().await;
    let by_urls = plan(&lab, &from, &to).args(&["-t", "a*", "-o", "json"]);
    let (mut by_file, mut by_urls) = (by_file.json(), by_urls.ok().await.json());
    by_file["job"].take();
    by_urls["job"].take();
    assert_eq!(by_file, by_urls);
    let both = run(&["plan", "-f", "job.toml", &from.url, &to.url]);
    assert_eq!(both.run().await.code, 2, "a file and URLs are too much");
    let state = lab.dir.file("state");
    let cloned = run(&["clone", "-f", "job.toml", "--state-dir", &state]);
    cloned.ok().await;
    // The same databases by their URLs find the half-done or finished job, whatever its name was.
    let again = run(&["clone", &from.url, &to.url, "--state-dir", &state]);
    let again = again.args(&["-t", "a*", "--target-mode", "recreate"]);
    again.ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_are_copied_and_the_way_is_named() {
    let Some(lab) = Lab::new(&[Kind::Mariadb]).await else {
        return;
    };
    let from = lab.database(Kind::Mariadb, "keyless").await;
    from.exec(&[
        "CREATE TABLE none (a INT, b VARCHAR(20))",
        "CREATE TABLE nullable (a INT NULL, UNIQUE KEY (a))",
        "CREATE TABLE keyed (a INT PRIMARY KEY)",
        "INSERT INTO none VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
        "INSERT INTO nullable VALUES (NULL), (NULL), (1)",
        "INSERT INTO keyed VALUES (1)",
    ])
    .await;
    let to = lab.database(Kind::Mariadb, "copy").await;
    let planned = plan(&lab, &from, &to).args(&["-o", "json"]).ok().await;
    let planned = planned.json();
    let report = lab.copy(&from, &to, &["-o", "json"]).await.json();
    for (name, kind, rows) in [
        ("none", "no_key", 3),
        ("nullable", "no_key", 3),
        ("keyed", "small", 1),
    ] {
        assert_eq!(table(&planned, name)["split"]["kind"], kind, "{name}");
        assert_eq!(table(&report, name)["cut"]["kind"], kind, "{name}");
        assert_eq!(table(&report, name)["rows_copied"], rows, "{name}");
    }
    let said = plan(&lab, &from, &to).args(&["--target-mode", "recreate"]);
    let said = said.ok().await.stdout;
    assert!(
        said.contains("whole: no usable key, one snapshot"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_are_planned_by_key() {
    let lab = Lab::new(&[]).await.expect("no server is needed");
    let from = lab.database(Kind::Sqlite, "big").await;
    dataset::numbers_sqlite(&from.name, 60_000).await;
    let to = lab.database(Kind::Sqlite, "copy").await;
    let small = ["--partition-size", "128KiB", "-o", "json"];
    let planned = plan(&lab, &from, &to).args(&small).ok().await.json();
    let first = &planned["tables"][0];
    assert!(
        first["partitions"].as_u64().expect("a number") > 1,
        "{first:#}"
    );
    assert_eq!(first["split"]["kind"], "by_key", "{first:#}");
    assert_eq!(planned["estimate"]["partitions"], first["partitions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_terminal_gets_short_lines() {
    let lab = Lab::new(&[]).await.expect("no server is needed");
    let from = shop(&lab).await;
    let to = lab.database(Kind::Sqlite, "copy").await;
    dataset::sqlite_exec(&from.name, "CREATE VIEW a_view AS SELECT 1 AS one").await;
    let planned = plan(&lab, &from, &to).env("COLUMNS", "60").ok().await;
    let estimate = planned
        .stdout
        .split("\nestimate")
        .nth(1)
        .expect("an estimate");
    assert!(estimate.contains("a guess"), "{planned}");
    for line in estimate.lines() {
        assert!(line.chars().count() <= 60, "{line:?} in {planned}");
    }
    assert!(!planned.stdout.contains('\u{1b}'), "{planned}");
}

/// Each pair of engines, PostgreSQL's among them, from a small table that all of them have.
#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_engines_can_be_planned() {
    let kinds = [Kind::Sqlite, Kind::Mariadb, Kind::Postgres];
    let Some(lab) = Lab::new(&kinds).await else {
        return;
    };
    for from_kind in kinds {
        let from = lab.database(from_kind, "from").await;
        from.exec(&[
            "CREATE TABLE item (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(20) NOT NULL, made DATE)",
            "INSERT INTO item VALUES (1, 'one', '2024-02-29')",
        ])
        .await;
        for to_kind in kinds {
            let to = lab.database(to_kind, "to").await;
            let finished = plan(&lab, &from, &to).args(&["-o", "json"]).run().await;
            assert_eq!(finished.code, 0, "{from_kind:?} to {to_kind:?}: {finished}");
            let planned = finished.json();
            assert_shape(&planned);
            let item = table(&planned, "item");
            let columns = item["columns"].as_array().expect("columns");
            assert_eq!(columns.len(), 3, "{from_kind:?} to {to_kind:?}: {item:#}");
            assert_no_silent_loss(&finished, columns);
            untouched(&lab, &to).await;
        }
    }
}

/// A column that can lose something says what, and how that is accepted.
fn assert_no_silent_loss(finished: &Finished, columns: &[Value]) {
    for column in columns {
        let verdict = column["verdict"].as_str().unwrap_or_default();
        let losses = column["losses"].as_array().expect("a list");
        let names_a_loss = matches!(verdict, "guarded" | "lossy");
        assert_eq!(names_a_loss, !losses.is_empty(), "{column:#}: {finished}");
        for loss in losses {
            let accept = loss["accept"].as_str().unwrap_or_default();
            assert!(accept.ends_with(&format!(
                ".{}",
                column["column"].as_str().unwrap_or_default()
            )));
            assert_eq!(loss["accepted"], false, "nobody accepted it: {column:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_explained_and_an_unknown_one_is_named() {
    let dir = Dir::new();
    for loss in common::fidelity::Loss::ALL {
        let explained = Sterna::new(dir.path(), &["explain", loss.code()])
            .ok()
            .await;
        assert!(explained.stdout.contains(loss.title()), "{explained}");
    }
    let list = Sterna::new(dir.path(), &["explain"]).ok().await;
    assert!(list.stdout.contains("nul-in-text"), "{list}");
    let unknown = Sterna::new(dir.path(), &["explain", "zero-dat"])
        .run()
        .await;
    assert_eq!(unknown.code, 2, "{unknown}");
    assert!(unknown.stderr.contains("zero-date"), "{unknown}");
}
