//! What a job that follows does to its source: a log that isn't held while nothing happens, a
//! prepared transaction that is older than the phase, a cancel that leaves nothing.

use super::living::Set;
use crate::faults::hands::texts;
use crate::faults::matter;
use crate::faults::pool::Engine;
use crate::harness::wait::{secs, until};

/// Nothing happens in what is followed, much elsewhere on the server: the slot moves on.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_slot_does_not_hold_the_log() {
    let engine = Engine::PostgresPrepared;
    let set = Set::new(engine, engine);
    let living = set.caught_up_quietly().await.expect("it is never off");
    let server = living.source_server.as_ref().expect("a server");
    let elsewhere = "CREATE TABLE IF NOT EXISTS elsewhere AS \
                     SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g";
    server.exec(&[elsewhere]).await;
    let held = "SELECT (pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) < 1000000)::text \
                FROM pg_replication_slots WHERE database = current_database()";
    until("the slot to move on", secs(90), || async {
        (texts(&living.source, held).await == ["true"]).then_some(())
    })
    .await;
    server.exec(&["DROP TABLE elsewhere"]).await;
    living.complete().await;
}

async fn cancelled(engine: Engine) {
    let Some(living) = Set::new(engine, engine).caught_up().await else {
        return;
    };
    living.live_on(20).await;
    living.cancel().await;
}

/// Prepared while rows are copied, committed while they are followed; another one rolled back.
async fn prepared_while_copying(engine: Engine) {
    let set = Set::new(engine, engine).before(matter::for_xa);
    let stall = "worker-mid-load=stall:5000@2";
    let set = set.armed("w1", stall).armed("w2", stall);
    let Some(mut living) = set.start().await else {
        return;
    };
    living.until_says("worker-mid-load").await;
    for (name, row) in [("one", 1), ("two", 2)] {
        living.prepare(name, row).await;
    }
    living.live_on(30).await;
    living.until_caught_up().await;
    living.live_on(30).await;
    living.end_prepared("COMMIT", "one").await;
    living.end_prepared("ROLLBACK", "two").await;
    living.live_on(30).await;
    let (seen, _) = living.settle().await;
    println!("prepared while copying {}: {seen}", engine.name());
    living.complete().await;
}

macro_rules! engines {
    ($($name:ident: $what:ident, $engine:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin($what(Engine::$engine)).await;
        })*
    };
}

engines! {
    cancelled_mariadb: cancelled, Mariadb;
    cancelled_postgres: cancelled, PostgresPrepared;
    cancelled_sqlite: cancelled, Sqlite;
    prepared_while_copying_mariadb: prepared_while_copying, Mariadb;
    prepared_while_copying_mysql9: prepared_while_copying, Mysql9;
    prepared_while_copying_postgres: prepared_while_copying, PostgresPrepared;
}
