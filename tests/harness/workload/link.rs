//! A session of the workload's own with a database of any kind. Tells errors instead of panicking:
//! sessions get into each other's way, and servers are killed.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use sqlx::{Connection, Row, ValueRef};

use crate::harness::lab::{Database, Kind};

/// How long a statement may take: longer than any lock is held.
const STATEMENT: Duration = Duration::from_secs(60);

enum Session {
    Mysql(mysql_async::Conn),
    Postgres(sqlx::PgConnection),
    Sqlite(sqlx::SqliteConnection),
}

pub struct Link {
    kind: Kind,
    session: Session,
}

impl Link {
    pub async fn open(database: &Database) -> Result<Link, String> {
        let opened = tokio::time::timeout(STATEMENT, open(database)).await;
        let session = opened.map_err(|_| "no answer".to_owned())??;
        let mut link = Link {
            kind: database.kind,
            session,
        };
        if database.kind.is_mysql() {
            let set = "SET sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'";
            link.run(set).await?;
        }
        Ok(link)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Runs one statement.
    pub async fn run(&mut self, sql: &str) -> Result<(), String> {
        let ran = tokio::time::timeout(STATEMENT, self.execute(sql)).await;
        ran.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    async fn execute(&mut self, sql: &str) -> Result<(), String> {
        let text = sqlx::AssertSqlSafe(sql.to_owned());
        match &mut self.session {
            Session::Mysql(conn) => conn.query_drop(sql).await.map_err(|e| e.to_string()),
            Session::Postgres(conn) => {
                let ran = sqlx::raw_sql(text).execute(conn).await;
                ran.map(|_| ()).map_err(|e| e.to_string())
            }
            Session::Sqlite(conn) => {
                let ran = sqlx::raw_sql(text).execute(conn).await;
                ran.map(|_| ()).map_err(|e| e.to_string())
            }
        }
    }

    /// The rows of a query whose columns are whole numbers; NULL is 0.
    pub async fn numbers(&mut self, sql: &str) -> Result<Vec<Vec<i64>>, String> {
        let read = tokio::time::timeout(STATEMENT, self.query(sql)).await;
        read.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<i64>>, String> {
        let text = sqlx::AssertSqlSafe(sql.to_owned());
        match &mut self.session {
            Session::Mysql(conn) => {
                let rows: Vec<mysql_async::Row> =
                    conn.query(sql).await.map_err(|e| e.to_string())?;
                let cell = |value: mysql_async::Value| match value {
                    mysql_async::Value::Bytes(text) => number(&String::from_utf8_lossy(&text)),
                    _ => 0,
                };
                let row = |row: mysql_async::Row| row.unwrap().into_iter().map(cell).collect();
                Ok(rows.into_iter().map(row).collect())
            }
            Session::Postgres(conn) => {
                let rows = sqlx::raw_sql(text).fetch_all(conn).await;
                let rows = rows.map_err(|e| e.to_string())?;
                let cell = |row: &sqlx::postgres::PgRow, i: usize| {
                    let raw = row.try_get_raw(i).expect("counted");
                    match raw.is_null() {
                        true => 0,
                        false => number(raw.as_str().expect("the simple protocol's text")),
                    }
                };
                let row =
                    |row: &sqlx::postgres::PgRow| (0..row.len()).map(|i| cell(row, i)).collect();
                Ok(rows.iter().map(row).collect())
            }
            Session::Sqlite(conn) => {
                let rows = sqlx::raw_sql(text).fetch_all(conn).await;
                let rows = rows.map_err(|e| e.to_string())?;
                let row = |row: &sqlx::sqlite::SqliteRow| {
                    (0..row.len()).map(|i| row.get_unchecked(i)).collect()
                };
                Ok(rows.iter().map(row).collect())
            }
        }
    }

    pub async fn is_alive(&mut self) -> bool {
        self.numbers("SELECT 1").await.is_ok()
    }

    pub async fn close(self) {
        let close = async {
            match self.session {
                Session::Mysql(conn) => drop(conn.disconnect().await),
                Session::Postgres(conn) => drop(conn.close().await),
                Session::Sqlite(conn) => drop(conn.close().await),
            }
        };
        // One that is gone already needs no farewell.
        let _ = tokio::time::timeout(STATEMENT, close).await;
    }
}

fn number(text: &str) -> i64 {
    let whole = text.split('.').next().unwrap_or_default();
    match whole.parse() {
        Ok(number) => number,
        Err(_) => panic!("{text:?} is no number"),
    }
}

async fn open(database: &Database) -> Result<Session, String> {
    match database.kind {
        Kind::Mariadb | Kind::Mysql9 => {
            let opts = mysql_async::Opts::from_url(&database.url).map_err(|e| e.to_string())?;
            let opts = mysql_async::OptsBuilder::from_opts(opts)
                .prefer_socket(false)
                .max_allowed_packet(Some(256 << 20));
            let conn = mysql_async::Conn::new(opts).await;
            conn.map(Session::Mysql).map_err(|e| e.to_string())
        }
        Kind::Postgres => {
            let url = database.url.split('?').next().unwrap_or_default();
            let conn = sqlx::PgConnection::connect(url).await;
            conn.map(Session::Postgres).map_err(|e| e.to_string())
        }
        Kind::Sqlite => {
            use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
            let options = SqliteConnectOptions::new().filename(&database.name);
            let options = options.busy_timeout(Duration::from_secs(30));
            let conn = options.connect().await;
            conn.map(Session::Sqlite).map_err(|e| e.to_string())
        }
    }
}
