//! `sterna clone` with no cluster: every pair of engines, what it chooses, what it prints.

use std::path::Path;

use crate::harness::process::{Dir, Finished, clone};
use crate::harness::{dataset, leftovers, oracle, server};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_sqlite() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("sqlite:{}", dir.file("copy.db"));
    clone(&dir, &source, &target).ok().await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_in_sqlite(&dir.file("copy.db")).await;
}

/// The round trip of the issue: SQLite, MariaDB, MariaDB, SQLite; every stop equals the start.
#[tokio::test(flavor = "multi_thread")]
async fn round_trip_through_mariadb() {
    let server = server::lend().await;
    let dir = Dir::new();
    let start = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let first = server.create("first").await;
    let second = server.create("second").await;
    let end = format!("sqlite:{}", dir.file("end.db"));
    for (state, source, target) in [
        ("1", &start, &first),
        ("2", &first, &second),
        ("3", &second, &end),
    ] {
        let state = dir.file(state);
        let command = crate::harness::process::Sterna::new(dir.path(), &["clone", source, target]);
        command.args(&["--state-dir", &state]).ok().await;
        oracle::assert_equal(source, target).await;
        leftovers::none_on(&server).await;
    }
    oracle::assert_same_content(&start, &end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_to_mariadb_keeps_every_type_and_key() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::shop_mysql(&server, "shop").await;
    let target = server.create("copy").await;
    clone(&dir, &source, &target).ok().await;
    oracle::assert_equal(&source, &target).await;
    leftovers::none_on(&server).await;
    // The next row gets the next number, as at the source.
    let insert = "INSERT INTO staff (name) VALUES ('new')";
    server.exec("shop", &[insert]).await;
    server.exec("copy", &[insert]).await;
    oracle::assert_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_of_text_and_wide_keys() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::text_keyed(&server, "keyed", 60_000).await;
    let target = server.create("copy").await;
    // Small partitions, so that the bounds fall between keys that differ by case only.
    let small = ["--partition-size", "256KiB", "--workers", "2"];
    let finished = clone(&dir, &source, &target)
        .args(&small)
        .args(&["-o", "json"])
        .ok()
        .await;
    oracle::assert_equal(&source, &target).await;
    let report = finished.json();
    let total = report["partitions"]["total"].as_u64().unwrap_or_default();
    assert!(total > 4, "one table, {total} partitions: {report}");
    assert_eq!(report["partitions"]["committed"], total);
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_chosen_by_pattern() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("sqlite:{}", dir.file("copy.db"));
    let choice = ["-t", "a*", "-t", "label", "-x", "album"];
    clone(&dir, &source, &target).args(&choice).ok().await;
    let left_out = ["album", "track", "employee", "playlist_track"];
    oracle::assert_equal_without(&source, &target, &left_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn target_modes_do_what_they_say() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::text_keyed(&server, "keyed", 1_000).await;
    let target = server.create("copy").await;
    clone(&dir, &source, &target).ok().await;
    for (number, mode) in ["recreate", "truncate"].iter().enumerate() {
        server.exec("copy", &["UPDATE keyed SET v = 0"]).await;
        let state = dir.file(&format!("state-{number}"));
        let command =
            crate::harness::process::Sterna::new(dir.path(), &["clone", &source, &target]);
        let finished = command
            .args(&["--state-dir", &state, "--target-mode", mode])
            .run()
            .await;
        assert_eq!(finished.code, 0, "{mode}: {finished}");
        oracle::assert_equal(&source, &target).await;
    }
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_and_empty_tables_are_copied() {
    let dir = Dir::new();
    let path = dir.file("shop.db");
    dataset::sqlite_exec(
        &path,
        "CREATE TABLE empty_one (id INTEGER PRIMARY KEY, x TEXT)",
    )
    .await;
    let (source, target) = (
        format!("sqlite:{path}"),
        format!("sqlite:{}", dir.file("copy.db")),
    );
    clone(&dir, &source, &target).ok().await;
    oracle::assert_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_is_the_documented_shape_and_nothing_else() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("sqlite:{}", dir.file("copy.db"));
    let finished = clone(&dir, &source, &target)
        .args(&["-o", "json"])
        .ok()
        .await;
    let report = finished.json();
    assert_eq!(report["api_version"], "v1");
    assert_eq!(report["phase"], "Completed");
    assert_eq!(report["verified"], true);
    assert_eq!(report["exit_code"], 0);
    let tables = report["tables"].as_array().expect("tables");
    let track = tables
        .iter()
        .find(|table| table["name"] == "track")
        .expect("track");
    assert_eq!(track["rows_copied"], 5000);
    assert!(
        track["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("5000:"))
    );
    assert!(report["rows_estimated"].is_u64() && report["partitions"]["redone"].is_u64());
    no_terminal_codes(&finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_progress_is_plain_lines() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&server, "big", 400_000).await;
    let target = server.create("copy").await;
    let finished = clone(&dir, &source, &target).ok().await;
    no_terminal_codes(&finished);
    assert!(
        !finished.stderr.trim().is_empty(),
        "no line of progress: {finished}"
    );
    let none = ["--progress", "none", "--target-mode", "recreate", "-q"];
    let target = server.create("copy2").await;
    let dir = Dir::new();
    let silent = clone(&dir, &source, &target).args(&none).ok().await;
    assert_eq!(silent.stderr, "", "quiet means quiet");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_no_colour_when_nobody_wants_any() {
    let dir = Dir::new();
    for (key, value) in [("NO_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "80")] {
        let command = clone(&dir, "sqlite:/nowhere/at/all.db", "sqlite:x.db").env(key, value);
        let finished = command.run().await;
        assert_ne!(finished.code, 0, "{finished}");
        no_terminal_codes(&finished);
    }
    assert!(
        !Path::new(&dir.file("x.db")).exists(),
        "the target was made all the same"
    );
}

fn no_terminal_codes(finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!text.contains('\u{1b}'), "escape codes: {text:?}");
        assert!(!text.contains('\r'), "carriage returns: {text:?}");
    }
}
