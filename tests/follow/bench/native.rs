//! What the engines' own replication takes for the same transactions, on servers with the same
//! settings: a MariaDB replica with four optimistic threads whose relay log is complete before it
//! begins, a PostgreSQL subscription that was disabled meanwhile.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use super::DEADLINE;
use super::load::{self, Load};
use crate::faults::pool::{Engine, Server};
use crate::follow::ends::durable;
use crate::harness::lab::Database;
use crate::harness::wait::until;
use crate::harness::workload::{Options, fill};

async fn end_with_tables(engine: Engine, is_source: bool) -> (Server, Database) {
    let server = durable(engine, is_source).await.expect("never off");
    server.create("shop").await;
    let database = Database {
        kind: engine.kind(),
        url: server.url("shop"),
        name: "shop".to_owned(),
    };
    fill(&database, Options::new(1)).await;
    database.exec(&load::tables(&database)).await;
    (server, database)
}

async fn arrived(load: &Load, target: &Database, transactions: u64) {
    until("the replica to have it all", DEADLINE, || async {
        (load.seen_at(target).await? == transactions).then_some(())
    })
    .await;
}

pub async fn replica(transactions: u64) -> Duration {
    let (source_server, source) = end_with_tables(Engine::Mariadb, true).await;
    let (target_server, target) = end_with_tables(Engine::Mariadb, false).await;
    let mut conn = crate::harness::lab::mysql(&source.url).await;
    let status: Option<mysql_async::Row> = conn
        .query_first("SHOW MASTER STATUS")
        .await
        .expect("a position");
    let status = status.expect("the log is on");
    let (file, offset): (String, u64) = (
        status.get(0).expect("a file"),
        status.get(1).expect("an offset"),
    );
    let _ = conn.disconnect().await;
    let load = Load::new(&source, 0);
    load.run(transactions, None).await;
    let change = format!(
        "CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='root', \
         master_log_file='{file}', master_log_pos={offset}",
        source_server.port()
    );
    let settings = [
        "SET GLOBAL slave_parallel_threads=4",
        "SET GLOBAL slave_parallel_mode='optimistic'",
        &change,
        "START SLAVE IO_THREAD",
    ];
    target_server.exec(&settings).await;
    until("the relay log", DEADLINE, || async {
        let mut conn = crate::harness::lab::mysql(&target.url).await;
        let row: Option<mysql_async::Row> = conn.query_first("SHOW SLAVE STATUS").await.ok()?;
        let _ = conn.disconnect().await;
        let read: u64 = row?.get("Read_Master_Log_Pos")?;
        let mut conn = crate::harness::lab::mysql(&source.url).await;
        let row: Option<mysql_async::Row> = conn.query_first("SHOW MASTER STATUS").await.ok()?;
        let _ = conn.disconnect().await;
        let end: u64 = row?.get(1)?;
        (read == end).then_some(())
    })
    .await;
    let started = Instant::now();
    target_server.exec(&["START SLAVE SQL_THREAD"]).await;
    arrived(&load, &target, transactions).await;
    started.elapsed()
}

pub async fn subscription(transactions: u64) -> Duration {
    let (_source_server, source) = end_with_tables(Engine::PostgresPrepared, true).await;
    let (_target_server, target) = end_with_tables(Engine::PostgresPrepared, false).await;
    source
        .exec(&["CREATE PUBLICATION own FOR ALL TABLES"])
        .await;
    let port = source.port();
    let create = format!(
        "CREATE SUBSCRIPTION own CONNECTION 'host=127.0.0.1 port={port} user=postgres dbname=shop' \
         PUBLICATION own WITH (copy_data = false)"
    );
    target
        .exec(&[create.as_str(), "ALTER SUBSCRIPTION own DISABLE"])
        .await;
    let load = Load::new(&source, 0);
    load.run(transactions, None).await;
    let started = Instant::now();
    target.exec(&["ALTER SUBSCRIPTION own ENABLE"]).await;
    arrived(&load, &target, transactions).await;
    let took = started.elapsed();
    target.exec(&["DROP SUBSCRIPTION own"]).await;
    took
}
