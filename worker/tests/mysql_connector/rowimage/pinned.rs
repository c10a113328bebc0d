//! A pinned read's place in the log splits the changes exactly: what the log has of a table up to
//! there, netted, is what was read, while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use common::schema::CellForm;
use mysql_async::prelude::Queryable;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, ReadRequest, Role};
use worker::secret::Secrets;

use super::{Rows, end, net, rows_of};
use crate::mysql9::Mysql9;
use crate::server::{connect_at, endpoint_at, port, run_at, spec, whole};

/// Transactions of several rows until told to stop, with `pause` between them.
async fn write(
    port: u16,
    database: String,
    stop: Arc<AtomicBool>,
    pause: Duration,
    count: Arc<AtomicU32>,
) {
    let mut conn = connect_at(port, &database).await;
    while !stop.load(Ordering::Relaxed) {
        let mut done = Ok(());
        for sql in [
            "BEGIN",
            "INSERT INTO t VALUES (1, 'dup'), (1, 'dup'), (2, NULL)",
            "UPDATE t SET a = a + 1 WHERE a < 5 LIMIT 2",
            "DELETE FROM t WHERE a > 3 LIMIT 1",
            "COMMIT",
        ] {
            if done.is_ok() {
                done = conn.query_drop(sql).await;
            }
        }
        match done {
            Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
            // Without a key each locks what the others wrote: a deadlock is one's end.
            Err(error) => {
                assert!(error.to_string().contains("1213"), "{error}");
                conn.query_drop("ROLLBACK").await.expect("rolled back");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reads table t pinned; its place and rows.
async fn pinned(source: &Mysql, table: &common::schema::TableSchema) -> (String, Rows) {
    let request = ReadRequest {
        pinned: true,
        ..whole(table, table, CellForm::Native)
    };
    let mut reader = source.read(request).await.expect("opened");
    let place = reader.snapshot().expect("a place");
    let mut rows = Rows::new();
    while let Some(batch) = reader.next().await.expect("read") {
        for row in rows_of(&batch) {
            *rows.entry(row).or_default() += 1;
        }
    }
    (place, rows)
}

async fn splits(port: u16, engine: &str, pause: Duration) {
    let database = format!("pinned_{}_{}", engine.to_lowercase(), pause.as_millis());
    let from = end(port).await;
    run_at(
        port,
        "",
        &[
            &format!("DROP DATABASE IF EXISTS {database}"),
            &format!("CREATE DATABASE {database}"),
            &format!("CREATE TABLE {database}.t (a INT, b VARCHAR(9)) ENGINE={engine}"),
        ],
    )
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (database, stop) = (database.clone(), stop.clone());
            tokio::spawn(write(port, database, stop, pause, written.clone()))
        })
        .collect();
    let source = Mysql::new(&endpoint_at(port, &database), &Secrets::default()).expect("valid");
    let inspection = source
        .inspect(Role::Source, &spec())
        .await
        .expect("inspected");
    let table = &inspection.tables[0];
    let mut reads = Vec::new();
    let moving = || written.load(Ordering::Relaxed) > 8;
    while reads.len() < 8 || (!moving() && reads.len() < 500) {
        reads.push(pinned(&source, table).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("ran");
    }
    assert!(moving(), "nobody wrote");
    let places: std::collections::BTreeSet<_> = reads.iter().map(|(place, _)| place).collect();
    assert!(places.len() > 1, "nothing was written between the reads");
    for (place, rows) in reads {
        let (file, offset) = place.rsplit_once(':').expect("file and offset");
        let until = (file.as_bytes().to_vec(), offset.parse().expect("a number"));
        let nets = net(port, &database, &inspection.tables, &from, Some(until)).await;
        let logged = &nets["t"][0];
        assert_eq!(logged.error, None);
        assert!(
            logged.rows == rows,
            "{engine} {pause:?}: {place} splits wrongly"
        );
    }
}

const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(60)];

#[tokio::test]
async fn a_pinned_read_has_its_place_in_the_log_on_mariadb() {
    for pause in PAUSES {
        splits(port(), "InnoDB", pause).await;
    }
    splits(port(), "MyISAM", PAUSES[1]).await;
}

#[tokio::test]
async fn a_pinned_read_has_its_place_in_the_log_on_mysql_9() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    for pause in PAUSES {
        splits(server.port, "InnoDB", pause).await;
    }
}
