//! A connection with every setting pinned that could change what a statement means, and a deadline
//! on every answer. Never pooled: one that stopped in the middle of anything is closed hard.

use std::time::Duration;

use common::code::{Code, Failure};
use common::job::Endpoint;
use common::limits;
use futures::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, QueryResult, SslOpts, TextProtocol, Value};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use url::Url;

use super::error::{Failed, classify};
use crate::connector::percent::decode;
use crate::connector::within::within;
use crate::connector::{Error, Role};

/// Zero and impossible dates that a source holds must be able to travel; NO_AUTO_VALUE_ON_ZERO
/// keeps a 0 in an auto-increment column a 0.
pub const SQL_MODE: &str = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,\
                            NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO";
/// As [`SQL_MODE`], but what doesn't fit is stored with a warning: for loads that check these.
pub const SQL_MODE_LAX: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// A row of a short answer: each cell's text, None = NULL.
pub type TextRow = Vec<Option<String>>;

/// Where to connect. Holds the password, so it has no Debug.
#[derive(Clone)]
pub struct Host {
    opts: Opts,
    /// The database of the URL.
    pub database: String,
    /// `user@host:port/database`, for messages.
    pub name: String,
    /// `local-infile=off` in the URL: load by INSERT.
    no_infile: bool,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading rows, the catalogue, the log position.
    Read,
    /// Loading rows, fence, ledger, prepared transactions.
    Load,
    /// DDL.
    Define,
}

/// What a statement without rows did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows matched or inserted.
    pub affected: u64,
    pub warnings: u16,
}

/// What the server says about itself.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub version: String,
    pub mariadb: bool,
    pub local_infile: bool,
    pub max_allowed_packet: usize,
    pub connection: u64,
}

/// See the module.
pub struct Session {
    /// None once it broke.
    conn: Option<Conn>,
    name: String,
    role: Role,
    /// Rows of the last statement are still to come.
    streaming: bool,
    pub facts: ServerFacts,
}

impl Host {
    /// Reads `mysql://user@host:port/database?ssl-mode=…&socket=…&local-infile=off`.
    pub fn new(endpoint: &Endpoint, password: Option<&SecretString>) -> Result<Host, Error> {
        let usage = |what: &str| {
            Error::permanent(
                Code::Usage,
                format!("the URL of the MySQL endpoint: {what}"),
            )
        };
        let url = Url::parse(&endpoint.url).map_err(|error| usage(&error.to_string()))?;
        let text = |part: &str| decode(part).ok_or_else(|| usage("a part of it is not UTF-8"));
        let user = match url.username() {
            "" => return Err(usage("the user is missing")),
            user => text(user)?,
        };
        let host = match url.host() {
            None => "localhost".to_owned(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => text(&host.to_string())?,
        };
        let port = url.port().unwrap_or(3306);
        let database = text(url.path().trim_start_matches('/'))?;
        if database.is_empty() {
            return Err(usage("the database is missing"));
        }
        let mut builder = OptsBuilder::default()
            .ip_or_hostname(host.clone())
            .tcp_port(port)
            .user(Some(user.clone()))
            .db_name(Some(database.clone()))
            .pass(password.map(|password| password.expose_secret().to_owned()))
            // The server's own socket path says nothing about this machine.
            .prefer_socket(false)
            // Affected rows = rows matched, so that an UPDATE that changes nothing counts.
            .client_found_rows(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .stmt_cache_size(0)
            .wait_timeout(Some(3_600))
            // A row may be as long as all its cells together.
            .max_allowed_packet(Some(1 << 30));
        let mut no_infile = false;
        for (key, value) in url.query_pairs() {
            builder = match (key.as_ref(), value.as_ref()) {
                ("socket", path) => builder.socket(Some(path.to_owned())),
                ("local-infile", "off") => {
                    no_infile = true;
                    builder
                }
                ("local-infile", "on") => builder,
                ("ssl-mode", "disabled" | "preferred") => builder,
                ("ssl-mode", "required") => builder.ssl_opts(Some(
                    SslOpts::default()
                        .with_danger_accept_invalid_certs(true)
                        .with_danger_skip_domain_validation(true),
                )),
                ("ssl-mode", "verify-full") => builder.ssl_opts(Some(SslOpts::default())),
                (other, _) => return Err(usage(&format!("{other:?} is no option of it"))),
            };
        }
        let name = format!("{user}@{host}:{port}/{database}");
        Ok(Host {
            opts: builder.into(),
            database,
            name,
            no_infile,
        })
    }

    /// Connects and pins the session.
    pub async fn open(&self, role: Role, purpose: Purpose) -> Result<Session, Failed> {
        let late = || Failed::late(&self.name, "the connection attempt");
        let deadline = Duration::from_millis(limits::CONNECT_DEADLINE_MS);
        let conn = match timeout(deadline, Conn::new(self.opts.clone())).await {
            Err(_) => return Err(late()),
            Ok(Err(error)) => return Err(classify(&error, &self.name, role)),
            Ok(Ok(conn)) => conn,
        };
        let mut session = Session {
            conn: Some(conn),
            name: self.name.clone(),
            role,
            streaming: false,
            facts: ServerFacts {
                version: String::new(),
                mariadb: false,
                local_infile: false,
                max_allowed_packet: 0,
                connection: 0,
            },
        };
        session.pin(purpose).await?;
        session.facts.local_infile &= !self.no_infile;
        Ok(session)
    }
}

impl Session {
    async fn pin(&mut self, purpose: Purpose) -> Result<(), Failed> {
        let asked = "SELECT @@version, @@local_infile, @@max_allowed_packet, CONNECTION_ID(), \
                     @@log_bin";
        let row = self.row(asked).await?.unwrap_or_default();
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        self.facts = ServerFacts {
            mariadb: cell(0).contains("MariaDB"),
            version: cell(0),
            local_infile: cell(1) == "1",
            max_allowed_packet: cell(2).parse().unwrap_or(1 << 20),
            connection: cell(3).parse().unwrap_or(0),
        };
        // InnoDB refuses to write in READ COMMITTED under a statement-based log.
        let isolation = match cell(4) == "1" && self.logs_statements().await? {
            true => "REPEATABLE READ",
            false => "READ COMMITTED",
        };
        let settings = match (self.facts.mariadb, self.facts.version.as_str()) {
            (true, _) => "max_statement_time = 0",
            (false, version) if version.starts_with("5.") => "max_execution_time = 0",
            // The dictionary's row estimates may be a day old otherwise.
            (false, _) => "max_execution_time = 0, information_schema_stats_expiry = 0",
        };
        let lock_wait = limits::LOCK_WAIT_MS.div_ceil(1_000);
        self.run("SET NAMES utf8mb4").await?;
        // unique_checks stays on: turning it off together with foreign_key_checks lost rows of
        // earlier, successful statements (MariaDB, measured).
        self.run(&format!(
            "SET SESSION time_zone = '+00:00', character_set_results = NULL, autocommit = 1, \
             sql_mode = '{SQL_MODE}', \
             lock_wait_timeout = {lock_wait}, innodb_lock_wait_timeout = {lock_wait}, \
             net_read_timeout = 600, net_write_timeout = 600, wait_timeout = 3600, \
             sql_auto_is_null = 0, sql_select_limit = DEFAULT, sql_safe_updates = 0, \
             sql_quote_show_create = 1, unique_checks = 1, \
             foreign_key_checks = {}, {settings}",
            u8::from(purpose == Purpose::Read)
        ))
        .await?;
        self.run(&format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"
        ))
        .await?;
        Ok(())
    }

    async fn logs_statements(&mut self) -> Result<bool, Failed> {
        let row = self.row("SHOW VARIABLES LIKE 'binlog_format'").await?;
        let format = row.and_then(|row| row.into_iter().nth(1).flatten());
        Ok(format.is_some_and(|format| format.eq_ignore_ascii_case("STATEMENT")))
    }

    /// A statement that gives no rows and should be quick.
    pub async fn run(&mut self, sql: &str) -> Result<Done, Failed> {
        self.run_within(sql, limits::STATEMENT_DEADLINE_MS).await
    }

    /// A statement that gives no rows. After a late answer the session is gone.
    pub async fn run_within(&mut self, sql: &str, deadline_ms: u64) -> Result<Done, Failed> {
        let conn = self.conn()?;
        let ran = timeout(Duration::from_millis(deadline_ms), conn.query_drop(sql)).await;
        let done = Done {
            affected: conn.affected_rows(),
            warnings: conn.get_warnings(),
        };
        self.answered(ran, sql)?;
        Ok(done)
    }

    /// Several statements in one go, none of which gives rows. The first that fails ends them.
    pub async fn run_all(&mut self, sql: &str, deadline_ms: u64) -> Result<Vec<Done>, Failed> {
        let conn = self.conn()?;
        let ran = timeout(Duration::from_millis(deadline_ms), async {
            let mut result = conn.query_iter(sql).await?;
            let mut all = Vec::new();
            loop {
                all.push(Done {
                    affected: result.affected_rows(),
                    warnings: result.warnings(),
                });
                if result.is_empty() {
                    result.drop_result().await?;
                    return Ok(all);
                }
                result.next().await?;
            }
        })
        .await;
        self.answered(ran, sql)
    }

    /// Starts a statement whose rows are then fetched by [`Session::next_row`].
    pub async fn start(&mut self, sql: &str) -> Result<(), Failed> {
        let conn = self.conn()?;
        let deadline = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        let ran = timeout(deadline, async {
            // The result stays pending on the connection; `next_row` picks it up there.
            conn.query_iter(sql).await.map(drop)
        })
        .await;
        self.streaming = true;
        self.answered(ran, sql)
    }

    /// The next row of what [`Session::start`] started.
    pub async fn next_row(&mut self) -> Result<Option<Vec<Value>>, Failed> {
        let conn = self.conn()?;
        let deadline = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        let mut result: QueryResult<'_, 'static, TextProtocol> = QueryResult::new(conn);
        let row = within(deadline, result.next()).await;
        let row = self.answered(row, "reading rows")?;
        self.streaming = row.is_some();
        Ok(row.map(mysql_async::Row::unwrap))
    }

    /// All rows of a short answer as text.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<TextRow>, Failed> {
        self.rows_within(sql, limits::STATEMENT_DEADLINE_MS).await
    }

    /// All rows of a short answer that may take its time.
    pub async fn rows_within(
        &mut self,
        sql: &str,
        deadline_ms: u64,
    ) -> Result<Vec<TextRow>, Failed> {
        let conn = self.conn()?;
        let deadline = Duration::from_millis(deadline_ms);
        let rows = timeout(deadline, conn.query::<mysql_async::Row, _>(sql)).await;
        let rows = self.answered(rows, sql)?;
        let text = |value: Value| match value {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        };
        Ok(rows
            .into_iter()
            .map(|row| row.unwrap().into_iter().map(text).collect())
            .collect())
    }

    /// The first row of a short answer.
    pub async fn row(&mut self, sql: &str) -> Result<Option<TextRow>, Failed> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// The first cell of a short answer.
    pub async fn cell(&mut self, sql: &str) -> Result<Option<String>, Failed> {
        Ok(self
            .row(sql)
            .await?
            .and_then(|row| row.into_iter().next().flatten()))
    }

    /// The next LOAD DATA LOCAL on this session reads `data`.
    pub fn give_infile(&mut self, data: mysql_async::InfileData) -> Result<(), Failed> {
        // The driver wants the future Sync, which a stream is not.
        let data = std::sync::Mutex::new(Some(data));
        self.conn()?.set_infile_handler(async move {
            let taken = data.lock().ok().and_then(|mut data| data.take());
            taken.ok_or_else(|| mysql_async::Error::from(std::io::Error::other("read twice")))
        });
        Ok(())
    }

    /// The connection itself, for what isn't a statement.
    pub fn into_conn(mut self) -> Result<Conn, Failed> {
        self.conn()?;
        self.conn
            .take()
            .ok_or_else(|| Failed::late(&self.name, "nothing"))
    }

    /// False once a statement was cut off: nothing can be sent any more.
    pub fn is_alive(&self) -> bool {
        self.conn.is_some()
    }

    fn conn(&mut self) -> Result<&mut Conn, Failed> {
        let name = &self.name;
        self.conn.as_mut().ok_or_else(|| Failed {
            number: 0,
            error: Error::transient(Code::Unreachable, format!("{name}: the connection is gone")),
        })
    }

    /// Sorts an answer; anything but the server's own refusal ends the session.
    fn answered<T>(
        &mut self,
        answer: Result<mysql_async::Result<T>, tokio::time::error::Elapsed>,
        what: &str,
    ) -> Result<T, Failed> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if error.is_fatal() {
                    self.close();
                }
                Err(classify(&error, &self.name, self.role))
            }
            Err(_) => {
                self.close();
                let what: String = what.chars().take(60).collect();
                Err(Failed::late(&self.name, &what))
            }
        }
    }

    /// Closes the socket at once, whatever is under way on it.
    pub fn close(&mut self) {
        if let Some(mut conn) = self.conn.take() {
            // The driver's own drop would first read a pending result to its end, in a task of its
            // own, be it a terabyte. Cutting off any of its routines marks the connection as
            // broken, and a broken one is dropped as it is.
            let _ = conn.ping().now_or_never();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An idle connection says goodbye by itself, so that the server logs no abort.
        if self.streaming {
            self.close();
        }
    }
}

/// A failure with the statement that mends it.
pub fn with_fix(mut failed: Failed, fix: String) -> Failed {
    let failure: &mut Failure = &mut failed.error.failure;
    failure.fixes.push(fix);
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> Result<Host, Error> {
        let endpoint = Endpoint {
            url: url.to_owned(),
            password: None,
        };
        Host::new(&endpoint, None)
    }

    #[test]
    fn urls_are_read_with_their_escapes() {
        let host = host("mysql://a%40b@[::1]/my%20db?ssl-mode=disabled").expect("valid");
        assert_eq!(
            (host.name.as_str(), host.database.as_str()),
            ("a@b@::1:3306/my db", "my db")
        );
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for url in ["mysql://h/db", "mysql://u@h", "mysql://u@h/db?colour=red"] {
            let error = host(url).err().expect(url);
            assert_eq!(error.failure.code, Code::Usage, "{url}");
        }
    }
}
