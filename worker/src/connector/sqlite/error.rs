//! SQLite's result codes, classified once: what may be tried again, and what a user is told.

use std::path::Path;

use common::code::Code;
use sqlx::Error as Driver;

use crate::connector::{Error, Role};

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const NOMEM: u32 = 7;
const INTERRUPT: u32 = 9;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
/// The lock could not be taken for too long (WAL).
const PROTOCOL: u32 = 15;
const NOTADB: u32 = 26;
const PERM: u32 = 3;
const AUTH: u32 = 23;

fn primary_code(error: &Driver) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Somebody else holds a lock: the same statement may succeed later.
pub fn is_busy(error: &Driver) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Names the file, what was being done, and SQLite's own words.
pub fn classify(role: Role, path: &Path, doing: &str, error: &Driver) -> Error {
    let words = match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    let what = format!("{}: {words} ({doing})", path.display());
    let failed = match role {
        Role::Source => Code::SourceFailed,
        Role::Target => Code::TargetRejected,
    };
    match primary_code(error) {
        Some(BUSY | LOCKED | NOMEM | INTERRUPT | IOERR | PROTOCOL) => {
            Error::transient(failed, what)
        }
        Some(NOTADB) => Error::permanent(
            Code::NoSuchDatabase,
            format!("{} is not an SQLite database", path.display()),
        ),
        Some(FULL) => Error::permanent(Code::TargetFull, what),
        Some(READONLY) if role == Role::Target => Error::permanent(Code::TargetReadOnly, what),
        Some(READONLY | CANTOPEN) if role == Role::Source => {
            let mut error = Error::permanent(Code::SourceFailed, what);
            error.failure = error.failure.fix(format!(
                "if a program died while it wrote to the file: open it once with `sqlite3 {}`, \
                 which repairs it",
                path.display()
            ));
            error
        }
        Some(CANTOPEN) => Error::permanent(Code::Unreachable, what),
        Some(PERM | AUTH) => Error::permanent(Code::Privileges, what),
        Some(CORRUPT) | Some(_) => Error::permanent(failed, what),
        None => match error {
            Driver::Io(_) => Error::transient(Code::Unreachable, what),
            Driver::WorkerCrashed => Error::transient(failed, what),
            _ => Error::permanent(failed, what),
        },
    }
}
