//! One way to speak of a database of any kind: make an empty one, run SQL in it, copy it with the
//! real binary. A MariaDB and the MySQL 9 belong to one test at a time; the PostgreSQL server is
//! shared, as everything Sterna keeps there is inside the database. Doesn't judge.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::prelude::Queryable;
use sqlx::Connection;
use tokio::sync::{Mutex, MutexGuard};

use super::mysql9::Mysql9;
use super::process::{Dir, Finished, Sterna};
use super::server::{self, Lent};
use super::{leftovers, postgres};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sqlite,
    Mariadb,
    Mysql9,
    Postgres,
}

impl Kind {
    /// Both speak the MySQL dialect.
    pub fn is_mysql(self) -> bool {
        matches!(self, Kind::Mariadb | Kind::Mysql9)
    }

    /// Whether `sterna` takes the two for one engine.
    pub fn same_engine(self, other: Kind) -> bool {
        self == other || (self.is_mysql() && other.is_mysql())
    }
}

/// The servers a test works with, and its directory.
pub struct Lab {
    pub dir: Dir,
    pub mariadb: Option<Lent>,
    pub mysql9: Option<OneAtATime>,
    pub postgres: Option<&'static postgres::Server>,
}

/// A database of any kind.
#[derive(Clone, Debug)]
pub struct Database {
    pub kind: Kind,
    /// As `sterna` takes it.
    pub url: String,
    /// Its name; a path for SQLite.
    pub name: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The MySQL 9, which all tests share one after the other.
pub struct OneAtATime {
    server: &'static Mysql9,
    _turn: MutexGuard<'static, ()>,
}

impl OneAtATime {
    /// The URL of a database for `sterna`, as root without a password.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.server.port)
    }
}

/// Waits for the server to be free; None when it is off.
async fn lend_mysql9() -> Option<OneAtATime> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let lent = OneAtATime {
        server: Mysql9::shared()?,
        _turn: turn,
    };
    // What a failed test left isn't this one's fault.
    mysql_exec(&lent.url(""), &["DROP DATABASE IF EXISTS sterna"]).await;
    Some(lent)
}

/// The server all tests share, each in databases of its own.
pub fn shared_postgres() -> &'static postgres::Server {
    static SHARED: OnceLock<postgres::Server> = OnceLock::new();
    SHARED.get_or_init(|| postgres::Server::start(&[]))
}

impl Lab {
    /// None when a kind isn't to be tested here (`STERNA_TEST_MYSQL9=off`), which is said aloud.
    pub async fn new(kinds: &[Kind]) -> Option<Lab> {
        let mut lab = Lab {
            dir: Dir::new(),
            mariadb: None,
            mysql9: None,
            postgres: None,
        };
        for kind in kinds {
            match kind {
                Kind::Sqlite => {}
                Kind::Mariadb if lab.mariadb.is_none() => {
                    lab.mariadb = Some(server::lend().await);
                }
                Kind::Mysql9 if lab.mysql9.is_none() => {
                    lab.mysql9 = Some(lend_mysql9().await?);
                }
                Kind::Postgres if lab.postgres.is_none() => {
                    lab.postgres = Some(shared_postgres());
                }
                _ => {}
            }
        }
        Some(lab)
    }

    /// A fresh, empty database; `name` is only a hint for people.
    pub async fn database(&self, kind: Kind, name: &str) -> Database {
        let name = format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (name, url) = match kind {
            Kind::Sqlite => {
                let path = self.dir.file(&format!("{name}.db"));
                (path.clone(), format!("sqlite:{path}"))
            }
            Kind::Mariadb => {
                let server = self.mariadb.as_ref().expect("asked for at the start");
                let url = server.create(&name).await;
                (name, url)
            }
            Kind::Mysql9 => {
                let server = self.mysql9.as_ref().expect("asked for at the start");
                let create = format!("CREATE DATABASE `{name}`");
                mysql_exec(&server.url(""), &[create]).await;
                let url = server.url(&name);
                (name, url)
            }
            Kind::Postgres => {
                let server = self.postgres.expect("asked for at the start");
                server.create(&name);
                let url = server.url(&name);
                (name, url)
            }
        };
        Database { kind, url, name }
    }

    /// `sterna clone` of one into the other, with a state directory of its own.
    pub fn clone(&self, from: &Database, to: &Database, args: &[&str]) -> Sterna {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let state = self.dir.file(&format!("state-{number}"));
        Sterna::new(self.dir.path(), &["clone", &from.url, &to.url])
            .args(&["--state-dir", &state, "--progress", "none"])
            .args(args)
    }

    /// Copies and expects success and no leftovers.
    pub async fn copy(&self, from: &Database, to: &Database, args: &[&str]) -> Finished {
        let finished = self.clone(from, to, args).run().await;
        assert_eq!(
            finished.code, 0,
            "{:?} to {:?}: {finished}",
            from.kind, to.kind
        );
        self.no_leftovers(to).await;
        finished
    }

    /// Nothing of ours is left where `database` is.
    pub async fn no_leftovers(&self, database: &Database) {
        match database.kind {
            Kind::Sqlite => leftovers::none_in_sqlite(&database.name).await,
            Kind::Mariadb => leftovers::none_on(self.mariadb.as_ref().expect("it is there")).await,
            Kind::Mysql9 => {
                leftovers::none_at(&self.mysql9.as_ref().expect("it is there").url("")).await;
            }
            Kind::Postgres => leftovers::none_in_postgres(database).await,
        }
    }
}

impl Database {
    /// Runs statements, one after the other, in one session.
    pub async fn exec<S: AsRef<str>>(&self, statements: &[S]) {
        match self.kind {
            Kind::Sqlite => {
                let all: Vec<&str> = statements.iter().map(AsRef::as_ref).collect();
                super::dataset::sqlite_exec(&self.name, &all.join(";\n")).await;
            }
            Kind::Mariadb | Kind::Mysql9 => mysql_exec(&self.url, statements).await,
            Kind::Postgres => {
                let mut conn = self.pg().await;
                for statement in statements {
                    let statement = statement.as_ref();
                    let sql = sqlx::AssertSqlSafe(statement.to_owned());
                    if let Err(error) = sqlx::raw_sql(sql).execute(&mut conn).await {
                        panic!("{error}: {}", shown(statement));
                    }
                }
                let _ = conn.close().await;
            }
        }
    }

    /// Runs a script of the engine's own client (`DELIMITER`, `\copy`, …).
    pub async fn script(&self, text: &str) {
        match self.kind {
            Kind::Sqlite => super::dataset::sqlite_exec(&self.name, text).await,
            Kind::Mariadb | Kind::Mysql9 => {
                let port = self.port();
                let args = ["--no-defaults", "-h127.0.0.1", "-uroot", "--binary-mode"];
                let mut command = Command::new("mariadb");
                command.args(args).arg(format!("-P{port}"));
                command.args([
                    "--default-character-set=utf8mb4",
                    "--max-allowed-packet=64M",
                ]);
                feed(command.arg(&self.name), text);
            }
            Kind::Postgres => {
                shared_postgres().sql(&self.name, text);
            }
        }
    }

    /// A connection of the test's own to a PostgreSQL database.
    pub async fn pg(&self) -> sqlx::PgConnection {
        let url = self.url.split('?').next().unwrap_or_default();
        match sqlx::PgConnection::connect(url).await {
            Ok(conn) => conn,
            Err(error) => panic!("the test's PostgreSQL refused a connection: {error}"),
        }
    }

    pub fn port(&self) -> &str {
        let after = self.url.split("127.0.0.1:").nth(1).unwrap_or_default();
        after.split('/').next().unwrap_or_default()
    }
}

/// Runs statements as root in one session, in which everything is allowed.
pub async fn mysql_exec<S: AsRef<str>>(url: &str, statements: &[S]) {
    let mut conn = mysql(url).await;
    for statement in statements {
        let statement = statement.as_ref();
        if let Err(error) = conn.query_drop(statement).await {
            panic!("{error}: {}", shown(statement));
        }
    }
    let _ = conn.disconnect().await;
}

/// A connection of the test's own.
pub async fn mysql(url: &str) -> mysql_async::Conn {
    let opts = mysql_async::OptsBuilder::from_opts(
        mysql_async::Opts::from_url(url).expect("a URL of ours"),
    );
    let opts = opts
        .prefer_socket(false)
        .max_allowed_packet(Some(256 << 20));
    let mut conn = match mysql_async::Conn::new(opts).await {
        Ok(conn) => conn,
        Err(error) => panic!("the test's server refused a connection to {url}: {error}"),
    };
    let session = "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,STRICT_ALL_TABLES', \
                   time_zone = '+00:00', group_concat_max_len = 1000000";
    conn.query_drop(session).await.expect("a session");
    conn
}

fn feed(command: &mut Command, text: &str) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("writable");
    let input = std::fs::File::open(file.path()).expect("just written");
    let output = command.stdin(input).stdout(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn shown(statement: &str) -> String {
    statement.chars().take(300).collect()
}
