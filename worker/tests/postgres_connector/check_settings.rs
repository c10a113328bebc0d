//! Checks of the server's own settings: servers that were set up badly, mended as the check says,
//! with a restart where it says so.

use common::change::FollowMode;
use common::check::Verdict;
use worker::connector::Role;

use crate::check::{Scene, until};
use crate::postgres::Server;

const DATABASE: &str = "postgres";

fn server(settings: &[&str]) -> Server {
    let server = Server::start(settings);
    server.sql(DATABASE, "CREATE TABLE orders (id int PRIMARY KEY)");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_only_a_restart_changes() {
    let bad = [
        "fsync=on",
        "wal_level=replica",
        "max_prepared_transactions=0",
    ];
    let server = server(&bad);
    let mut source = Scene::new(&server, DATABASE, Role::Source);
    source.follow = FollowMode::Auto;
    source.fails_alone("log", Verdict::Warning).await;
    source.follow = FollowMode::Live;
    source.mends("log", Verdict::Failed).await;
    let target = Scene::new(&server, DATABASE, Role::Target);
    target.mends("two-phase", Verdict::Warning).await;

    server.sql(DATABASE, "ALTER SYSTEM SET max_replication_slots = 0");
    server.stop();
    server.restart();
    source.mends("log-slots", Verdict::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_held_back_or_taken_away() {
    let server = server(&["fsync=on"]);
    let source = Scene::new(&server, DATABASE, Role::Source);
    let slot = "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')";
    server.sql(DATABASE, slot);
    source.mends("log-retention", Verdict::Warning).await;
    server.sql(
        DATABASE,
        "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'; SELECT pg_reload_conf()",
    );
    let set = "SELECT current_setting('max_slot_wal_keep_size') = '64MB'";
    until(&server, DATABASE, set);
    source.mends("log-retention", Verdict::Warning).await;

    server.sql(
        DATABASE,
        "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()",
    );
    until(&server, DATABASE, "SELECT current_setting('fsync') = 'off'");
    let target = Scene::new(&server, DATABASE, Role::Target);
    target.mends("durability", Verdict::Warning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby() {
    let server = server(&["fsync=on"]);
    server.stop();
    server.stand_by();
    server.restart();
    let mut source = Scene::new(&server, DATABASE, Role::Source);
    source.follow = FollowMode::Off;
    source.fails_alone("read-only", Verdict::Warning).await;
    source.follow = FollowMode::Live;
    source.fails_alone("read-only", Verdict::Failed).await;
    let target = Scene::new(&server, DATABASE, Role::Target);
    let bad = target.fails_alone("read-only", Verdict::Failed).await;
    assert!(bad.fixes[0].ends_with("SELECT pg_promote()"), "{bad:#?}");
    server.sql(DATABASE, "SELECT pg_promote()");
    target.becomes_good().await;
    source.becomes_good().await;
}
