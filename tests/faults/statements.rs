//! Somebody else at work on the same servers: locks held for long, a deadlock whose victim is the
//! job's transaction, queries cancelled and sessions ended by an administrator. The job goes on by
//! itself.

use std::time::{Duration, Instant};

use super::hands::{Client, Holder, pass, texts};
use super::pool::{Engine, Server};
use super::scene::Scene;
use crate::harness::lab::Database;
use crate::harness::wait::secs;

/// Longer than the job waits for a lock before it tries again.
const HELD: Duration = Duration::from_secs(5);
/// Fewer than a unit's attempts, whichever unit they hit.
const KILLED_MAX: usize = 6;

/// Fence and ledger of a target, as its statements name them.
pub fn books(target: &Database, table: &str) -> String {
    match target.kind {
        crate::harness::lab::Kind::Sqlite => format!("sterna_{table}"),
        _ => format!("sterna.{table}"),
    }
}

/// A table that is being loaded is locked against everybody for a while.
pub async fn table_locked(scene: &mut Scene) {
    let mut holder = Holder::of(&scene.target).await;
    let statements: &[&str] = match scene.engine {
        Engine::Mariadb | Engine::Mysql9 => {
            &["SET lock_wait_timeout = 60", "LOCK TABLES reading WRITE"]
        }
        Engine::Sqlite => &["BEGIN EXCLUSIVE"],
        _ => &["BEGIN", "LOCK TABLE reading IN ACCESS EXCLUSIVE MODE"],
    };
    for statement in statements {
        holder
            .run(statement)
            .await
            .expect("the lock is had in the end");
    }
    pass(HELD).await;
    let end = match scene.engine {
        Engine::Mariadb | Engine::Mysql9 => "UNLOCK TABLES",
        _ => "ROLLBACK",
    };
    holder.run(end).await.expect("it is let go");
    holder.let_go().await;
}

/// Every row of the fence is locked for a while.
pub async fn books_locked(scene: &mut Scene) {
    let mut holder = Holder::of(&scene.target).await;
    let fence = books(&scene.target, "fence");
    holder.run("BEGIN").await.expect("it begins");
    // It may lose a deadlock against the job: then there was one, which is as good.
    let locked = holder
        .run(&format!("SELECT n FROM {fence} FOR UPDATE"))
        .await;
    if locked.is_ok() {
        pass(HELD).await;
    }
    holder.run("ROLLBACK").await.expect("it ends");
    holder.let_go().await;
}

/// Tables into which a transaction of the job has loaded rows that aren't committed.
async fn uncommitted(scene: &Scene) -> Vec<&'static str> {
    const TABLES: [&str; 5] = ["customer", "product", "purchase", "reading", "logbook"];
    let count = |table: &'static str, level: &'static str| async move {
        let Holder::Mysql(mut conn) = Holder::of(&scene.target).await else {
            return 0;
        };
        use mysql_async::prelude::Queryable;
        let set = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
        conn.query_drop(set).await.expect("a level");
        let rows = conn.query_first::<u64, _>(format!("SELECT COUNT(*) FROM {table}"));
        let rows = rows.await.expect("a count").unwrap_or_default();
        let _ = conn.disconnect().await;
        rows
    };
    let mut found = Vec::new();
    for table in TABLES {
        // Committed after the first look isn't uncommitted by the second.
        let all = count(table, "READ UNCOMMITTED").await;
        if count(table, "READ COMMITTED").await < all {
            found.push(table);
        }
    }
    found
}

/// A table that holds uncommitted rows at two looks in a row: the held transaction's.
async fn held_table(scene: &Scene) -> &'static str {
    let started = Instant::now();
    let mut before = uncommitted(scene).await;
    while started.elapsed() < HELD {
        pass(Duration::from_millis(500)).await;
        let now = uncommitted(scene).await;
        if let Some(table) = now.iter().find(|table| before.contains(table)) {
            return table;
        }
        before = now;
    }
    panic!("something is loaded and not committed");
}

/// Another session locks the fence and waits for a row of the job's transaction, which then waits
/// for the fence. The other has done more, so the server gives up the job's.
pub async fn deadlock_victim(scene: &mut Scene) {
    let postgres = scene.servers.target.as_ref().expect("served").is_postgres();
    let fence = books(&scene.target, "fence");
    // In PostgreSQL committed rows are passed over, and the first that isn't is waited for.
    let wait = match postgres {
        true => {
            let ids = texts(&scene.source, "SELECT id::text FROM reading ORDER BY id").await;
            let rows: Vec<String> = ids.iter().map(|id| format!("({id}, 'x')")).collect();
            let rows = rows.join(",");
            format!("INSERT INTO reading (id, sensor) VALUES {rows} ON CONFLICT DO NOTHING")
        }
        false => {
            // What isn't committed a while later belongs to the transaction that is held.
            let table = held_table(scene).await;
            format!("SELECT * FROM {table} FOR UPDATE")
        }
    };
    let mut other = Holder::of(&scene.target).await;
    let mut all = Vec::new();
    if postgres {
        // The victim is who looks first.
        all.push("SET deadlock_timeout = '30s'".to_owned());
        all.push("BEGIN".to_owned());
    } else {
        all.push("CREATE TABLE IF NOT EXISTS weight (x INT)".to_owned());
        all.push("SET innodb_lock_wait_timeout = 60".to_owned());
        all.push("BEGIN".to_owned());
        all.push(format!(
            "INSERT INTO weight VALUES {}",
            vec!["(1)"; 20_000].join(",")
        ));
    }
    all.push(format!("SELECT n FROM {fence} FOR UPDATE"));
    for statement in &all {
        other.run(statement).await.expect("nobody is in its way");
    }
    let waited = Instant::now();
    let won = other.run(&wait).await;
    println!("   waited {:?}: {won:?}", waited.elapsed());
    other.run("ROLLBACK").await.expect("it ends");
    if !postgres {
        other.run("DROP TABLE weight").await.expect("it goes");
    }
    other.let_go().await;
    won.expect("the job's transaction was the victim");
}

/// Ends what new busy sessions do, once each, until so many were hit or time is over.
async fn kill_busy(server: &Server, mut hits: usize) {
    let started = Instant::now();
    let mut seen: Vec<u64> = Vec::new();
    while hits > 0 && started.elapsed() < HELD {
        let clients = server.clients().await;
        let fresh: Vec<Client> = { clients.into_iter() }
            .filter(|client| client.busy && !seen.contains(&client.id))
            .collect();
        for client in fresh.into_iter().take(hits) {
            seen.push(client.id);
            hits -= usize::from(server.kill_query(&client).await);
        }
        pass(Duration::from_millis(20)).await;
    }
    println!("   {} queries ended", KILLED_MAX - hits);
}

pub async fn queries_killed(scene: &mut Scene) {
    let target = scene.servers.target.as_ref().expect("served");
    kill_busy(target, KILLED_MAX).await;
}

async fn kill_all(server: &Server) {
    let mut killed = 0;
    for client in server.clients().await {
        killed += usize::from(server.kill_session(&client).await);
    }
    println!("   {killed} sessions ended");
}

/// All sessions of the job, and a second later those that took their place.
pub async fn sessions_killed(scene: &mut Scene) {
    let target = scene.servers.target.as_ref().expect("served");
    kill_all(target).await;
    pass(secs(1)).await;
    kill_all(target).await;
}

/// Sessions that read, a few one after the other.
pub async fn source_sessions_killed(scene: &mut Scene) {
    let source = scene.servers.source.as_ref().expect("served");
    let started = Instant::now();
    let mut killed = 0;
    while killed < KILLED_MAX && started.elapsed() < HELD {
        for client in source.clients().await {
            killed += usize::from(source.kill_session(&client).await);
        }
        pass(Duration::from_millis(20)).await;
    }
    println!("   {killed} sessions ended");
    assert!(killed > 0, "nobody read");
}
