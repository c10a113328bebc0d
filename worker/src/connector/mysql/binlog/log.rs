//! Questions to a server about its binary log.

use common::change::Position;
use common::code::{Code, Failure};
use common::id::JobUid;

use super::gtid::Executed;
use super::position::{Place, Point};
use crate::connector::mysql::error::Failed;
use crate::connector::mysql::quote::text;
use crate::connector::mysql::session::{Session, TextRow};
use crate::connector::{Error, Result};

/// An answer, or the server's refusal with its number.
pub type Asked<T> = std::result::Result<T, Failed>;

/// A file of the log and its length now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    pub name: String,
    pub bytes: u64,
}

/// Where the log ends, what of it is filtered, and what was executed.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub end: Point,
    pub filtered: bool,
    /// MySQL's; a part of what the log holds up to `end`, taken a moment before.
    gtids: String,
}

/// SHOW MASTER STATUS; None = the log is off.
pub async fn status(session: &mut Session) -> Asked<Option<Status>> {
    let row = either(session, "SHOW MASTER STATUS", "SHOW BINARY LOG STATUS").await?;
    let Some(row) = row.into_iter().next() else {
        return Ok(None);
    };
    let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok(Some(Status {
        end: Point::new(cell(0), cell(1).parse().unwrap_or(0)),
        filtered: !cell(2).is_empty() || !cell(3).is_empty(),
        gtids: cell(4).split_whitespace().collect(),
    }))
}

/// MySQL 8.4 removed the old names of some statements.
pub async fn either(session: &mut Session, old: &str, new: &str) -> Asked<Vec<TextRow>> {
    match session.rows(old).await {
        Err(failed) if failed.number == 1064 => session.rows(new).await,
        rows => rows,
    }
}

pub fn off() -> Error {
    Error::permanent(Code::LogUnusable, "the server keeps no binary log")
}

/// The place where the log ends now.
pub async fn end(session: &mut Session) -> Result<Place> {
    let status = status(session).await?.ok_or_else(off)?;
    let mut place = Place::at(status.end);
    place.executed = match session.facts.mariadb {
        true => executed_at(session, &place.point).await?,
        false => Executed::parse(&status.gtids),
    };
    Ok(place)
}

/// MariaDB: what was executed up to a point; None = there is no such point.
pub async fn executed_at(session: &mut Session, point: &Point) -> Result<Option<Executed>> {
    let sql = format!(
        "SELECT BINLOG_GTID_POS({}, {})",
        text(&point.file),
        point.offset
    );
    let answer = session.cell(&sql).await?;
    Ok(answer.and_then(|gtids| Executed::parse(&gtids)))
}

pub async fn files(session: &mut Session) -> Asked<Vec<LogFile>> {
    let rows = session.rows("SHOW BINARY LOGS").await?;
    let file = |row: TextRow| {
        let mut cells = row.into_iter();
        let name = cells.next()??;
        let bytes = cells.next()??.parse().ok()?;
        Some(LogFile { name, bytes })
    };
    Ok(rows.into_iter().filter_map(file).collect())
}

/// Which server's log it is. MariaDB has no number of its own but the one it was given, so the
/// numbers of its transactions are compared as well, see [`check`].
pub async fn identity(session: &mut Session) -> Result<String> {
    if session.facts.mariadb {
        let row = session.row("SELECT @@server_id, @@gtid_domain_id").await?;
        let row = row.unwrap_or_default();
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        return Ok(format!("mariadb server_id {} domain {}", cell(0), cell(1)));
    }
    let uuid = session.cell("SELECT @@server_uuid").await?;
    Ok(format!("mysql server_uuid {}", uuid.unwrap_or_default()))
}

fn lost(what: String) -> Error {
    Error::permanent(Code::LogLost, what)
}

fn other(what: String) -> Error {
    Error::permanent(Code::SourceOther, what)
}

/// Fails unless the server is the one of `identity` and its log still holds everything after
/// `place`, with the same history before it.
pub async fn check(session: &mut Session, place: &Place, expected: &str) -> Result<()> {
    let identity = identity(session).await?;
    if !expected.is_empty() && identity != expected {
        let what = format!("it is {identity}, the copy was made of {expected}");
        return Err(other(what));
    }
    let files = files(session).await?;
    for point in [place.start(), &place.point] {
        let Some(file) = files.iter().find(|file| file.name == point.file) else {
            let first = files.first().map_or("nothing", |file| &file.name);
            let what = format!(
                "{} is to be read from {} on, and the server's log begins with {first}",
                point.file, point.offset
            );
            return Err(lost(what));
        };
        if point.offset > file.bytes {
            let what = format!(
                "{} ends at {}, before {point}, up to which it was read: the server lost the end \
                 of its log in a crash, or began a new one",
                file.name, file.bytes
            );
            return Err(lost(what));
        }
    }
    match &place.executed {
        Some(executed @ Executed::Mariadb(_)) => {
            let now = executed_at(session, &place.point).await?;
            if now.as_ref().is_none_or(|now| now != executed) {
                let now = now.map_or_else(
                    || "no transaction ends there".to_owned(),
                    |now| format!("it says {now}"),
                );
                let what = format!("at {} its history was {executed}, now {now}", place.point);
                return Err(other(what));
            }
        }
        Some(executed @ Executed::Mysql(_)) => {
            let sql = format!(
                "SELECT GTID_SUBSET({}, @@GLOBAL.gtid_executed)",
                text(&executed.to_string())
            );
            if session.cell(&sql).await?.as_deref() == Some("0") {
                let what = format!("it did not execute all of {executed}, which was read from it");
                return Err(other(what));
            }
        }
        None => {}
    }
    Ok(())
}

/// Our number as a replica: the same for every worker that follows for a job, so that the server
/// ends the older session when a newer one comes. High, so that nobody has it.
pub fn replica_id(job: &JobUid) -> u32 {
    let head = job.0.get(..8).unwrap_or_default();
    let tail = job.0.get(24..).unwrap_or_default();
    let number = |digits: &str| u32::from_str_radix(digits, 16).unwrap_or(0);
    (number(head) ^ number(tail).rotate_left(16)) | 0x8000_0000
}

/// The same as a UUID, which is what MySQL goes by.
pub fn replica_uuid(job: &JobUid) -> String {
    let part = |from: usize, to: usize| job.0.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// `--from`.
pub async fn given(session: &mut Session, words: &str) -> Result<Place> {
    let usage = |what: String| Error::permanent(Code::Usage, what);
    // A position that a job of ours named says more than the point: branches open there, GTIDs.
    let Ok(mut place) = Place::parse(words.trim()) else {
        let what = format!(
            "--from {words:?}: a binary log is followed from file:position, as SHOW MASTER STATUS \
             gives it, or from the position a job of ours stands for"
        );
        return Err(usage(what));
    };
    place.given = true;
    check(session, &place, "").await?;
    if session.facts.mariadb && place.executed.is_none() {
        place.executed = executed_at(session, &place.point).await?;
        if place.executed.is_none() {
            let what = format!("--from {words}: no transaction ends there");
            return Err(usage(what));
        }
    }
    Ok(place)
}

/// A position without anything but its place, to compare others with.
pub fn bare(point: &Point) -> Position {
    Position {
        order: point.order(),
        text: point.to_string(),
    }
}

/// The server's refusal to give its log.
pub fn refused(number: u16, message: &str) -> Option<Failure> {
    // 4052: another session has our number as a replica, which older servers say as 1236.
    if !matches!(number, 1236 | 4052) {
        return None;
    }
    let lost = [
        "Could not find first log file",
        "purged",
        "position > file size",
        "impossible position",
        "not in the master's binlog",
        "not in the source",
    ];
    let code = match lost.iter().any(|words| message.contains(words)) {
        true => Code::LogLost,
        false => Code::SourceFailed,
    };
    Some(Failure::new(code, format!("{message} ({number})")))
}
