//! What befalls the log itself, and what is in it that is hard to follow: huge transactions, huge
//! values, prepared transactions that outlive phases.

use super::catchup::End;
use super::hands::texts;
use super::living;
use super::pool::Engine;
use crate::follow::living::{JOB, Living};
use crate::harness::lab::{Database, Kind};
use crate::harness::wait::{secs, until};

/// In bytes.
const LONG_VALUE: usize = 50 << 20;

pub fn long_values(database: &Database) -> Vec<&'static str> {
    match database.kind {
        Kind::Mariadb | Kind::Mysql9 => {
            vec!["CREATE TABLE huge (id INT PRIMARY KEY, n INT, t LONGTEXT, b LONGBLOB)"]
        }
        Kind::Postgres => vec!["CREATE TABLE huge (id int PRIMARY KEY, n int, t text, b bytea)"],
        Kind::Sqlite => vec!["CREATE TABLE huge (id INTEGER PRIMARY KEY, n INT, t TEXT, b BLOB)"],
    }
}

pub fn for_xa(_: &Database) -> Vec<&'static str> {
    vec!["CREATE TABLE branch (id INT PRIMARY KEY, v VARCHAR(20))"]
}

/// The log goes on in another file.
pub async fn log_rotated(living: &mut Living) -> End {
    for _ in 0..3 {
        match living.source.kind {
            Kind::Postgres => living.source.exec(&["SELECT pg_switch_wal()"]).await,
            _ => living.source.exec(&["FLUSH BINARY LOGS"]).await,
        }
        living.live_on(15).await;
    }
    End::GoesOn
}

/// Nobody follows, and the server throws away what was still to be read.
pub async fn log_purged(living: &mut Living) -> End {
    living.spoil();
    let workers: Vec<String> = { living.cluster.workers.iter() }
        .map(|worker| worker.name.clone())
        .collect();
    for worker in &workers {
        living.worker(worker).kill().await;
    }
    living.cluster.workers.clear();
    living.live_on(30).await;
    living.source.exec(&["FLUSH BINARY LOGS"]).await;
    living.live_on(30).await;
    living.source.exec(&["FLUSH BINARY LOGS"]).await;
    let logs = match living.from {
        Engine::Mariadb => "SHOW MASTER STATUS",
        _ => "SHOW BINARY LOG STATUS",
    };
    let newest = first_text(&living.source, logs).await;
    // A dump session that the server still believes in keeps its file.
    let purge = format!("PURGE BINARY LOGS TO '{newest}'");
    until("the old logs to go", secs(60), || async {
        living.source.exec(&[purge.as_str()]).await;
        let left = first_text(&living.source, "SHOW BINARY LOGS").await;
        (left == newest).then_some(())
    })
    .await;
    living.cluster.start_worker("w8", &[]);
    living.until_stopped("ST2013").await;
    End::Stopped
}

/// The first column of the first row.
async fn first_text(database: &Database, sql: &str) -> String {
    use mysql_async::prelude::Queryable;
    let mut conn = crate::harness::lab::mysql(&database.url).await;
    let row: Option<mysql_async::Row> = conn.query_first(sql).await.expect("an answer");
    let _ = conn.disconnect().await;
    row.and_then(|row| row.get(0)).expect("a text")
}

/// Somebody drops our slot while nobody follows.
pub async fn slot_dropped(living: &mut Living) -> End {
    living.cluster.sterna(&["pause", "-j", JOB]).ok().await;
    let slots = "SELECT slot_name::text FROM pg_replication_slots \
                 WHERE database = current_database() AND NOT active";
    let slot = until("the slot to be free", secs(60), || async {
        texts(&living.source, slots).await.into_iter().next()
    })
    .await;
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    living.source.exec(&[drop]).await;
    living.live_on(20).await;
    living.resume().await;
    living.until_stopped("ST2013").await;
    End::Stopped
}

pub async fn large_transaction(living: &mut Living) -> End {
    living.workload().big().await;
    living.workload().big().await;
    End::GoesOn
}

/// Its follower dies while it is on the way.
pub async fn large_transaction_and_killed(living: &mut Living) -> End {
    living.workload().big().await;
    living::follower_killed(living).await;
    living.cluster.start_worker("w7", &[]);
    End::GoesOn
}

/// Made, left as it is while its row changes, changed, and gone.
pub async fn long_value(living: &mut Living) -> End {
    let (text, bytes) = match living.source.kind {
        Kind::Mariadb | Kind::Mysql9 => (
            format!("repeat('ü', {})", LONG_VALUE / 2),
            format!("repeat(x'00ff', {})", LONG_VALUE / 2),
        ),
        Kind::Postgres => (
            format!("repeat('ü', {})", LONG_VALUE / 2),
            format!("convert_to(repeat('ab', {}), 'UTF8')", LONG_VALUE / 2),
        ),
        Kind::Sqlite => (
            format!("replace(hex(zeroblob({})), '00', 'ü')", LONG_VALUE / 2),
            format!("zeroblob({LONG_VALUE})"),
        ),
    };
    let statements = [
        format!("INSERT INTO huge VALUES (1, 1, {text}, NULL)"),
        format!("INSERT INTO huge VALUES (2, 1, 'short', {bytes})"),
        "UPDATE huge SET n = 2".to_owned(),
        "UPDATE huge SET t = 'short now' WHERE id = 1".to_owned(),
        "UPDATE huge SET id = 3 WHERE id = 2".to_owned(),
    ];
    for statement in statements {
        living.source.exec(&[statement]).await;
        living.live_on(5).await;
    }
    End::GoesOn
}

/// Transactions that the source has prepared: one is committed after others, one is rolled back, one
/// is committed when the follower has changed.
pub async fn prepared_at_the_source(living: &mut Living) -> End {
    for (name, row) in [("one", 1), ("two", 2), ("three", 3)] {
        living.prepare(name, row).await;
        living.live_on(10).await;
    }
    living.end_prepared("COMMIT", "one").await;
    living.live_on(10).await;
    living::follower_killed(living).await;
    living.cluster.start_worker("w7", &[]);
    living.live_on(10).await;
    living.end_prepared("ROLLBACK", "two").await;
    living.end_prepared("COMMIT", "three").await;
    End::GoesOn
}
