//! What a SQLSTATE means: its class and Sterna's code. The server's own words are kept, with the
//! line of CONTEXT in which COPY names table and column; they hold names and values, no password.

use common::code::{Code, ErrorClass, Failure};
use sqlx::Error as Driver;
use sqlx::postgres::PgDatabaseError;

use crate::connector::{Error, Role};

pub const LOCK_NOT_AVAILABLE: &str = "55P03";
pub const UNIQUE_VIOLATION: &str = "23505";
pub const UNDEFINED_TABLE: &str = "42P01";
/// COMMIT PREPARED: no such transaction.
pub const UNDEFINED_OBJECT: &str = "42704";
/// COMMIT PREPARED: another session is at it.
pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// The server's words of one failure that are kept: values may be as long as anything.
const WORDS_MAX: usize = 400;

/// A failed statement: the server's SQLSTATE (empty = it never answered) beside what is reported.
#[derive(Clone, Debug)]
pub struct Failed {
    pub sqlstate: String,
    pub error: Error,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        failed.error
    }
}

impl Failed {
    /// The answer did not come in time; what became of the statement is unknown.
    pub fn late(endpoint: &str, what: &str) -> Failed {
        Failed::unreachable(format!("{endpoint}: no answer in time to {what}"))
    }

    /// The connection can't be used after it: the server closed it, or never answered.
    pub fn is_fatal(&self) -> bool {
        self.sqlstate.is_empty() || self.error.failure.code == Code::Unreachable
    }

    /// Says first what it is about.
    pub fn about(mut self, subject: &str) -> Failed {
        let what = &mut self.error.failure.what;
        *what = format!("{subject}: {what}");
        self
    }

    /// A connection that can't be used any more.
    pub fn unreachable(what: String) -> Failed {
        Failed {
            sqlstate: String::new(),
            error: Error::transient(Code::Unreachable, what),
        }
    }
}

/// Classifies a driver's error about `endpoint` in its `role`.
pub fn classify(error: &Driver, endpoint: &str, role: Role) -> Failed {
    let (sqlstate, class, code, words) = match error {
        Driver::Database(database) => {
            match database.try_downcast_ref::<PgDatabaseError>() {
                Some(server) if is_too_long(server) => {
                    let class = ErrorClass::Permanent;
                    let words = format!(
                        "a row is longer than what PostgreSQL can put in one message, 1 GiB of \
                         text (bytes take two characters each): {}",
                        words(server)
                    );
                    (server.code().to_owned(), class, failed(role), words)
                }
                Some(server) => {
                    let (class, code) = of_sqlstate(server.code(), server.message(), role);
                    (server.code().to_owned(), class, code, words(server))
                }
                // sqlx has no other kind for this engine.
                None => {
                    let words = database.message().to_owned();
                    (String::new(), ErrorClass::Permanent, failed(role), words)
                }
            }
        }
        Driver::Tls(tls) => {
            let words = format!("TLS: {tls}");
            let class = ErrorClass::Permanent;
            (String::new(), class, Code::Unreachable, words)
        }
        // Its text may quote what it was given.
        Driver::Configuration(_) => {
            let words = "the connection's settings are not valid".to_owned();
            (String::new(), ErrorClass::Permanent, Code::Usage, words)
        }
        Driver::Io(io) => {
            let class = ErrorClass::Transient;
            (String::new(), class, Code::Unreachable, io.to_string())
        }
        other => {
            let class = ErrorClass::Transient;
            (String::new(), class, Code::Unreachable, other.to_string())
        }
    };
    Failed {
        sqlstate,
        error: Error {
            class,
            failure: Failure::new(code, format!("{endpoint}: {words}")),
        },
    }
}

/// The server's buffers end at 1 GiB; it calls that out of memory, which it isn't.
fn is_too_long(server: &PgDatabaseError) -> bool {
    let said = |text: &str| {
        text.contains("invalid memory alloc request size")
            || text.contains("Cannot enlarge string buffer")
            || text.contains("string buffer exceeds maximum")
    };
    said(server.message()) || server.detail().is_some_and(said)
}

/// Message, detail and where it was, in one line.
fn words(server: &PgDatabaseError) -> String {
    let mut words = short(server.message());
    if let Some(detail) = server.detail() {
        words.push_str("; ");
        words.push_str(&short(detail));
    }
    let copy = |line: &&str| line.starts_with("COPY ");
    if let Some(context) = server.r#where().and_then(|text| text.lines().find(copy)) {
        words.push_str("; ");
        words.push_str(&short(context));
    } else if let Some(table) = server.table() {
        words.push_str("; table ");
        words.push_str(table);
        if let Some(column) = server.column() {
            words.push_str(", column ");
            words.push_str(column);
        }
    }
    format!("{words} ({})", server.code())
}

fn short(text: &str) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The code of a failure that is nobody's in particular.
pub fn failed(role: Role) -> Code {
    match role {
        Role::Source => Code::SourceFailed,
        Role::Target => Code::TargetRejected,
    }
}

fn of_sqlstate(sqlstate: &str, message: &str, role: Role) -> (ErrorClass, Code) {
    use ErrorClass::{Permanent, Transient};
    let target = role == Role::Target;
    match sqlstate {
        "57P04" | "3D000" => (Permanent, Code::NoSuchDatabase),
        // Connection lost, shutdown, crash, starting up, idle or busy too long, too many
        // connections.
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25P03" | "25P04" => {
            (Transient, Code::Unreachable)
        }
        // Rolled back, serialization, deadlock, lock wait, cancelled, in use, out of memory or of
        // another resource.
        "40000" | "40001" | "40003" | "40P01" | "55P03" | "57014" | "55006" | "53000" | "53200"
        | "53400" => (Transient, failed(role)),
        // A plan that no longer fits, a relation that was replaced under a running statement.
        "0A000" if message.contains("cached plan") => (Transient, failed(role)),
        "53100" if target => (Permanent, Code::TargetFull),
        "58030" if target && message.contains("No space left") => (Permanent, Code::TargetFull),
        "42501" => (Permanent, Code::Privileges),
        "25006" if target => (Permanent, Code::TargetReadOnly),
        _ if sqlstate.starts_with("08") => (Transient, Code::Unreachable),
        _ if sqlstate.starts_with("28") => (Permanent, Code::AccessDenied),
        // The value has no place in the column's type.
        _ if sqlstate.starts_with("22") && target => (Permanent, Code::NotRepresentable),
        _ => (Permanent, failed(role)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_get_the_class_that_decides_about_a_retry() {
        use ErrorClass::{Permanent, Transient};
        for (sqlstate, role, expected) in [
            ("28P01", Role::Source, (Permanent, Code::AccessDenied)),
            ("42501", Role::Target, (Permanent, Code::Privileges)),
            ("3D000", Role::Target, (Permanent, Code::NoSuchDatabase)),
            ("55P03", Role::Target, (Transient, Code::TargetRejected)),
            ("40P01", Role::Source, (Transient, Code::SourceFailed)),
            ("25006", Role::Target, (Permanent, Code::TargetReadOnly)),
            ("53100", Role::Target, (Permanent, Code::TargetFull)),
            ("53100", Role::Source, (Permanent, Code::SourceFailed)),
            ("23505", Role::Target, (Permanent, Code::TargetRejected)),
            ("22001", Role::Target, (Permanent, Code::NotRepresentable)),
            ("22P02", Role::Source, (Permanent, Code::SourceFailed)),
            ("08006", Role::Target, (Transient, Code::Unreachable)),
            ("57P01", Role::Target, (Transient, Code::Unreachable)),
            ("53300", Role::Target, (Transient, Code::Unreachable)),
            ("25P04", Role::Source, (Transient, Code::Unreachable)),
            ("57014", Role::Target, (Transient, Code::TargetRejected)),
            ("42501", Role::Source, (Permanent, Code::Privileges)),
            ("28000", Role::Target, (Permanent, Code::AccessDenied)),
        ] {
            assert_eq!(of_sqlstate(sqlstate, "", role), expected, "{sqlstate}");
        }
    }
}
