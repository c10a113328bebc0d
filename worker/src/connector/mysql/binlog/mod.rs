//! The binary log of MySQL and MariaDB, read as a replica does.
//!
//! | file | what |
//! |---|---|
//! | `row`, `value`, `compress` | row events to cells |
//! | `position`, `gtid` | where a point of the log is, and whether it is still there |
//! | `facts`, `cascade` | whether the log can be followed |
//! | `secure` | P0, and what was open at it |
//! | `ddl` | what a statement in the log means for the job's tables |
//! | `stream`, `events`, `xa` | events to transactions |

pub mod compress;
pub mod row;
mod value;
