//! Named checks of a server in either role, see [`crate::connector::Connector::check`]. Every check
//! is a function of its own that gives exactly one [`Check`]; what can't be asked is a failed check
//! of that name. Nothing stays: a right is tried in a transaction that is rolled back.
//!
//! | file | what |
//! |---|---|
//! | `server` | both ends: version, encoding, sessions, prepared transactions |
//! | `source` | reading: rights, row security, indexes |
//! | `log` | following: WAL, slots, replica identity |
//! | `target` | writing: rights, two-phase commit, triggers, other writers, durability |

mod log;
mod server;
mod source;
mod target;

use common::change::FollowMode;
use common::check::{Check, End, Verdict};
use common::code::{Code, Failure};
use common::job::Purpose as JobPurpose;
use common::schema::TableSchema;

use super::quote::qualified;
use super::session::{Host, Purpose, Session};
use crate::connector::{CheckRequest, Error, Result, Role};

/// Names that a check lists before it counts.
const NAMED_MAX: usize = 10;

/// What a check asks with.
struct Asker<'a> {
    host: &'a Host,
    request: &'a CheckRequest,
    end: End,
    session: Session,
}

/// What the job wants of the source's log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It doesn't read it.
    Nothing,
    /// It reads it if it can.
    Wanted,
    Must,
}

/// See [`crate::connector::Connector::check`].
pub async fn run(host: &Host, request: &CheckRequest) -> Vec<Check> {
    let end = match request.role {
        Role::Source => End::Source,
        Role::Target => End::Target,
    };
    let session = match open(host, request.role).await {
        Ok(session) => session,
        // Whoever asked has found the same out under the name `reachable`.
        Err(error) => return vec![unasked("version", end, error)],
    };
    let mut ask = Asker {
        host,
        request,
        end,
        session,
    };
    let mut checks = server::run(&mut ask).await;
    match request.role {
        Role::Source => {
            checks.extend(source::run(&mut ask).await);
            checks.extend(log::run(&mut ask).await);
        }
        Role::Target => checks.extend(target::run(&mut ask).await),
    }
    checks
}

/// A source's session can't write; at a target rights to write are tried.
async fn open(host: &Host, role: Role) -> Result<Session> {
    let purpose = match role {
        Role::Source => Purpose::Read,
        Role::Target => Purpose::Define,
    };
    let mut session = host.open(role, purpose).await?;
    session.search_path(&[&host.schema]).await?;
    Ok(session)
}

/// A check that couldn't be made.
fn unasked(name: &str, end: End, error: Error) -> Check {
    let Failure { code, what, fixes } = error.failure;
    let mut check = Check::failed(name, end, code, what);
    check.means = "this could not be asked, so nothing is known about it".to_owned();
    check.fixes = fixes;
    check
}

impl Asker<'_> {
    /// What a check gave, or that it couldn't be made. Heals what it left: a broken session, an
    /// open transaction.
    async fn settled(&mut self, name: &str, answer: Result<Check>) -> Check {
        if !self.session.is_alive()
            && let Ok(session) = open(self.host, self.request.role).await
        {
            self.session = session;
        }
        match answer {
            Ok(check) => check,
            Err(error) => unasked(name, self.end, error),
        }
    }

    fn passed(&self, name: &str, found: impl Into<String>) -> Check {
        Check::passed(name, self.end, found)
    }

    fn warning(&self, name: &str, code: Code, found: impl Into<String>) -> Check {
        Check::warning(name, self.end, code, found)
    }

    fn failed(&self, name: &str, code: Code, found: impl Into<String>) -> Check {
        Check::failed(name, self.end, code, found)
    }

    fn need(&self) -> Need {
        match (&self.request.spec.purpose, self.request.spec.follow) {
            (JobPurpose::Verify(_) | JobPurpose::Repair(_), _) | (_, FollowMode::Off) => {
                Need::Nothing
            }
            (_, FollowMode::Auto) => Need::Wanted,
            (_, FollowMode::PointInTime | FollowMode::Live) => Need::Must,
        }
    }

    /// Something is in the way of following: as bad as the job's need for it.
    fn unfollowable(&self, name: &str, found: impl Into<String>, why: &str) -> Check {
        let check = self.failed(name, Code::LogUnusable, found);
        match self.need() {
            Need::Must => check.means(format!("{why}; the job asks to follow the source")),
            Need::Wanted | Need::Nothing => Check {
                verdict: Verdict::Warning,
                ..check.means(format!(
                    "{why}; so the copy isn't replayed, and fails if the source is written to \
                     while it runs"
                ))
            },
        }
    }

    /// Whether the job writes to its target.
    fn writes(&self) -> bool {
        match &self.request.spec.purpose {
            JobPurpose::Migrate => true,
            JobPurpose::Verify(_) => false,
            JobPurpose::Repair(options) => !options.dry_run,
        }
    }

    /// A table as SQL.
    fn sql_of(&self, table: &TableSchema) -> String {
        qualified(self.host.schema_of(table.schema.as_deref()), &table.name)
    }

    /// Rows of text, NULL as an empty one.
    async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.session.rows(sql).await?;
        let texts = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default);
        Ok(rows.into_iter().map(|row| texts(row).collect()).collect())
    }

    /// A row of text; one of no cells if there is none.
    async fn line(&mut self, sql: &str) -> Result<Line> {
        Ok(Line(
            self.texts(sql)
                .await?
                .into_iter()
                .next()
                .unwrap_or_default(),
        ))
    }

    /// A setting as the server would give it to others.
    async fn setting(&mut self, name: &str) -> Result<String> {
        let sql = format!(
            "SELECT coalesce(reset_val, '') FROM pg_catalog.pg_settings WHERE name = {}",
            super::quote::text(name)
        );
        Ok(self.session.cell(&sql).await?.unwrap_or_default())
    }
}

/// Cells of a row by their place.
struct Line(Vec<String>);

impl Line {
    fn text(&self, at: usize) -> &str {
        self.0.get(at).map_or("", String::as_str)
    }

    fn is(&self, at: usize) -> bool {
        self.text(at) == "true"
    }

    fn number(&self, at: usize) -> i64 {
        self.text(at).parse().unwrap_or(0)
    }
}

/// The first of the names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.len().min(NAMED_MAX);
    let mut text = names[..shown].join(", ");
    if names.len() > shown {
        text.push_str(&format!(" and {} more", names.len() - shown));
    }
    text
}

/// Adds all of the fixes.
fn with_fixes(mut check: Check, fixes: impl IntoIterator<Item = String>) -> Check {
    check.fixes.extend(fixes);
    check
}
