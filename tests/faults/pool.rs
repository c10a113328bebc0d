//! The servers of the matrix: a pair per scene, one with the data, another as target, each a process
//! of its own that the scene may kill. Pairs are built once and lent again when they were left in
//! order; what a failed scene had is thrown away.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::prelude::Queryable;
use tokio::sync::OnceCell;

use super::dataset;
use crate::harness::lab::{Database, Kind, mysql, mysql_exec};
use crate::harness::mysql9::Mysql9;
use crate::harness::{leftovers, postgres, server};

/// The engines of the matrix; PostgreSQL twice, as its target can or can't prepare transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    Mariadb,
    Mysql9,
    PostgresPrepared,
    PostgresHeld,
    Sqlite,
}

impl Engine {
    pub const ALL: [Engine; 5] = [
        Engine::Mariadb,
        Engine::Mysql9,
        Engine::PostgresPrepared,
        Engine::PostgresHeld,
        Engine::Sqlite,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Mariadb => "mariadb",
            Engine::Mysql9 => "mysql9",
            Engine::PostgresPrepared => "postgres-prepared",
            Engine::PostgresHeld => "postgres-held",
            Engine::Sqlite => "sqlite",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Engine::Mariadb => Kind::Mariadb,
            Engine::Mysql9 => Kind::Mysql9,
            Engine::PostgresPrepared | Engine::PostgresHeld => Kind::Postgres,
            Engine::Sqlite => Kind::Sqlite,
        }
    }
}

/// A server process of the scene's own.
pub enum Server {
    Mariadb(server::Server),
    Mysql9(Mysql9),
    Postgres(postgres::Server),
}

impl Server {
    /// None when MySQL 9 is off.
    pub async fn start(engine: Engine) -> Option<Server> {
        let blocking = tokio::task::spawn_blocking(move || match engine {
            Engine::Mysql9 => Mysql9::start().map(Server::Mysql9),
            Engine::PostgresHeld => Some(Server::Postgres(postgres::Server::start(&[
                "max_prepared_transactions=0",
            ]))),
            _ => Some(Server::Postgres(postgres::Server::start(&[]))),
        });
        match engine {
            Engine::Mariadb => Some(Server::Mariadb(server::Server::start(&[]).await)),
            _ => blocking.await.expect("servers start or panic"),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Server::Mariadb(server) => server.port,
            Server::Mysql9(server) => server.port,
            Server::Postgres(server) => server.port,
        }
    }

    /// The URL of a database on it, for its superuser.
    pub fn url(&self, database: &str) -> String {
        match self {
            Server::Postgres(server) => server.url(database),
            _ => format!("mysql://root@127.0.0.1:{}/{database}", self.port()),
        }
    }

    pub async fn create(&self, database: &str) {
        match self {
            Server::Postgres(server) => server.create(database),
            _ => mysql_exec(&self.url(""), &[format!("CREATE DATABASE `{database}`")]).await,
        }
    }

    pub async fn drop_database(&self, database: &str) {
        match self {
            Server::Postgres(server) => {
                let drop = format!("DROP DATABASE \"{database}\" WITH (FORCE)");
                server.sql("postgres", &drop);
            }
            _ => mysql_exec(&self.url(""), &[format!("DROP DATABASE `{database}`")]).await,
        }
    }

    /// Asserts that nothing of ours is left in `database` nor beside it.
    pub async fn assert_clean(&self, database: &Database) {
        match self {
            Server::Mariadb(server) => leftovers::none_on(server).await,
            Server::Mysql9(_) => leftovers::none_at(&self.url("")).await,
            Server::Postgres(_) => leftovers::none_in_postgres(database).await,
        }
    }
}

/// The two servers of a scene; None for SQLite, which has none.
pub struct Servers {
    pub source: Option<Server>,
    pub target: Option<Server>,
}

/// What a scene borrows.
pub struct Lent {
    pub servers: Servers,
    pub source: Database,
    /// The source's content as the server sums it up.
    pub content: String,
    pub engine: Engine,
}

static POOL: Mutex<Vec<Lent>> = Mutex::new(Vec::new());

/// A pair for `engine`; None when MySQL 9 is off. A SQLite source is a file of its own in `dir`.
pub async fn lend(engine: Engine, dir: &Path) -> Option<Lent> {
    if engine == Engine::Sqlite {
        return Some(in_file(dir).await);
    }
    let idle = {
        let mut pool = POOL.lock().expect("never held across a panic");
        let found = pool.iter().position(|lent| lent.engine == engine);
        found.map(|i| pool.swap_remove(i))
    };
    match idle {
        Some(lent) => Some(lent),
        None => build(engine).await,
    }
}

async fn build(engine: Engine) -> Option<Lent> {
    let kind = engine.kind();
    let server = Server::start(engine).await?;
    let target = Server::start(engine).await?;
    server.create("shop").await;
    let source = Database {
        kind,
        url: server.url("shop"),
        name: "shop".to_owned(),
    };
    source.exec(&dataset::statements(kind)).await;
    Some(Lent {
        servers: Servers {
            source: Some(server),
            target: Some(target),
        },
        content: content(&source).await,
        source,
        engine,
    })
}

async fn in_file(dir: &Path) -> Lent {
    static BYTES: OnceCell<Vec<u8>> = OnceCell::const_new();
    let path = dir.join("source.db").display().to_string();
    let source = Database {
        kind: Kind::Sqlite,
        url: format!("sqlite:{path}"),
        name: path.clone(),
    };
    let make = || async {
        let all = dataset::statements(Kind::Sqlite).join(";\n");
        source.script(&format!("BEGIN;\n{all};\nCOMMIT")).await;
        std::fs::read(&path).expect("just written")
    };
    let bytes = BYTES.get_or_init(make).await;
    std::fs::write(&path, bytes).expect("writable");
    Lent {
        servers: Servers {
            source: None,
            target: None,
        },
        content: content(&source).await,
        source,
        engine: Engine::Sqlite,
    }
}

impl Lent {
    /// Makes an empty target database.
    pub async fn target(&self, name: &str) -> Database {
        let target = self.servers.target.as_ref().expect("not SQLite");
        target.create(name).await;
        Database {
            kind: self.engine.kind(),
            url: target.url(name),
            name: name.to_owned(),
        }
    }

    /// Back into the pool; the target database goes.
    pub async fn give_back(self, target: &Database) {
        let Some(server) = &self.servers.target else {
            return;
        };
        server.drop_database(&target.name).await;
        POOL.lock().expect("never held across a panic").push(self);
    }
}

/// A name for a target database.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("copy_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Asserts that nothing of ours is left at either end.
pub async fn assert_clean(servers: &Servers, source: &Database, target: &Database) {
    for (server, database) in [(&servers.source, source), (&servers.target, target)] {
        match server {
            Some(server) => server.assert_clean(database).await,
            None => leftovers::none_in_sqlite(&database.name).await,
        }
    }
}

/// A sum over everything in the database that the server itself computes.
pub async fn content(database: &Database) -> String {
    const TABLES: [&str; 7] = [
        "customer",
        "product",
        "purchase",
        "purchase_line",
        "reading",
        "logbook",
        "nothing_yet",
    ];
    match database.kind {
        Kind::Sqlite => {
            let bytes = std::fs::read(&database.name).expect("the source's file");
            let sum = bytes.iter().fold(0u64, |sum, byte| {
                sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(*byte)
            });
            format!("{} bytes {sum:x}", bytes.len())
        }
        Kind::Postgres => {
            let mut conn = database.pg().await;
            let mut all = String::new();
            for table in TABLES {
                let query =
                    format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t");
                let sum: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                    .fetch_one(&mut conn)
                    .await
                    .expect("a sum");
                all.push_str(&format!("{table} {sum:?} "));
            }
            all
        }
        _ => {
            let mut conn = mysql(&database.url).await;
            let query = format!("CHECKSUM TABLE {}", TABLES.join(", "));
            let sums: Vec<(String, Option<u64>)> = conn.query(query).await.expect("sums");
            let _ = conn.disconnect().await;
            format!("{sums:?}")
        }
    }
}
