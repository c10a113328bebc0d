//! What a server's error code means: its class and Sterna's code. The server's own words are kept;
//! they name users, hosts and values, never a password.

use common::code::{Code, ErrorClass, Failure};
use mysql_async::{DriverError, Error as Driver, IoError};

use crate::connector::{Error, Role};

/// XA: no such transaction, or (MariaDB) its owner is still connected.
pub const XAER_NOTA: u16 = 1397;
/// XA: the transaction was rolled back already, or was empty.
pub const XA_RBROLLBACK: u16 = 1402;
pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
pub const DUPLICATE_KEY: u16 = 1062;
/// A value was cut or isn't one of an ENUM's members.
pub const DATA_TRUNCATED: u16 = 1265;
pub const NO_SUCH_THREAD: u16 = 1094;
pub const NO_SUCH_TABLE: u16 = 1146;
/// KILL of another user's session.
pub const NOT_OWNER: u16 = 1095;

/// Something a definition names isn't there: database, column of a view, table, routine, view's
/// table, trigger's table, sequence.
pub const MISSING: [u16; 8] = [1049, 1054, 1109, 1146, 1305, 1356, 1449, 4091];

/// A failed statement: the server's code (0 = it never answered) beside what is reported.
#[derive(Clone, Debug)]
pub struct Failed {
    pub number: u16,
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
        Failed {
            number: 0,
            error: Error::transient(
                Code::Unreachable,
                format!("{endpoint}: no answer in time to {what}"),
            ),
        }
    }
}

/// Classifies a driver's error about `endpoint` in its `role`.
pub fn classify(error: &Driver, endpoint: &str, role: Role) -> Failed {
    let (number, class, code, words) = match error {
        Driver::Server(server) => {
            let (class, code) = of_number(server.code, &server.message, role);
            let words = format!("{} ({})", server.message, server.code);
            (server.code, class, code, words)
        }
        Driver::Io(IoError::Io(io)) => {
            (0, ErrorClass::Transient, Code::Unreachable, io.to_string())
        }
        Driver::Io(IoError::Tls(tls)) => (
            0,
            ErrorClass::Permanent,
            Code::Unreachable,
            format!("TLS: {tls}"),
        ),
        Driver::Driver(driver) => {
            let (class, code) = of_driver(driver, role);
            (0, class, code, driver.to_string())
        }
        // Their texts may quote what they were given, and that may hold the password.
        Driver::Other(_) | Driver::Url(_) => (
            0,
            ErrorClass::Permanent,
            Code::Usage,
            "the connection's settings are not valid".to_owned(),
        ),
    };
    Failed {
        number,
        error: Error {
            class,
            failure: Failure::new(code, format!("{endpoint}: {words}")),
        },
    }
}

fn of_driver(driver: &DriverError, role: Role) -> (ErrorClass, Code) {
    match driver {
        DriverError::UnknownAuthPlugin { .. }
        | DriverError::MysqlOldPasswordDisabled
        | DriverError::CleartextPluginDisabled => (ErrorClass::Permanent, Code::AccessDenied),
        DriverError::NoClientSslFlagFromServer => (ErrorClass::Permanent, Code::Unreachable),
        DriverError::PacketTooLarge => (ErrorClass::Permanent, failed(role)),
        _ => (ErrorClass::Transient, Code::Unreachable),
    }
}

/// The code of a failure that is nobody's in particular.
pub fn failed(role: Role) -> Code {
    match role {
        Role::Source => Code::SourceFailed,
        Role::Target => Code::TargetRejected,
    }
}

fn of_number(number: u16, message: &str, role: Role) -> (ErrorClass, Code) {
    use ErrorClass::{Permanent, Transient};
    if role == Role::Target && says_full(message) {
        return (Permanent, Code::TargetFull);
    }
    match number {
        1045 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => (Permanent, Code::AccessDenied),
        1044 | 1142 | 1143 | 1227 | 1370 | 1401 | 1419 | 3988 => (Permanent, Code::Privileges),
        1049 => (Permanent, Code::NoSuchDatabase),
        // Too many connections, shutdown, network, killed, idle too long, not in its cluster yet.
        1040
        | 1042
        | 1043
        | 1047
        | 1053
        | 1077..=1081
        | 1129
        | 1135
        | 1152..=1161
        | 1184
        | 1203
        | 1226
        | 1927
        | 3032
        | 3168
        | 3169
        | 4031 => (Transient, Code::Unreachable),
        // Lock waits, deadlocks, interrupted, killed query, statement time, too many transactions,
        // memory, a row that changed meanwhile, a branch or a commit the server rolled back.
        1205 | 1213 | 1317 | 1637 | 1969 | 3024 | 3058 | 3572 | 1206 | 1689 | 1037 | 1038
        | 1041 | 1020 | XA_RBROLLBACK | 1613 | 1614 | 1180 | 3101 => (Transient, failed(role)),
        // LOCAL INFILE was forbidden meanwhile: a new session loads by INSERT.
        1148 | 3948 | 4166 if role == Role::Target => (Transient, failed(role)),
        1290 | 1792 | 1836 => (Permanent, Code::TargetReadOnly),
        1021 | 1114 | 3675 if role == Role::Target => (Permanent, Code::TargetFull),
        // A value that does not fit: where it is only a warning, the writer makes it this error.
        1048 | 1264 | 1265 | 1292 | 1300 | 1366 | 1406 | 1411 | 1416 | 1690 | 3140 | 6136
        | 6138
            if role == Role::Target =>
        {
            (Permanent, Code::ValueChanged)
        }
        // A definition changed under a running statement.
        1412 => (Transient, failed(role)),
        _ => (Permanent, failed(role)),
    }
}

/// ENOSPC inside another error's text: of the storage engine, of a write, of a commit.
fn says_full(message: &str) -> bool {
    let full = ["No space left", "error 28 ", "errno: 28 ", "Errcode: 28 "];
    full.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_get_the_class_that_decides_about_a_retry() {
        use ErrorClass::{Permanent, Transient};
        for (number, role, expected) in [
            (1045, Role::Source, (Permanent, Code::AccessDenied)),
            (1142, Role::Target, (Permanent, Code::Privileges)),
            (1049, Role::Target, (Permanent, Code::NoSuchDatabase)),
            (1205, Role::Target, (Transient, Code::TargetRejected)),
            (1213, Role::Source, (Transient, Code::SourceFailed)),
            (1290, Role::Target, (Permanent, Code::TargetReadOnly)),
            (1114, Role::Target, (Permanent, Code::TargetFull)),
            (1114, Role::Source, (Permanent, Code::SourceFailed)),
            (1062, Role::Target, (Permanent, Code::TargetRejected)),
            (1927, Role::Target, (Transient, Code::Unreachable)),
            (1040, Role::Target, (Transient, Code::Unreachable)),
            (1226, Role::Source, (Transient, Code::Unreachable)),
            (1317, Role::Target, (Transient, Code::TargetRejected)),
            (1614, Role::Target, (Transient, Code::TargetRejected)),
            (3675, Role::Target, (Permanent, Code::TargetFull)),
            (4166, Role::Target, (Transient, Code::TargetRejected)),
        ] {
            assert_eq!(of_number(number, "", role), expected, "{number}");
        }
        for (number, words, code) in [
            (1030, "Got error 28 from storage engine", Code::TargetFull),
            (
                1026,
                "Error writing file 'x' (errno: 28 \"No space left on device\")",
                Code::TargetFull,
            ),
            (
                1180,
                "Got error 28 \"No space left on device\" during COMMIT",
                Code::TargetFull,
            ),
            (
                1030,
                "Got error 128 from storage engine",
                Code::TargetRejected,
            ),
        ] {
            assert_eq!(of_number(number, words, Role::Target).1, code, "{words}");
        }
    }
}
