//! One SQLite connection: how a file is opened, how names are quoted, how statements are run. The
//! only place that vouches for SQL text. It knows nothing of jobs, epochs or types.
//!
//! A database file is never opened with `std::fs` here: closing such a descriptor would drop every
//! POSIX lock this process holds on the file, those of a running transaction included (see `mark`
//! for the one exception).

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::code::Code;
use common::limits;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use tokio::time::{Instant, sleep, timeout};

use super::error::classify;
use crate::connector::{Error, Result, Role};

/// How long SQLite itself waits for a lock inside one call. Short, so that a session whose unit was
/// taken away notices soon; the loops around it have the deadlines.
const BUSY_WAIT_MS: u64 = 200;
/// Pause between two attempts at a lock.
const RETRY_PAUSE_MS: u64 = 25;
/// Memory of one connection's page cache, KiB.
const CACHE_KIB: u32 = 8 << 10;

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// Write, and make the file if it isn't there.
    Create,
}

/// `"name"`, safe in any place of a statement. Columns are always qualified: SQLite takes a lone
/// `"x"` that is no column for a string.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Statements are built here and nowhere else from [`quote`], [`literal`] and parameters.
fn vouched(sql: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.to_owned())
}

/// A connection and what is needed to name it in an error.
pub struct Session {
    conn: SqliteConnection,
    role: Role,
    path: PathBuf,
}

impl Session {
    /// `row_buffer` rows may wait between SQLite's thread and the caller.
    pub async fn open(path: &Path, role: Role, access: Access, row_buffer: usize) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(access == Access::Read)
            .create_if_missing(access == Access::Create)
            // A copy is exact whatever the constraints say; they are there again afterwards.
            .foreign_keys(false)
            .pragma("ignore_check_constraints", "ON")
            // FULL leaves the end of a rollback journal unsynced: a commit could be undone by a
            // power loss that follows it.
            .pragma("synchronous", "EXTRA")
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .busy_timeout(Duration::from_millis(BUSY_WAIT_MS))
            .statement_cache_capacity(16)
            .row_buffer_size(row_buffer)
            .disable_statement_logging();
        let deadline = Instant::now() + Duration::from_millis(limits::CONNECT_DEADLINE_MS);
        let conn = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, options.connect()).await {
                Ok(Ok(conn)) => break conn,
                // Somebody opens or closes a file in WAL mode, or recovers it.
                Ok(Err(error)) if super::error::is_busy(&error) && Instant::now() < deadline => {
                    sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
                }
                Ok(Err(error)) => return Err(classify(role, path, "opening it", &error)),
                Err(_) => return Err(late(role, path, "opening it")),
            }
        };
        let path = path.to_owned();
        Ok(Session { conn, role, path })
    }

    /// Runs one statement, with as much time as it needs. Returns how many rows it changed.
    pub async fn run(&mut self, sql: &str, args: SqliteArguments) -> Result<u64> {
        let query = sqlx::query_with(vouched(sql), args);
        match self.conn.execute(query).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) => Err(self.error(sql, &error)),
        }
    }

    /// As [`Self::run`], for a statement that is used once and not kept.
    pub async fn run_once(&mut self, sql: &str, args: SqliteArguments) -> Result<u64> {
        let query = sqlx::query_with(vouched(sql), args).persistent(false);
        match self.conn.execute(query).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) => Err(self.error(sql, &error)),
        }
    }

    /// Runs one quick statement.
    pub async fn quick(&mut self, sql: &str, args: SqliteArguments) -> Result<u64> {
        let deadline = Duration::from_millis(limits::STATEMENT_DEADLINE_MS);
        match timeout(deadline, self.run(sql, args)).await {
            Ok(done) => done,
            Err(_) => Err(late(self.role, &self.path, &headline(sql))),
        }
    }

    /// All rows of a statement that yields few.
    pub async fn rows(&mut self, sql: &str, args: SqliteArguments) -> Result<Vec<SqliteRow>> {
        let query = sqlx::query_with(vouched(sql), args).persistent(false);
        let deadline = Duration::from_millis(limits::STATEMENT_DEADLINE_MS);
        match timeout(deadline, self.conn.fetch_all(query)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.error(sql, &error)),
            Err(_) => Err(late(self.role, &self.path, &headline(sql))),
        }
    }

    /// The first row, if any.
    pub async fn row(&mut self, sql: &str, args: SqliteArguments) -> Result<Option<SqliteRow>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// The first cell of the first row; None = no row, or NULL.
    pub async fn number(&mut self, sql: &str, args: SqliteArguments) -> Result<Option<i64>> {
        match self.row(sql, args).await? {
            Some(row) => cell(&row, 0),
            None => Ok(None),
        }
    }

    /// The rows of one statement as they come. Stopping half way costs nothing.
    pub fn stream(
        &mut self,
        sql: &str,
        args: SqliteArguments,
    ) -> futures::stream::BoxStream<'_, sqlx::Result<SqliteRow>> {
        let query = sqlx::query_with(vouched(sql), args).persistent(false);
        self.conn.fetch(query)
    }

    /// Opens a transaction that may write, waiting for its turn at most `wait_ms`.
    pub async fn begin_write(&mut self, wait_ms: u64) -> Result<()> {
        self.patiently("BEGIN IMMEDIATE", wait_ms).await
    }

    /// Opens a transaction that reads; its snapshot is taken by the first statement.
    pub async fn begin_read(&mut self) -> Result<()> {
        self.quick("BEGIN", SqliteArguments::default())
            .await
            .map(drop)
    }

    /// Whether the file is in WAL mode: readers and writers don't wait for each other.
    pub async fn has_log(&mut self) -> Result<bool> {
        let row = self
            .row("PRAGMA journal_mode", SqliteArguments::default())
            .await?;
        let mode: Option<String> = row.map(|row| cell(&row, 0)).transpose()?;
        Ok(mode.is_some_and(|mode| mode.eq_ignore_ascii_case("wal")))
    }

    /// Commits; readers of the file may make it wait.
    pub async fn commit(&mut self) -> Result<()> {
        self.patiently("COMMIT", limits::STATEMENT_DEADLINE_MS)
            .await
    }

    /// Ends the transaction without a trace; Ok if SQLite has ended it already.
    pub async fn rollback(&mut self) -> Result<()> {
        match self.quick("ROLLBACK", SqliteArguments::default()).await {
            Err(error) if error.failure.what.contains("no transaction is active") => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Repeats a statement that only fails because somebody else holds a lock.
    async fn patiently(&mut self, sql: &str, wait_ms: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let query = sqlx::query_with(vouched(sql), SqliteArguments::default());
            let error = match self.conn.execute(query).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if !super::error::is_busy(&error) || Instant::now() >= deadline {
                return Err(self.error(sql, &error));
            }
            sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
        }
    }

    /// Closes and waits until SQLite has let go of the file.
    pub async fn close(self) {
        let deadline = Duration::from_millis(limits::STATEMENT_DEADLINE_MS);
        // Nothing depends on it: a file that isn't closed in time is closed by SQLite's thread.
        let _ = timeout(deadline, self.conn.close()).await;
    }

    pub fn error(&self, sql: &str, error: &sqlx::Error) -> Error {
        classify(self.role, &self.path, &headline(sql), error)
    }
}

/// A cell of a catalogue query.
pub fn cell<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Sqlite>,
    T: sqlx::Type<sqlx::Sqlite>,
{
    row.try_get_unchecked(index)
        .map_err(|error| Error::permanent(Code::Internal, format!("column {index}: {error}")))
}

/// Parameters of a statement.
pub fn args<const N: usize>(texts: [&str; N]) -> SqliteArguments {
    let mut arguments = SqliteArguments::default();
    for text in texts {
        bind(&mut arguments, text);
    }
    arguments
}

/// Adds one parameter. Encoding these types can't fail.
pub fn bind<'q, T>(arguments: &mut SqliteArguments, value: T)
where
    T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    let added = sqlx::Arguments::add(arguments, value);
    debug_assert!(added.is_ok(), "numbers, texts and bytes can be encoded");
}

fn late(role: Role, path: &Path, doing: &str) -> Error {
    let code = match role {
        Role::Source => Code::SourceFailed,
        Role::Target => Code::TargetRejected,
    };
    let what = format!("{}: {doing} took too long", path.display());
    Error::transient(code, what)
}

/// The beginning of a statement, for an error.
fn headline(sql: &str) -> String {
    let line: String = sql.chars().take(80).collect();
    line.replace('\n', " ")
}
