//! A database server of any engine that a test may break as it likes: kill, stop, start, fill its
//! disk, see and end its sessions, change its users. Servers that end in order are emptied and
//! used again. Knows nothing of jobs.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::prelude::Queryable;

use super::disk::Disk;
use super::mysql9::Mysql9;
use super::process::Dir;
use super::server::Server;
use super::{dataset, lab, oracle, postgres};

/// What a site is of. PostgreSQL twice: with and without prepared transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Make {
    Mariadb,
    Mysql9,
    Postgres,
    PostgresHeld,
    Sqlite,
}

impl Make {
    pub const ALL: [Make; 5] = [
        Make::Mariadb,
        Make::Mysql9,
        Make::Postgres,
        Make::PostgresHeld,
        Make::Sqlite,
    ];

    pub fn is_mysql(self) -> bool {
        matches!(self, Make::Mariadb | Make::Mysql9)
    }

    pub fn is_postgres(self) -> bool {
        matches!(self, Make::Postgres | Make::PostgresHeld)
    }

    /// Has a server, and so a network.
    pub fn is_served(self) -> bool {
        self != Make::Sqlite
    }
}

enum Body {
    Mariadb(Server),
    Mysql9(Mysql9),
    Postgres(postgres::Server),
    Sqlite(Dir),
}

/// One server with what is on it.
pub struct Site {
    pub make: Make,
    body: Body,
    /// After the server, which lives on it.
    disk: Option<Disk>,
    pooled: bool,
}

static POOL: Mutex<Vec<Site>> = Mutex::new(Vec::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A session at a server that isn't the asker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: u64,
    /// What it does or did last.
    pub says: String,
}

impl Site {
    /// A server out of the pool, or a new one; None = the tests were told to do without.
    pub async fn lend(make: Make) -> Option<Site> {
        let idle = {
            let mut pool = POOL.lock().expect("never held across a panic");
            let at = pool.iter().position(|site| site.make == make);
            at.map(|at| pool.swap_remove(at))
        };
        match idle {
            Some(site) => Some(site),
            None => Site::start(make, &[], None).await.map(|mut site| {
                site.pooled = true;
                site
            }),
        }
    }

    /// A server of its own with further options, maybe on a disk of its own.
    pub async fn start(make: Make, options: &[&str], disk: Option<Disk>) -> Option<Site> {
        let place = disk.as_ref().map(|disk| disk.path().to_owned());
        let held = ["max_prepared_transactions=0"];
        let body = match (make, place) {
            (Make::Mariadb, None) => Body::Mariadb(Server::start(options).await),
            (Make::Mariadb, Some(dir)) => Body::Mariadb(Server::start_in(dir, options).await),
            (Make::Mysql9, None) => Body::Mysql9(Mysql9::with(options)?),
            (Make::Postgres, None) => Body::Postgres(postgres::Server::start(options)),
            (Make::Postgres, Some(dir)) => Body::Postgres(postgres::Server::start_in(dir, options)),
            (Make::PostgresHeld, place) => {
                let options = [&held, options].concat();
                Body::Postgres(match place {
                    Some(dir) => postgres::Server::start_in(dir, &options),
                    None => postgres::Server::start(&options),
                })
            }
            (Make::Sqlite, _) => Body::Sqlite(Dir::new()),
            (Make::Mysql9, Some(_)) => panic!("MySQL 9 has its own place"),
        };
        Some(Site {
            make,
            body,
            disk,
            pooled: false,
        })
    }

    /// The port; 0 where there is none.
    pub fn port(&self) -> u16 {
        match &self.body {
            Body::Mariadb(server) => server.port,
            Body::Mysql9(server) => server.port,
            Body::Postgres(server) => server.port,
            Body::Sqlite(_) => 0,
        }
    }

    /// The disk it was given.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started on one")
    }

    /// `kill -9`; [`Site::run`] brings it back.
    pub fn kill(&mut self) {
        match &mut self.body {
            Body::Mariadb(server) => server.kill(),
            Body::Mysql9(server) => server.kill(),
            Body::Postgres(server) => server.kill(),
            Body::Sqlite(_) => panic!("SQLite has no server"),
        }
    }

    /// An orderly shutdown; [`Site::run`] brings it back.
    pub async fn stop(&mut self) {
        match &mut self.body {
            Body::Mariadb(server) => server.stop().await,
            Body::Mysql9(server) => server.stop(),
            Body::Postgres(server) => server.stop(),
            Body::Sqlite(_) => panic!("SQLite has no server"),
        }
    }

    /// Starts it on what it has, and waits until it answers.
    pub async fn run(&mut self) {
        match &mut self.body {
            Body::Mariadb(server) => server.run().await,
            Body::Mysql9(server) => server.run(),
            Body::Postgres(server) => server.restart(),
            Body::Sqlite(_) => panic!("SQLite has no server"),
        }
    }

    /// A fresh, empty database; its name (a path for SQLite). `hint` is for people.
    pub async fn create(&self, hint: &str) -> String {
        let name = format!("{hint}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match &self.body {
            Body::Sqlite(dir) => match &self.disk {
                Some(disk) => disk.path().join(name).display().to_string(),
                None => dir.file(&format!("{name}.db")),
            },
            Body::Postgres(server) => {
                server.create(&name);
                name
            }
            Body::Mariadb(_) | Body::Mysql9(_) => {
                self.exec("", &[&format!("CREATE DATABASE `{name}`")]).await;
                name
            }
        }
    }

    /// The administrator's URL of a database.
    pub fn url(&self, database: &str) -> String {
        self.url_through(self.port(), database)
    }

    /// The same through a proxy.
    pub fn url_through(&self, port: u16, database: &str) -> String {
        let user = if self.make.is_mysql() { "root" } else { "postgres" };
        self.url_of(user, port, database)
    }

    /// The URL of a database for a user; `name:password` is one too.
    pub fn url_of(&self, user: &str, port: u16, database: &str) -> String {
        match self.make {
            Make::Mariadb | Make::Mysql9 => format!("mysql://{user}@127.0.0.1:{port}/{database}"),
            Make::Postgres | Make::PostgresHeld => {
                format!("postgres://{user}@127.0.0.1:{port}/{database}")
            }
            Make::Sqlite => format!("sqlite:{database}"),
        }
    }

    /// Runs statements as administrator; panics with the server's words if one fails.
    pub async fn exec(&self, database: &str, statements: &[&str]) {
        if let Err(said) = self.try_exec(database, statements).await {
            panic!("{:?}: {said}", self.make);
        }
    }

    /// As [`Site::exec`]; Err = what the server complained about.
    pub async fn try_exec(&self, database: &str, statements: &[&str]) -> Result<(), String> {
        match &self.body {
            Body::Mariadb(_) | Body::Mysql9(_) => {
                let mut conn = lab::mysql(&self.url(database)).await;
                for statement in statements {
                    let done = conn.query_drop(*statement).await;
                    done.map_err(|error| format!("{error}: {statement}"))?;
                }
                let _ = conn.disconnect().await;
            }
            Body::Postgres(server) => {
                let database = if database.is_empty() { "postgres" } else { database };
                // Each by itself: a script of several is one transaction only if it says so.
                server.try_sql(database, &(statements.join(";\n") + ";"))?;
            }
            Body::Sqlite(_) => dataset::sqlite_exec(database, &statements.join(";\n")).await,
        }
        Ok(())
    }

    /// The rows of a query, each as the text of its first column.
    pub async fn query(&self, database: &str, sql: &str) -> Vec<String> {
        match &self.body {
            Body::Mariadb(_) | Body::Mysql9(_) => {
                let mut conn = lab::mysql(&self.url(database)).await;
                let rows = conn.query::<mysql_async::Row, _>(sql).await;
                let _ = conn.disconnect().await;
                let text = |row: mysql_async::Row| -> String {
                    mysql_async::from_value(row.unwrap().swap_remove(0))
                };
                let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
                rows.into_iter().map(text).collect()
            }
            Body::Postgres(server) => {
                let database = if database.is_empty() { "postgres" } else { database };
                let text = server.sql(database, sql);
                text.lines().map(str::to_owned).collect()
            }
            Body::Sqlite(_) => {
                let mut conn = oracle::sqlite(database).await;
                let sql = sqlx::AssertSqlSafe(sql.to_owned());
                let rows = sqlx::query(sql).fetch_all(&mut conn).await;
                let rows = rows.unwrap_or_else(|error| panic!("{error}"));
                let text = |row: &sqlx::sqlite::SqliteRow| {
                    use sqlx::Row;
                    row.get_unchecked::<String, _>(0)
                };
                rows.iter().map(text).collect()
            }
        }
    }

    /// Other clients of the server than the asker.
    pub async fn clients(&self) -> Vec<Client> {
        let sql = match self.make {
            Make::Mariadb | Make::Mysql9 => {
                "SELECT CONCAT(id, ' ', COALESCE(info, command)) FROM information_schema.processlist \
                 WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')"
            }
            Make::Postgres | Make::PostgresHeld => {
                "SELECT pid || ' ' || translate(query, E'\\n', ' ') FROM pg_stat_activity \
                 WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            }
            Make::Sqlite => return Vec::new(),
        };
        let rows = self.query("", sql).await;
        let client = |row: String| {
            let (id, says) = row.split_once(' ')?;
            Some(Client {
                id: id.parse().ok()?,
                says: says.to_owned(),
            })
        };
        rows.into_iter().filter_map(client).collect()
    }

    /// Ends what a session does now, and leaves the session; no matter if it is gone by now.
    pub async fn kill_query(&self, client: &Client) {
        let sql = match self.make.is_mysql() {
            true => format!("KILL QUERY {}", client.id),
            false => format!("SELECT pg_cancel_backend({})", client.id),
        };
        let _ = self.try_exec("", &[&sql]).await;
    }

    /// Ends a session; no matter if it is gone by now.
    pub async fn kill_session(&self, client: &Client) {
        let sql = match self.make.is_mysql() {
            true => format!("KILL CONNECTION {}", client.id),
            false => format!("SELECT pg_terminate_backend({})", client.id),
        };
        let _ = self.try_exec("", &[&sql]).await;
    }

    /// As the judges take it.
    pub fn database(&self, name: &str) -> lab::Database {
        lab::Database {
            kind: match self.make {
                Make::Mariadb => lab::Kind::Mariadb,
                Make::Mysql9 => lab::Kind::Mysql9,
                Make::Postgres | Make::PostgresHeld => lab::Kind::Postgres,
                Make::Sqlite => lab::Kind::Sqlite,
            },
            url: self.url(name),
            name: name.to_owned(),
        }
    }

    /// Back into the pool, if it can be emptied; a server that has seen a failed test is not.
    pub async fn give_back(self) {
        if self.pooled && self.wipe().await.is_ok() {
            POOL.lock().expect("never held across a panic").push(self);
        }
    }

    async fn wipe(&self) -> Result<(), String> {
        match self.make {
            Make::Sqlite => Err("it is a directory".to_owned()),
            Make::Mariadb | Make::Mysql9 => {
                let databases = "SELECT schema_name FROM information_schema.schemata WHERE schema_name \
                    NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
                for name in self.query("", databases).await {
                    let drop = format!("DROP DATABASE `{name}`");
                    self.try_exec("", &["SET lock_wait_timeout = 5", &drop]).await?;
                }
                let users = "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user WHERE user \
                    NOT IN ('root', 'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema')";
                for user in self.query("", users).await {
                    self.try_exec("", &[&format!("DROP USER {user}")]).await?;
                }
                Ok(())
            }
            Make::Postgres | Make::PostgresHeld => {
                let databases = "SELECT datname FROM pg_database WHERE NOT datistemplate AND \
                                 datname <> 'postgres'";
                for name in self.query("", databases).await {
                    let drop = format!("DROP DATABASE \"{name}\" WITH (FORCE)");
                    self.try_exec("", &[&drop]).await?;
                }
                let roles = "SELECT rolname FROM pg_roles WHERE oid >= 16384";
                for role in self.query("", roles).await {
                    self.try_exec("", &[&format!("DROP ROLE \"{role}\"")]).await?;
                }
                Ok(())
            }
        }
    }
}

/// A directory for a disk, with nothing in it.
pub fn place(hint: &str) -> PathBuf {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sterna-{hint}-{}-{number}", std::process::id()))
}
