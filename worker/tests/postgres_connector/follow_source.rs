//! PostgreSQL as a server that is followed: slots and their owners, restarts, what is in the way,
//! snapshots among its transactions.

use std::time::Duration;

use common::change::{LogFacts, LogOrder, Secured};
use common::code::{Code, ErrorClass};
use common::id::TableNo;
use common::schema::{CellForm, TableSchema};
use common::value::RowBatch;
use tokio::time::{sleep, timeout};
use worker::connector::changes::Event;
use worker::connector::postgres::Postgres;
use worker::connector::{ChangeStream, Connector, Error, FetchRequest, ReadRequest};

use crate::follow::{
    PATIENCE, Row, left, open, plans, read, request, rows, secure, server, story, until, work,
};
use crate::postgres::Server;
use crate::support::{connector, job};

/// The error that ends a stream.
async fn ends(stream: &mut dyn ChangeStream) -> Error {
    let ended = async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("it ends")
}

#[tokio::test]
async fn the_newest_owner_has_the_slot_and_goes_on_from_its_own_position() {
    let server = server();
    server.create("owners");
    server.sql("owners", "CREATE TABLE t (id int PRIMARY KEY)");
    let source = connector(&server.url("owners"));
    let tables = plans(&source, &server.url("owners"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &tables).await;
    let mut older = open(&source, &job, &tables, &from).await;
    server.sql(
        "owners",
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    );
    let end = source.log_end().await.expect("an end");
    let events = until(older.as_mut(), &end).await;
    let commits = events.iter().filter_map(|event| match event {
        Event::Commit { position, .. } => Some(position.clone()),
        _ => None,
    });
    let first = commits.clone().next().expect("two commits");
    let begins = events
        .iter()
        .filter(|event| matches!(event, Event::Begin(_)));
    assert_eq!((commits.count(), begins.count()), (2, 2));
    let after = Secured {
        position: first.clone(),
        identity: from.identity.clone(),
    };
    let mut newer = open(&source, &job, &tables, &after).await;
    let events = until(newer.as_mut(), &end).await;
    assert_eq!(story(&tables, &events), ["t: insert 2", "commit"]);
    let error = ends(older.as_mut()).await;
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    source.release(&job).await.expect("released");
    let error = source.changes(request(&job, &tables, &after)).await.err();
    let failure = error.expect("no slot").failure;
    assert_eq!(failure.code, Code::LogLost, "{failure}");
    assert_eq!(left(server, &job), "");
}

#[tokio::test]
async fn a_quiet_slot_moves_on() {
    let server = server();
    server.create("quiet");
    let sql = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)";
    server.sql("quiet", sql);
    let source = connector(&server.url("quiet"));
    let mut tables = plans(&source, &server.url("quiet"), CellForm::Native).await;
    tables.retain(|plan| plan.source.name == "t");
    let job = job();
    let from = secure(&source, &job, &tables).await;
    let mut stream = open(&source, &job, &tables, &from).await;
    server.sql("quiet", "INSERT INTO other SELECT generate_series(1, 1000)");
    let end = source.log_end().await.expect("an end");
    assert_eq!(until(stream.as_mut(), &end).await, []);
    let confirmed = format!(
        "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = \
         'sterna_{job}'"
    );
    let moved = async {
        while server.sql("quiet", &confirmed) != "t" {
            match stream.next().await.expect("an event") {
                Event::Idle { position } => stream.confirm(&position).await.expect("confirmed"),
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, moved).await.expect("the slot moves");
    let state = source.log_state(&job, &end).await.expect("known");
    let near = state.behind_bytes < 64 << 20;
    assert!(near && state.headroom_bytes.is_none(), "{state:?}");
    drop(stream);
    // What was confirmed can't be had again.
    let error = source.changes(request(&job, &tables, &from)).await.err();
    let failure = error.expect("gone").failure;
    assert_eq!(failure.code, Code::LogLost, "{failure}");
    source.release(&job).await.expect("released");
}

#[tokio::test]
async fn a_server_that_was_killed_goes_on_where_it_was() {
    let server = Server::start(&[]);
    server.create("killed");
    server.sql("killed", "CREATE TABLE t (id int PRIMARY KEY)");
    let source = connector(&server.url("killed"));
    let tables = plans(&source, &server.url("killed"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &tables).await;
    let mut stream = open(&source, &job, &tables, &from).await;
    server.sql("killed", "INSERT INTO t VALUES (1)");
    let end = source.log_end().await.expect("an end");
    until(stream.as_mut(), &end).await;
    server.kill();
    let error = ends(stream.as_mut()).await;
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    server.restart();
    server.sql("killed", "INSERT INTO t VALUES (2)");
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job, &tables, &from).await.as_mut(), &end).await;
    let all = ["t: insert 1", "commit", "t: insert 2", "commit"];
    assert_eq!(story(&tables, &events), all);
    // The same positions on another server are nothing.
    let other = Server::start(&[]);
    other.create("killed");
    let other = connector(&other.url("killed"));
    let error = other.changes(request(&job, &tables, &from)).await.err();
    assert_eq!(error.expect("another").failure.code, Code::SourceOther);
}

/// A log that was removed, because the slot was too far behind.
#[tokio::test]
async fn a_slot_that_was_invalidated_is_named() {
    let settings = ["max_slot_wal_keep_size=16MB", "min_wal_size=32MB"];
    let server = Server::start(&settings);
    server.create("lost");
    server.sql(
        "lost",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (v text)",
    );
    let source = connector(&server.url("lost"));
    let mut tables = plans(&source, &server.url("lost"), CellForm::Native).await;
    tables.retain(|plan| plan.source.name == "t");
    let job = job();
    let from = secure(&source, &job, &tables).await;
    let state = source.log_state(&job, &from.position).await.expect("known");
    assert!(
        state.headroom_bytes.is_some_and(|bytes| bytes > 0),
        "{state:?}"
    );
    let fill = "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT \
                pg_switch_wal(); CHECKPOINT; ";
    server.sql("lost", &fill.repeat(4));
    let error = source.changes(request(&job, &tables, &from)).await.err();
    let failure = error.expect("lost").failure;
    assert_eq!(failure.code, Code::LogLost, "{failure}");
    assert!(failure.what.contains("was invalidated"), "{failure}");
    source.release(&job).await.expect("released");
    assert_eq!(left(&server, &job), "");
}

#[tokio::test]
async fn a_publication_that_was_altered_is_named() {
    let server = server();
    server.create("altered");
    let sql = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)";
    server.sql("altered", sql);
    let source = connector(&server.url("altered"));
    let tables = plans(&source, &server.url("altered"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &tables).await;
    for (alter, words) in [
        (
            format!("ALTER PUBLICATION sterna_{job} DROP TABLE t"),
            "no longer has \"public\".\"t\"",
        ),
        (
            format!("ALTER PUBLICATION sterna_{job} SET (publish = 'insert')"),
            "was altered",
        ),
        (format!("DROP PUBLICATION sterna_{job}"), "is gone"),
    ] {
        server.sql("altered", &alter);
        let error = source.changes(request(&job, &tables, &from)).await.err();
        let failure = error.expect("altered").failure;
        assert_eq!(failure.code, Code::LogLost, "{failure}");
        assert!(failure.what.contains(words), "{failure}");
    }
    source.release(&job).await.expect("released");
}

const WAYS: &str = "
CREATE TABLE ok (id int PRIMARY KEY);
CREATE TABLE whole (a int); ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE keyless (a int);
CREATE UNLOGGED TABLE un (id int PRIMARY KEY);
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE other (id int PRIMARY KEY, u int NOT NULL UNIQUE);
ALTER TABLE other REPLICA IDENTITY USING INDEX other_u_key;
CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA public TO plain;
";

async fn failure(source: &Postgres, schemas: &[TableSchema]) -> common::code::Failure {
    match source.log_facts(schemas).await.expect("known") {
        LogFacts::Unusable(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named_with_what_mends_it() {
    let server = server();
    server.create("facts");
    server.sql("facts", WAYS);
    let source = connector(&server.url("facts"));
    let tables = plans(&source, &server.url("facts"), CellForm::Native).await;
    let schemas: Vec<TableSchema> = tables.iter().map(|plan| plan.source.clone()).collect();
    let found = failure(&source, &schemas).await;
    assert_eq!(found.code, Code::LogUnusable);
    let named = [
        "keyless has no",
        "un is unlogged",
        "late has no",
        "nothing has no",
        "other (u) does",
    ];
    for name in named {
        assert!(found.what.contains(name), "{name}: {found}");
    }
    assert_eq!(found.fixes.len(), named.len(), "{:?}", found.fixes);
    let plain = connector(&server.url("facts").replace("postgres@", "plain@"));
    let rights = failure(&plain, &schemas[..1]).await;
    for name in ["REPLICATION", "may not create", "only an owner"] {
        assert!(rights.what.contains(name), "{name}: {rights}");
    }
    let job = job();
    let error = source
        .secure(work(&job, &tables))
        .await
        .expect_err("refused");
    assert_eq!(error.failure.code, Code::LogUnusable);
    assert_eq!(left(server, &job), "");
    for fix in &found.fixes {
        server.sql("facts", fix);
    }
    let facts = source.log_facts(&schemas).await.expect("known");
    assert_eq!(facts, LogFacts::Usable);
}

#[tokio::test]
async fn rows_come_by_key_as_the_reader_gives_them() {
    let server = server();
    server.create("fetch");
    server.sql(
        "fetch",
        r"CREATE TABLE t (b bytea, z timestamptz, w bit(5), c char(4), f bool, v text, PRIMARY KEY
          (b, z, w, c, f)); INSERT INTO t SELECT decode(lpad(to_hex(g), 4, '0') || '5c27', 'hex'),
          timestamptz '2020-01-01 00:00:00.5+00' + g * interval '1 h', g::bit(5), E'\\''' || g, g % 2
          = 0, E'\n' || g FROM generate_series(1, 30) g",
    );
    let source = connector(&server.url("fetch"));
    for form in [CellForm::Native, CellForm::Canonical] {
        let plan = plans(&source, &server.url("fetch"), form).await.remove(0);
        let mut all = read(&source, &plan).await;
        all.sort();
        let mut keys = RowBatch::new(5);
        for cell in all.iter().skip(10).flat_map(|row| &row[..5]) {
            keys.push(cell.as_ref().expect("a key"));
        }
        // A key that isn't there.
        for cell in all[0][..4].iter().chain(&all[1][4..5]) {
            keys.push(cell.as_ref().expect("a key"));
        }
        let request = FetchRequest {
            table: plan,
            no: TableNo(0),
            keys,
        };
        let mut found = rows(&source.fetch(request).await.expect("fetched"));
        found.sort();
        let expected: Vec<Row> = all.iter().skip(10).cloned().collect();
        assert_eq!(found, expected, "{form:?}");
    }
}

#[tokio::test]
async fn a_pinned_read_knows_which_transactions_it_holds() {
    let server = server();
    server.create("pinned");
    server.sql(
        "pinned",
        "CREATE TABLE t (a int); ALTER TABLE t REPLICA IDENTITY FULL",
    );
    let source = connector(&server.url("pinned"));
    let tables = plans(&source, &server.url("pinned"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &tables).await;
    server.sql(
        "pinned",
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    );
    let mut pinned = ReadRequest::source(&tables[0], Vec::new(), Vec::new());
    pinned.pinned = true;
    let mut reader = source.read(pinned).await.expect("opened");
    let mut read = 0;
    while let Some(batch) = reader.next().await.expect("read") {
        read += batch.rows();
    }
    let snapshot = reader.snapshot().expect("pinned");
    drop(reader);
    server.sql("pinned", "INSERT INTO t VALUES (3)");
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job, &tables, &from).await.as_mut(), &end).await;
    let held: Vec<bool> = events
        .iter()
        .filter_map(|event| match event {
            Event::Begin(origin) => Some(source.is_in(origin, &snapshot).expect("known")),
            _ => None,
        })
        .collect();
    assert_eq!((read, held), (2, vec![true, true, false]));
    source.release(&job).await.expect("released");
}

#[tokio::test]
async fn securing_waits_for_open_transactions_and_can_be_repeated() {
    let server = Server::start(&[]);
    server.create("open");
    server.sql("open", "CREATE TABLE t (id int PRIMARY KEY)");
    let source = connector(&server.url("open"));
    let tables = plans(&source, &server.url("open"), CellForm::Native).await;
    let job = job();
    let first = secure(&source, &job, &tables).await;
    let prepare = "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'held'";
    server.sql("open", prepare);
    let (other, again) = (connector(&server.url("open")), work(&job, &tables));
    let securing = tokio::spawn(async move { other.secure(again).await });
    // It is there, and waits.
    let waits = async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'";
        while server.sql("open", sql) != "1" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waits).await.expect("it waits");
    assert!(!securing.is_finished());
    server.sql("open", "COMMIT PREPARED 'held'");
    let secured = timeout(PATIENCE, securing).await.expect("it ends");
    let secured = secured.expect("no panic").expect("secured");
    assert!(secured.position.order > first.position.order);
    assert_eq!(secured.identity, first.identity);
    let LogOrder(file, _) = secured.position.order;
    assert_eq!(file, 0);
    source.release(&job).await.expect("released");
    source.release(&job).await.expect("nothing there");
    assert_eq!(left(&server, &job), "");
}

#[tokio::test]
async fn a_position_is_a_slot_and_a_place() {
    let server = server();
    server.create("from");
    server.sql(
        "from",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION mine FOR TABLE t; SELECT \
         pg_create_logical_replication_slot('mine', 'pgoutput'); SELECT \
         pg_create_logical_replication_slot('bare', 'pgoutput'); INSERT INTO t VALUES (1)",
    );
    let source = connector(&server.url("from"));
    let tables = plans(&source, &server.url("from"), CellForm::Native).await;
    let place = "SELECT slot_name || '@' || confirmed_flush_lsn FROM pg_replication_slots WHERE \
                 slot_name = ";
    let mine = server.sql("from", &format!("{place} 'mine'"));
    let from = source.log_position(&mine).await.expect("a position");
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job(), &tables, &from).await.as_mut(), &end).await;
    assert_eq!(story(&tables, &events), ["t: insert 1", "commit"]);
    let bare = server.sql("from", &format!("{place} 'bare'"));
    for (wrong, code) in [
        ("mine", Code::Usage),
        ("mine@x", Code::Usage),
        ("it's@0/1", Code::Usage),
        ("none@0/1", Code::LogLost),
        ("mine@0/1", Code::LogLost),
        (bare.as_str(), Code::Usage),
    ] {
        let error = source.log_position(wrong).await.expect_err(wrong);
        assert_eq!(error.failure.code, code, "{wrong}: {error}");
    }
    for slot in ["mine", "bare"] {
        let drop = format!(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE \
             slot_name = '{slot}' AND active; SELECT pg_drop_replication_slot('{slot}')"
        );
        server.sql("from", &drop);
    }
}
