//! What may not be there after a job: prepared transactions, bookkeeping, sessions.

use mysql_async::prelude::Queryable;
use sqlx::Connection;

use super::lab::{Database, mysql};
use super::oracle::sqlite;
use super::server::Server;
use super::wait::{secs, until};

/// Asserts that the server, which the test has for itself, holds nothing of ours.
pub async fn none_on(server: &Server) {
    assert_eq!(
        prepared(server).await,
        Vec::<String>::new(),
        "prepared transactions are left"
    );
    let databases = server.databases().await;
    assert!(
        !databases.contains(&"sterna".to_owned()),
        "the database `sterna` is left"
    );
    let mut conn = server.connect("").await;
    let tables: Vec<String> = conn
        .query(
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
             WHERE table_name LIKE '%sterna%'",
        )
        .await
        .expect("a list");
    let _ = conn.disconnect().await;
    assert!(tables.is_empty(), "tables of ours are left: {tables:?}");
    // The server notices a closed connection a moment later than the client closed it.
    until("our sessions to be gone", secs(10), || async {
        sessions(server).await.is_empty().then_some(())
    })
    .await;
}

/// The same for a server known by its URL, in the words of MySQL 9.
pub async fn none_at(url: &str) {
    let mut conn = mysql(url).await;
    let prepared: Vec<mysql_async::Row> = conn.query("XA RECOVER").await.expect("a list");
    assert!(prepared.is_empty(), "prepared transactions are left");
    let tables: Vec<String> = conn
        .query(
            "SELECT CONCAT(schema_name, '.') FROM information_schema.schemata \
             WHERE schema_name = 'sterna' UNION ALL \
             SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
             WHERE table_name LIKE '%sterna%'",
        )
        .await
        .expect("a list");
    let _ = conn.disconnect().await;
    assert!(tables.is_empty(), "tables of ours are left: {tables:?}");
    until("our sessions to be gone", secs(10), || async {
        let mut conn = mysql(url).await;
        let sessions: Vec<u64> = conn
            .query(
                "SELECT id FROM performance_schema.processlist WHERE id <> CONNECTION_ID() \
                 AND user NOT IN ('system user', 'event_scheduler')",
            )
            .await
            .expect("a list");
        let _ = conn.disconnect().await;
        sessions.is_empty().then_some(())
    })
    .await;
}

/// Asserts that a PostgreSQL database, which the test has for itself, holds nothing of ours.
pub async fn none_in_postgres(database: &Database) {
    let mut conn = database.pg().await;
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE database = current_database() \
         UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'sterna' \
         UNION ALL SELECT 'relation ' || relname FROM pg_class WHERE relname LIKE 'sterna\\_%' \
         UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
         UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots \
         WHERE database = current_database()",
    )
    .fetch_all(&mut conn)
    .await
    .expect("a list");
    assert!(found.is_empty(), "left: {found:?}");
    let _ = conn.close().await;
    let sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                    AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')";
    until("our sessions to be gone", secs(10), || async {
        let mut conn = database.pg().await;
        let left: Vec<i32> = sqlx::query_scalar(sessions)
            .fetch_all(&mut conn)
            .await
            .expect("a list");
        let _ = conn.close().await;
        left.is_empty().then_some(())
    })
    .await;
}

/// The prepared XA transactions the server lists.
pub async fn prepared(server: &Server) -> Vec<String> {
    let mut conn = server.connect("").await;
    let rows: Vec<(i64, i64, i64, Vec<u8>)> = conn.query("XA RECOVER").await.expect("a list");
    let _ = conn.disconnect().await;
    rows.into_iter()
        .map(|row| String::from_utf8_lossy(&row.3).into_owned())
        .collect()
}

/// Client sessions other than the asking one, as `id user db state`.
pub async fn sessions(server: &Server) -> Vec<String> {
    let mut conn = server.connect("").await;
    let rows: Vec<String> = conn
        .query(
            "SELECT CONCAT_WS(' ', id, user, db, command, info) FROM information_schema.processlist \
             WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')",
        )
        .await
        .expect("a list");
    let _ = conn.disconnect().await;
    rows
}

/// Asserts that a SQLite file holds no table and no trigger of ours.
pub async fn none_named_in_sqlite(path: &str) {
    let mut conn = sqlite(path).await;
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE name LIKE '%sterna%'")
            .fetch_all(&mut conn)
            .await
            .expect("a list");
    assert!(names.is_empty(), "tables of ours are left: {names:?}");
}

/// The same of a target, and no journal lies beside it.
pub async fn none_in_sqlite(path: &str) {
    none_named_in_sqlite(path).await;
    for suffix in ["-journal", "-wal"] {
        let beside = format!("{path}{suffix}");
        let length = std::fs::metadata(&beside).map_or(0, |meta| meta.len());
        assert_eq!(length, 0, "{beside} is left");
    }
}
