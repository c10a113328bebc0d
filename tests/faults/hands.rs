//! Hands on a scene's servers: stop and start them, see and end their sessions, run statements as
//! administrator, whatever the engine. What it means for a job isn't known here.

use mysql_async::prelude::Queryable;
use sqlx::Row;

use super::pool::Server;
use super::scene::Scene;
use crate::harness::lab::{Database, Kind, mysql};
use crate::harness::oracle;
use crate::harness::wait::{secs, until};

/// A session at a server that isn't the asker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: u64,
    /// It runs a statement now.
    pub busy: bool,
}

impl Server {
    pub fn is_postgres(&self) -> bool {
        matches!(self, Server::Postgres(_))
    }

    /// `kill -9`; [`Server::run`] brings it back.
    pub fn kill(&mut self) {
        match self {
            Server::Mariadb(server) => server.kill(),
            Server::Mysql9(server) => server.kill(),
            Server::Postgres(server) => server.kill(),
        }
    }

    /// The same for one that may have ended by itself.
    pub fn kill_if_running(&mut self) {
        match self {
            Server::Postgres(server) if !server.is_running() => {}
            _ => self.kill(),
        }
    }

    /// An orderly shutdown; [`Server::run`] brings it back.
    pub async fn stop(&mut self) {
        match self {
            Server::Mariadb(server) => server.stop().await,
            Server::Mysql9(server) => server.stop(),
            Server::Postgres(server) => server.stop(),
        }
    }

    /// Starts it on what it has, and waits until it answers.
    pub async fn run(&mut self) {
        match self {
            Server::Mariadb(server) => server.run().await,
            Server::Mysql9(server) => server.run(),
            Server::Postgres(server) => server.restart(),
        }
    }

    /// Where an administrator's statements about no database in particular go.
    fn home(&self) -> Database {
        let (kind, name) = match self {
            Server::Mariadb(_) => (Kind::Mariadb, ""),
            Server::Mysql9(_) => (Kind::Mysql9, ""),
            Server::Postgres(_) => (Kind::Postgres, "postgres"),
        };
        Database {
            kind,
            url: self.url(name),
            name: name.to_owned(),
        }
    }

    /// Runs statements as administrator; panics with the server's words if one fails.
    pub async fn exec(&self, statements: &[&str]) {
        self.home().exec(statements).await;
    }

    /// Other clients than the asker.
    pub async fn clients(&self) -> Vec<Client> {
        let sql = match self.is_postgres() {
            false => {
                "SELECT CONCAT(id, ' ', IF(command = 'Sleep', '', 'busy')) \
                 FROM information_schema.processlist WHERE id <> CONNECTION_ID() \
                 AND command NOT IN ('Daemon', 'Binlog Dump') \
                 AND user NOT IN ('system user', 'event_scheduler', 'unauthenticated user')"
            }
            true => {
                "SELECT pid || ' ' || CASE state WHEN 'active' THEN 'busy' ELSE '' END \
                 FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                 AND backend_type = 'client backend' AND state IS NOT NULL"
            }
        };
        let client = |row: String| {
            let (id, does) = row.split_once(' ')?;
            Some(Client {
                id: id.parse().ok()?,
                busy: does == "busy",
            })
        };
        let rows = texts(&self.home(), sql).await;
        rows.into_iter().filter_map(client).collect()
    }

    /// Ends what a session does now, and leaves the session; true = it was there.
    pub async fn kill_query(&self, client: &Client) -> bool {
        self.end(client, "KILL QUERY", "pg_cancel_backend").await
    }

    /// Ends a session; true = it was there.
    pub async fn kill_session(&self, client: &Client) -> bool {
        self.end(client, "KILL CONNECTION", "pg_terminate_backend")
            .await
    }

    async fn end(&self, client: &Client, kill: &str, function: &str) -> bool {
        let home = self.home();
        if self.is_postgres() {
            let sql = format!("SELECT {function}({})::text", client.id);
            return texts(&home, &sql).await == ["true"];
        }
        // Gone by now is an error there.
        let mut conn = mysql(&home.url).await;
        let killed = conn.query_drop(format!("{kill} {}", client.id)).await;
        let _ = conn.disconnect().await;
        killed.is_ok()
    }
}

/// The rows of a query, each as the text of its first column.
pub async fn texts(database: &Database, sql: &str) -> Vec<String> {
    match database.kind {
        Kind::Mariadb | Kind::Mysql9 => {
            let mut conn = mysql(&database.url).await;
            let rows = conn.query::<String, _>(sql).await;
            let _ = conn.disconnect().await;
            rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
        }
        Kind::Postgres => {
            let mut conn = database.pg().await;
            let rows = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql.to_owned()));
            let rows = rows.fetch_all(&mut conn).await;
            rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
        }
        Kind::Sqlite => {
            let mut conn = oracle::sqlite(&database.name).await;
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            let rows = rows.fetch_all(&mut conn).await;
            let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
            let text = |row: &sqlx::sqlite::SqliteRow| row.get_unchecked::<String, _>(0);
            rows.iter().map(text).collect()
        }
    }
}

/// A session of the test's own that holds what it took until it is let go.
pub enum Holder {
    Mysql(mysql_async::Conn),
    Postgres(sqlx::PgConnection),
    Sqlite(sqlx::SqliteConnection),
}

impl Holder {
    pub async fn of(database: &Database) -> Holder {
        match database.kind {
            Kind::Mariadb | Kind::Mysql9 => Holder::Mysql(mysql(&database.url).await),
            Kind::Postgres => Holder::Postgres(database.pg().await),
            Kind::Sqlite => {
                use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
                let options = SqliteConnectOptions::new().filename(&database.name);
                let options = options.busy_timeout(secs(10));
                Holder::Sqlite(options.connect().await.expect("the test opens the file"))
            }
        }
    }

    /// None when the server has no place for it.
    pub async fn try_of(database: &Database) -> Option<Holder> {
        match database.kind {
            Kind::Mariadb | Kind::Mysql9 => {
                let opts = mysql_async::Opts::from_url(&database.url).expect("a URL of ours");
                let opts = mysql_async::OptsBuilder::from_opts(opts).prefer_socket(false);
                let conn = mysql_async::Conn::new(opts).await.ok()?;
                Some(Holder::Mysql(conn))
            }
            Kind::Postgres => {
                use sqlx::Connection;
                let url = database.url.split('?').next().unwrap_or_default();
                let conn = sqlx::PgConnection::connect(url).await.ok()?;
                Some(Holder::Postgres(conn))
            }
            Kind::Sqlite => Some(Holder::of(database).await),
        }
    }

    /// Runs a statement; Err = the server's words.
    pub async fn run(&mut self, sql: &str) -> Result<(), String> {
        let text = sqlx::AssertSqlSafe(sql.to_owned());
        let done = match self {
            Holder::Mysql(conn) => conn.query_drop(sql).await.map_err(|e| e.to_string()),
            Holder::Postgres(conn) => {
                let ran = sqlx::raw_sql(text).execute(conn).await;
                ran.map(|_| ()).map_err(|e| e.to_string())
            }
            Holder::Sqlite(conn) => {
                let ran = sqlx::raw_sql(text).execute(conn).await;
                ran.map(|_| ()).map_err(|e| e.to_string())
            }
        };
        done.map_err(|said| format!("{said}: {sql}"))
    }

    /// Gives back everything.
    pub async fn let_go(self) {
        use sqlx::Connection;
        match self {
            Holder::Mysql(conn) => {
                let _ = conn.disconnect().await;
            }
            Holder::Postgres(conn) => {
                let _ = conn.close().await;
            }
            Holder::Sqlite(conn) => {
                let _ = conn.close().await;
            }
        }
    }
}

/// Lets time pass: for a fault that lasts.
pub async fn pass(time: std::time::Duration) {
    let started = std::time::Instant::now();
    until("time to pass", time + secs(10), || async {
        (started.elapsed() >= time).then_some(())
    })
    .await;
}

/// Every coordinator that has ended, without its fault.
pub fn start_again(scene: &mut Scene) {
    for index in 0..scene.cluster.coordinators.len() {
        let process = &mut scene.cluster.coordinators[index].process;
        let ended = process.as_mut().is_none_or(|process| !process.is_running());
        if ended {
            scene.cluster.set_coordinator_env(&[]);
            scene.cluster.start_coordinator(index);
        }
    }
}
