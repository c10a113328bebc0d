//! Named checks of a server in either role, see [`crate::connector::Connector::check`]. Every check
//! is a function of its own that gives exactly one [`Check`]; what can't be asked is a failed check
//! of that name. Nothing stays: a right is tried by a statement that fails of another cause.
//!
//! | file | what |
//! |---|---|
//! | `server` | both ends: version, character set, sessions, prepared and long transactions |
//! | `source` | reading: rights, keys, storage engines |
//! | `log` | following: the binary log, its format, rights, what of the tables isn't in it |
//! | `target` | writing: rights, XA, LOAD DATA, triggers, other writers, durability |

mod log;
mod server;
mod source;
mod target;

use common::change::FollowMode;
use common::check::{Check, End, Verdict};
use common::code::{Code, Failure};
use common::job::Purpose as JobPurpose;

use super::error::Failed;
use super::session::{Host, Purpose, Session};
use crate::connector::mysql::binlog::log::Asked;
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

async fn open(host: &Host, role: Role) -> Result<Session> {
    let purpose = match role {
        Role::Source => Purpose::Read,
        Role::Target => Purpose::Load,
    };
    Ok(host.open(role, purpose).await?)
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
    /// What a check gave, or that it couldn't be made. Heals a session that broke meanwhile.
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

    /// Whether the job reads the source's log if it can.
    fn follows(&self) -> bool {
        let migrates = matches!(self.request.spec.purpose, JobPurpose::Migrate);
        migrates && self.request.spec.follow != FollowMode::Off
    }

    /// Something is in the way of following: as bad as the job's need for it.
    fn unfollowable(&self, name: &str, found: impl Into<String>, why: &str) -> Check {
        let check = self.failed(name, Code::LogUnusable, found);
        match self.request.spec.follow {
            FollowMode::PointInTime | FollowMode::Live if self.follows() => {
                check.means(format!("{why}; the job asks to follow the source"))
            }
            _ => Check {
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

    /// Rows of text, NULL as an empty one.
    async fn texts(&mut self, sql: &str) -> Asked<Vec<Vec<String>>> {
        let rows = self.session.rows(sql).await?;
        let texts = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default);
        Ok(rows.into_iter().map(|row| texts(row).collect()).collect())
    }

    /// The first row.
    async fn line(&mut self, sql: &str) -> Asked<Vec<String>> {
        let rows = self.texts(sql).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    /// Both words for a replica's state, of which a server knows one.
    async fn either(&mut self, one: &str, two: &str) -> Asked<Vec<Vec<String>>> {
        match self.texts(one).await {
            Err(failed) if failed.number == SYNTAX_ERROR => self.texts(two).await,
            rows => rows,
        }
    }
}

const SYNTAX_ERROR: u16 = 1064;

fn cell(row: &[String], at: usize) -> &str {
    row.get(at).map_or("", String::as_str)
}

fn may_not(failed: &Failed) -> bool {
    failed.error.failure.code == Code::Privileges
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
