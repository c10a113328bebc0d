//! Somebody writes where only the job should: rows at the target, its bookkeeping, the source. It
//! must be found: the job never ends as verified, and what the error's page tells then works.

use serde_json::Value;

use super::pool::Engine;
use super::scene::Scene;
use super::statements::books;
use crate::harness::wait::{secs, until};

/// The job ends without success, by one of these errors.
async fn found(scene: &Scene, codes: &[&str]) {
    let ended = |status: &Value| {
        let ends = ["Failed", "Completed", "Cancelled"];
        ends.iter().any(|end| status["phase"] == *end)
    };
    let status = scene
        .cluster
        .until_status(&scene.job, "the job to end", secs(150), ended)
        .await;
    let failure = &status["failure"];
    let code = failure["code"].as_str().unwrap_or_default();
    println!("   found: {} {failure}", status["phase"]);
    assert_eq!(status["phase"], "Failed", "not found: {status:#}");
    assert_ne!(status["verified"], true, "{status:#}");
    assert!(codes.contains(&code), "{codes:?} expected: {status:#}");
    let waited = scene.cluster.wait_completed(&scene.job, secs(5)).await;
    assert_ne!(waited.code, 0, "{waited}");
}

/// Runs a statement at the target, as often as it takes to get past the job's own locks.
async fn at_target(scene: &Scene, statement: &str) {
    until("the rogue to get through", secs(60), || async {
        let mut rogue = super::hands::Holder::of(&scene.target).await;
        let done = rogue.run(statement).await;
        rogue.let_go().await;
        done.ok()
    })
    .await;
}

const DIFFERS: &[&str] = &["ST6001"];

async fn after_copying(scene: &mut Scene, statement: &str) {
    at_target(scene, statement).await;
    found(scene, DIFFERS).await;
    scene.recreate().await;
}

pub async fn row_inserted(scene: &mut Scene) {
    let insert = "INSERT INTO reading (id, sensor) VALUES (1000001, 'rogue')";
    after_copying(scene, insert).await;
}

pub async fn row_changed(scene: &mut Scene) {
    let update = "UPDATE reading SET remark = 'rogue' WHERE id = 3003";
    after_copying(scene, update).await;
}

pub async fn row_deleted(scene: &mut Scene) {
    after_copying(scene, "DELETE FROM reading WHERE id = 3003").await;
}

pub async fn table_emptied(scene: &mut Scene) {
    after_copying(scene, "DELETE FROM logbook").await;
}

/// A row in a table that is being copied, with a key of its own.
pub async fn row_before_its_table(scene: &mut Scene) {
    let insert = "INSERT INTO reading (id, sensor) VALUES (1000001, 'rogue')";
    at_target(scene, insert).await;
    // SQLite numbers the row as one that is still to come is numbered.
    found(scene, &["ST3003", "ST6001"]).await;
    scene.recreate().await;
}

/// The same with the key of a row that is still to come, or is there.
pub async fn row_in_the_way(scene: &mut Scene) {
    let mut rogue = super::hands::Holder::of(&scene.target).await;
    let mut written = false;
    for id in (1..=30_000u32).rev().step_by(997) {
        let insert = format!("INSERT INTO reading (id, sensor) VALUES ({}, 'x')", id * 3);
        written |= rogue.run(&insert).await.is_ok();
    }
    rogue.let_go().await;
    assert!(written, "all rows were there already");
    found(scene, &["ST3003", "ST6001"]).await;
    scene.recreate().await;
}

pub async fn table_dropped(scene: &mut Scene) {
    at_target(scene, "DROP TABLE reading").await;
    found(scene, &["ST3003", "ST3006", "ST6001"]).await;
    scene.recreate().await;
}

/// Somebody raises every fence far beyond what the cluster knows: a unit that meets that again and
/// again gives up.
pub async fn fence_raised(scene: &mut Scene) {
    let fence = books(&scene.target, "fence");
    at_target(scene, &format!("UPDATE {fence} SET epoch = epoch + 1000")).await;
    found(scene, &["ST3003", "ST7001", "ST6001", "ST9999"]).await;
    // Nothing may be ended past a fence that stands higher, not even by `cancel`: it is put back.
    let back = format!("UPDATE {fence} SET epoch = epoch - 1000 WHERE epoch > 1000");
    at_target(scene, &back).await;
    scene.recreate().await;
}

/// Fence and ledger are gone.
pub async fn books_dropped(scene: &mut Scene) {
    for table in ["fence", "ledger"] {
        at_target(
            scene,
            &format!("DROP TABLE {}", books(&scene.target, table)),
        )
        .await;
    }
    if scene.engine == Engine::Sqlite && came_too_late(scene).await {
        return;
    }
    found(scene, &["ST3003", "ST7001", "ST6001", "ST9999"]).await;
    scene.recreate().await;
}

/// A file has one writer at a time, and the job's own follow each other closely: whoever else wants
/// to write may get a turn only when everything is committed. Then it does no harm.
async fn came_too_late(scene: &Scene) -> bool {
    let status = scene.cluster.status(&scene.job).await;
    let partitions = &status["partitions"];
    let late = partitions["committed"] == partitions["total"];
    if late {
        println!("   everything was committed before it");
    }
    late
}

/// The ledger says of partitions that aren't copied that they are.
pub async fn ledger_forged(scene: &mut Scene) {
    let (fence, ledger) = (
        books(&scene.target, "fence"),
        books(&scene.target, "ledger"),
    );
    let cast = match scene.engine {
        Engine::Mariadb | Engine::Mysql9 => "UNSIGNED",
        _ => "INTEGER",
    };
    // A unit that is a partition is called by its number, after a letter.
    let forge = format!(
        "INSERT INTO {ledger} (job, part, epoch, row_count, byte_count, digest) \
         SELECT job, CAST(SUBSTR(unit, 2) AS {cast}), epoch, 0, 0, \
         '00000000000000000000000000000000' FROM {fence} f WHERE unit LIKE 'p%' AND \
         CAST(SUBSTR(unit, 2) AS {cast}) NOT IN (SELECT part FROM {ledger})"
    );
    at_target(scene, &forge).await;
    found(scene, &["ST3003", "ST7001", "ST6001", "ST9999"]).await;
    scene.recreate().await;
}

/// A column more at the source: what was planned isn't all that is there any more.
pub async fn column_added_at_the_source(scene: &mut Scene) {
    let sql = "ALTER TABLE reading ADD COLUMN late VARCHAR(10)";
    source_altered(scene, sql).await;
}

/// A column less: what was planned can't be read any more.
pub async fn column_dropped_at_the_source(scene: &mut Scene) {
    source_altered(scene, "ALTER TABLE reading DROP COLUMN remark").await;
}

async fn source_altered(scene: &mut Scene, sql: &str) {
    scene.source.exec(&[sql]).await;
    found(scene, &["ST2005", "ST2008"]).await;
    scene.source_changed().await;
    scene.recreate().await;
}

/// Rows of every table are written at the source when a part of one has been copied. (Those that
/// are written before they are read are copied as they are then, which is no fault.)
pub async fn rows_written_at_the_source(scene: &mut Scene) {
    let changes = [
        "UPDATE customer SET name = 'late'",
        "UPDATE product SET note = 'late'",
        "UPDATE purchase SET note = 'late'",
        "UPDATE purchase_line SET quantity = 999",
        "UPDATE logbook SET line = 'late'",
        "UPDATE reading SET remark = 'late'",
    ];
    scene.source.exec(&changes).await;
    found(scene, &["ST2005"]).await;
    scene.source_changed().await;
    scene.recreate().await;
}
