//! A connection with every setting pinned that could change what a statement means or how a value
//! is printed, and a deadline on every answer. Never pooled: one that stopped in the middle of
//! anything is closed hard.

use std::time::Duration;

use bytes::Bytes;
use common::code::Code;
use common::job::Endpoint;
use common::limits;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, ValueRef};
use tokio::time::timeout;
use url::Url;

use super::copytext::Encoder;
use super::error::{Failed, classify};
use super::quote::{ident, text};
use super::types::VALUES_PINNED;
use crate::connector::percent::decode;
use crate::connector::within::within;
use crate::connector::{Error, Role};

/// A row of a short answer: each cell's text, None = NULL.
pub type TextRow = Vec<Option<String>>;

/// Bytes of one message of COPY FROM STDIN.
const COPY_PIECE_BYTES: usize = 256 << 10;

/// Where to connect. Holds the password, so it has no Debug.
#[derive(Clone)]
pub struct Host {
    options: PgConnectOptions,
    pub link: Link,
    pub database: String,
    /// The default schema: `?schema=` of the URL, else `public`.
    pub schema: String,
    /// `user@host:port/database`, for messages.
    pub name: String,
}

/// What a connection by another driver needs. Holds the password, so it has no Debug.
#[derive(Clone)]
pub struct Link {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    /// The URL asks for TLS and nothing less.
    pub needs_tls: bool,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading rows, the catalogue, the log position. Can't write.
    Read,
    /// Loading rows, fence, ledger, prepared transactions.
    Load,
    /// DDL. Unqualified names are those of the default schema.
    Define,
}

/// What the server says about itself.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    pub version: String,
    /// 150020 for 15.20.
    pub version_num: u32,
    pub server_encoding: String,
    /// A standby.
    pub in_recovery: bool,
    pub max_prepared_transactions: u32,
    /// Process id of this session, and when it began (microseconds since 1970): together they
    /// name a session for ever.
    pub pid: u64,
    pub started: u64,
}

/// See the module.
pub struct Session {
    /// None once it broke.
    conn: Option<PgConnection>,
    name: String,
    role: Role,
    /// A statement is under way, or was cut off: nothing else can be sent.
    busy: bool,
    pub facts: ServerFacts,
}

impl Host {
    /// Reads `postgres://user@host:port/database?schema=…&sslmode=…&sslrootcert=…&host=/socket/dir`.
    pub fn new(endpoint: &Endpoint, password: Option<&SecretString>) -> Result<Host, Error> {
        let usage = |what: &str| {
            let what = format!("the URL of the PostgreSQL endpoint: {what}");
            Error::permanent(Code::Usage, what)
        };
        let url = Url::parse(&endpoint.url).map_err(|error| usage(&error.to_string()))?;
        let text = |part: &str| decode(part).ok_or_else(|| usage("a part of it is not UTF-8"));
        let user = match url.username() {
            "" => return Err(usage("the user is missing")),
            user => text(user)?,
        };
        let mut host = match url.host() {
            None => "localhost".to_owned(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => text(&host.to_string())?,
        };
        let port = url.port().unwrap_or(5432);
        let database = text(url.path().trim_start_matches('/'))?;
        if database.is_empty() {
            return Err(usage("the database is missing"));
        }
        // The driver would fill what is left out from PGPASSWORD and the like: everything that
        // matters is said.
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(port)
            .username(&user)
            .password(password.map_or("", |password| password.expose_secret()))
            .database(&database)
            .ssl_mode(PgSslMode::Prefer)
            .application_name("sterna")
            .statement_cache_capacity(0)
            .extra_float_digits(3)
            .disable_statement_logging();
        let mut schema = "public".to_owned();
        let mut needs_tls = false;
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref()) {
                ("schema", "") => return Err(usage("the schema is empty")),
                ("schema", name) => schema = name.to_owned(),
                ("host", directory) if directory.starts_with('/') => host = directory.to_owned(),
                ("sslrootcert", path) => options = options.ssl_root_cert(path),
                ("sslmode", mode) => {
                    needs_tls = matches!(mode, "require" | "verify-ca" | "verify-full");
                    let mode = mode.parse().map_err(|_| {
                        usage("sslmode is disable, prefer, require, verify-ca or verify-full")
                    })?;
                    options = options.ssl_mode(mode);
                }
                (other, _) => return Err(usage(&format!("{other:?} is no option of it"))),
            }
        }
        let name = format!("{user}@{host}:{port}/{database}");
        Ok(Host {
            options: options.host(&host),
            link: Link {
                host,
                port,
                user,
                password: password.cloned().unwrap_or_else(|| "".into()),
                needs_tls,
            },
            database,
            schema,
            name,
        })
    }

    /// The schema a table is in; None = the default one.
    pub fn schema_of<'a>(&'a self, schema: Option<&'a str>) -> &'a str {
        schema.unwrap_or(&self.schema)
    }

    /// Connects and pins the session.
    pub async fn open(&self, role: Role, purpose: Purpose) -> Result<Session, Failed> {
        let deadline = Duration::from_millis(limits::CONNECT_DEADLINE_MS);
        let conn = match timeout(deadline, self.options.connect()).await {
            Err(_) => return Err(Failed::late(&self.name, "the connection attempt")),
            Ok(Err(error)) => return Err(classify(&error, &self.name, role)),
            Ok(Ok(conn)) => conn,
        };
        let mut session = Session {
            conn: Some(conn),
            name: self.name.clone(),
            role,
            busy: false,
            facts: ServerFacts::default(),
        };
        session.pin(purpose, &self.schema).await?;
        Ok(session)
    }
}

impl Session {
    async fn pin(&mut self, purpose: Purpose, schema: &str) -> Result<(), Failed> {
        let (lock_wait_ms, read_only) = match purpose {
            Purpose::Read => (limits::STATEMENT_DEADLINE_MS, "on"),
            Purpose::Load | Purpose::Define => (limits::LOCK_WAIT_MS, "off"),
        };
        // Deadlines are this side's: a statement_timeout would count the time a COPY waits for us.
        self.run(&format!(
            "{VALUES_PINNED}; SET statement_timeout = 0; \
             SET lock_timeout = {lock_wait_ms}; SET idle_in_transaction_session_timeout = 0; \
             SET default_transaction_isolation = 'read committed'; \
             SET default_transaction_read_only = {read_only}; \
             SET default_transaction_deferrable = off; SET jit = off"
        ))
        .await?;
        self.ask_facts().await?;
        let mut more = Vec::new();
        if self.facts.version_num >= 140_000 {
            more.push("SET idle_session_timeout = 0");
        }
        if self.facts.version_num >= 170_000 {
            more.push("SET transaction_timeout = 0");
        }
        // Bytes of no declared encoding travel as they are.
        if self.facts.server_encoding == "SQL_ASCII" {
            more.push("SET client_encoding = 'SQL_ASCII'");
        }
        // A commit that was answered must be there after a crash.
        more.push(
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'",
        );
        self.run(&more.join("; ")).await?;
        if self.facts.version_num >= 140_000 {
            // A server that can't notice it at once notices it at the next write.
            let _ = self
                .run("SET client_connection_check_interval = 5000")
                .await;
        }
        if purpose != Purpose::Read {
            self.search_path(&[schema]).await?;
        }
        Ok(())
    }

    async fn ask_facts(&mut self) -> Result<(), Failed> {
        let asked = "SELECT current_setting('server_version'), \
            current_setting('server_version_num'), current_setting('server_encoding'), \
            pg_is_in_recovery()::text, current_setting('max_prepared_transactions'), \
            pg_backend_pid()::text, (SELECT (extract(epoch FROM backend_start) * 1000000)::int8::text \
            FROM pg_stat_activity WHERE pid = pg_backend_pid())";
        let row = self.row(asked).await?.unwrap_or_default();
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        self.facts = ServerFacts {
            version: cell(0),
            version_num: cell(1).parse().unwrap_or(0),
            server_encoding: cell(2),
            in_recovery: cell(3) == "true",
            max_prepared_transactions: cell(4).parse().unwrap_or(0),
            pid: cell(5).parse().unwrap_or(0),
            started: cell(6).parse().unwrap_or(0),
        };
        Ok(())
    }

    /// Where unqualified names are looked up, after `pg_catalog`.
    pub async fn search_path(&mut self, schemas: &[&str]) -> Result<(), Failed> {
        let path: Vec<String> = schemas.iter().map(|schema| ident(schema)).collect();
        let sql = format!(
            "SELECT pg_catalog.set_config('search_path', {}, false)",
            text(&path.join(", "))
        );
        self.run(&sql).await?;
        Ok(())
    }

    /// A statement that gives no rows and should be quick. Returns the rows it affected.
    pub async fn run(&mut self, sql: &str) -> Result<u64, Failed> {
        self.run_within(sql, limits::STATEMENT_DEADLINE_MS).await
    }

    /// A statement that gives no rows. After a late answer the session is gone.
    pub async fn run_within(&mut self, sql: &str, deadline_ms: u64) -> Result<u64, Failed> {
        let conn = self.conn()?;
        let deadline = Duration::from_millis(deadline_ms);
        let ran = timeout(deadline, vouched(sql).execute(conn)).await;
        Ok(self.answered(ran, sql)?.rows_affected())
    }

    /// Several statements in one go; the rows each of them affected. The first that fails ends them.
    pub async fn run_all(&mut self, sql: &str, deadline_ms: u64) -> Result<Vec<u64>, Failed> {
        let conn = self.conn()?;
        let each = vouched(sql).execute_many(conn);
        let each = each.map(|done| done.map(|done| done.rows_affected()));
        let ran = timeout(Duration::from_millis(deadline_ms), each.try_collect()).await;
        self.answered(ran, sql)
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
        let rows = timeout(deadline, vouched(sql).fetch_all(conn)).await;
        let rows: Vec<PgRow> = self.answered(rows, sql)?;
        Ok(rows.iter().map(texts).collect())
    }

    /// The first row of a short answer.
    pub async fn row(&mut self, sql: &str) -> Result<Option<TextRow>, Failed> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// The first cell of a short answer.
    pub async fn cell(&mut self, sql: &str) -> Result<Option<String>, Failed> {
        let row = self.row(sql).await?;
        Ok(row.and_then(|row| row.into_iter().next().flatten()))
    }

    /// COPY FROM STDIN: all that `encoder` gives, or an error. Returns the rows the server says it
    /// took. Cut off half way, the session is good for nothing more.
    pub async fn copy_in(&mut self, sql: &str, mut encoder: Encoder<'_>) -> Result<u64, Error> {
        let (name, role) = (self.name.clone(), self.role);
        let deadline = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        let conn = self.conn()?;
        let copied = timeout(deadline, copy_pieces(conn, sql, &mut encoder));
        let copied = match copied.await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(Interrupted::Driver(error))) => {
                let failed = classify(&error, &name, role);
                match failed.is_fatal() {
                    true => return Err(failed.into()),
                    false => Err(failed.into()),
                }
            }
            Ok(Err(Interrupted::Cell(error))) => return Err(error),
            Err(_) => return Err(Failed::late(&name, "load rows").into()),
        };
        self.busy = false;
        copied
    }

    /// COPY TO STDOUT: bytes as the server sends them. Until their end the session is good for
    /// nothing else.
    pub async fn copy_out(&mut self, sql: &str) -> Result<Pieces<'_>, Failed> {
        let (name, role) = (self.name.clone(), self.role);
        let deadline = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        self.conn()?;
        let Some(conn) = self.conn.as_mut() else {
            return Err(Failed::unreachable(name));
        };
        match timeout(deadline, conn.copy_out_raw(sql)).await {
            Err(_) => Err(Failed::late(&name, "read rows")),
            Ok(Err(error)) => Err(classify(&error, &name, role)),
            Ok(Ok(stream)) => Ok(Pieces {
                stream,
                busy: &mut self.busy,
                name,
                role,
            }),
        }
    }

    /// False once a statement was cut off: nothing can be sent any more.
    pub fn is_alive(&self) -> bool {
        self.conn.is_some() && !self.busy
    }

    /// The connection, busy until [`Session::answered`] or the end of a copy says otherwise.
    fn conn(&mut self) -> Result<&mut PgConnection, Failed> {
        if self.busy {
            self.close();
        }
        match &mut self.conn {
            Some(conn) => {
                self.busy = true;
                Ok(conn)
            }
            None => {
                let what = format!("{}: the connection is gone", self.name);
                Err(Failed::unreachable(what))
            }
        }
    }

    /// Sorts an answer; anything but the server's own refusal ends the session.
    fn answered<T>(
        &mut self,
        answer: Result<sqlx::Result<T>, tokio::time::error::Elapsed>,
        what: &str,
    ) -> Result<T, Failed> {
        let failed = match answer {
            Ok(Ok(value)) => {
                self.busy = false;
                return Ok(value);
            }
            Ok(Err(error)) => classify(&error, &self.name, self.role),
            Err(_) => {
                let what: String = what.chars().take(60).collect();
                Failed::late(&self.name, &what)
            }
        };
        match failed.is_fatal() {
            true => self.close(),
            false => self.busy = false,
        }
        Err(failed)
    }

    /// Closes the socket at once, whatever is under way on it.
    pub fn close(&mut self) {
        // The driver's own drop sends nothing and waits for nothing.
        self.conn = None;
    }
}

/// The one place that says that a text is SQL: names and values in it went through `quote`.
fn vouched(sql: &str) -> sqlx::RawSql {
    sqlx::raw_sql(AssertSqlSafe(sql))
}

/// What ended a COPY FROM STDIN early.
enum Interrupted {
    Driver(sqlx::Error),
    /// A cell that can't be written.
    Cell(Error),
}

async fn copy_pieces(
    conn: &mut PgConnection,
    sql: &str,
    encoder: &mut Encoder<'_>,
) -> Result<u64, Interrupted> {
    let mut copy = conn.copy_in_raw(sql).await.map_err(Interrupted::Driver)?;
    let mut piece = Vec::with_capacity(COPY_PIECE_BYTES * 2);
    loop {
        piece.clear();
        encoder
            .fill(&mut piece, COPY_PIECE_BYTES)
            .map_err(Interrupted::Cell)?;
        if piece.is_empty() {
            return copy.finish().await.map_err(Interrupted::Driver);
        }
        copy.send(&piece[..]).await.map_err(Interrupted::Driver)?;
    }
}

/// See [`Session::copy_out`].
pub struct Pieces<'a> {
    stream: BoxStream<'a, sqlx::Result<Bytes>>,
    busy: &'a mut bool,
    name: String,
    role: Role,
}

impl Pieces<'_> {
    /// None = the end, and the session is free again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        let deadline = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        match within(deadline, self.stream.next()).await {
            Err(_) => Err(Failed::late(&self.name, "read rows")),
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(Some(Err(error))) => Err(classify(&error, &self.name, self.role)),
            Ok(None) => {
                *self.busy = false;
                Ok(None)
            }
        }
    }
}

fn texts(row: &PgRow) -> TextRow {
    let cell = |at: usize| {
        let value = row.try_get_raw(at).ok().filter(|value| !value.is_null())?;
        let bytes = value.as_bytes().ok()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    (0..row.len()).map(cell).collect()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
