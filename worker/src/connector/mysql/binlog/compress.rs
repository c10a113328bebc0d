//! MariaDB's compressed events (165-168).

use common::code::Code;

use crate::connector::{Error, Result};

/// The event type and the payload that `data` of an event of type `kind` stands for; the payload is
/// what [`mysql_common::binlog::events::Event::data`] would give for the plain event.
pub fn uncompress(_kind: u8, _data: &[u8]) -> Result<(u8, Vec<u8>)> {
    Err(Error::permanent(Code::NotBuilt, "compressed events"))
}
