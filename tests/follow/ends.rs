//! The two ends of a living scene: servers of its own from a pool, durable ones, one on a small disk;
//! what is left there at the end.

use std::sync::Mutex;

use crate::faults::pool::{Engine, Server, fresh_name};
use crate::harness::cluster::Cluster;
use crate::harness::disk::Disk;
use crate::harness::lab::Database;
use crate::harness::mysql9::Mysql9;
use crate::harness::proxy::Proxy;
use crate::harness::{leftovers, postgres, server};

pub async fn proxy(server: Option<&Server>) -> Option<Proxy> {
    Some(Proxy::to(server?.port()).await)
}

static POOL: Mutex<Vec<(Engine, Server)>> = Mutex::new(Vec::new());

/// A server of that engine; outer None when MySQL 9 is off, inner None for SQLite.
pub async fn lend(engine: Engine) -> Option<Option<Server>> {
    if engine == Engine::Sqlite {
        return Some(None);
    }
    let idle = {
        let mut pool = POOL.lock().expect("never held across a panic");
        let found = pool.iter().position(|(of, _)| *of == engine);
        found.map(|i| pool.swap_remove(i).1)
    };
    match idle {
        Some(server) => Some(Some(server)),
        None => Some(Some(Server::start(engine).await?)),
    }
}

/// A server with durable settings; as a target it keeps no log of its own. None for SQLite.
pub async fn durable(engine: Engine, is_source: bool) -> Option<Server> {
    let flushed = "--innodb-flush-log-at-trx-commit=1";
    match engine {
        Engine::Mariadb => {
            let log = if is_source {
                "--sync-binlog=1"
            } else {
                "--skip-log-bin"
            };
            let id = if is_source {
                "--server-id=1"
            } else {
                "--server-id=2"
            };
            let server = server::Server::start(&[flushed, log, id]).await;
            Some(Server::Mariadb(server))
        }
        Engine::Mysql9 => Mysql9::with(&[flushed, "--sync-binlog=1"]).map(Server::Mysql9),
        Engine::Sqlite => None,
        _ => Some(Server::Postgres(postgres::Server::start(&["fsync=on"]))),
    }
}

pub async fn on_disk(engine: Engine, disk: &Disk) -> Option<Server> {
    let place = disk.path().join("server");
    match engine {
        Engine::Mariadb => {
            std::fs::create_dir(&place).expect("an empty disk");
            let small = [
                "--innodb-log-file-size=16M",
                "--innodb-buffer-pool-size=64M",
            ];
            let server = server::Server::start_in(place, &small).await;
            Some(Server::Mariadb(server))
        }
        Engine::Sqlite => None,
        Engine::Mysql9 => panic!("MySQL 9 has a place of its own; don't ask for its disk"),
        _ => Some(Server::Postgres(postgres::Server::start_in(place, &[]))),
    }
}

pub async fn database(
    engine: Engine,
    server: Option<&Server>,
    cluster: &Cluster,
    end: &str,
    disk: Option<&Disk>,
) -> Database {
    let kind = engine.kind();
    let Some(server) = server else {
        let path = match disk {
            Some(disk) => disk.path().join("target.db").display().to_string(),
            None => cluster.dir.file(&format!("{end}.db")),
        };
        return Database {
            kind,
            url: format!("sqlite:{path}"),
            name: path,
        };
    };
    let name = format!("{end}_{}", fresh_name());
    server.create(&name).await;
    Database {
        kind,
        url: server.url(&name),
        name,
    }
}

/// Back into the pool; the database goes.
pub async fn give_back(engine: Engine, server: Option<Server>, database: &Database) {
    let Some(server) = server else { return };
    server.drop_database(&database.name).await;
    let mut pool = POOL.lock().expect("never held across a panic");
    pool.push((engine, server));
}

/// Nothing of ours is left there.
pub async fn clean(server: Option<&Server>, database: &Database) {
    match server {
        Some(server) => server.assert_clean(database).await,
        None => leftovers::none_named_in_sqlite(&database.name).await,
    }
}
