//! The binary log of MySQL and MariaDB, read as a replica does.
//!
//! | file | what |
//! |---|---|
//! | `row`, `value`, `compress` | row events to cells |
//! | `position`, `gtid`, `log` | where a point of the log is, and whether it is still there |
//! | `facts` | whether the log can be followed |
//! | `secure` | P0, and what was open at it |
//! | `ddl` | what a statement in the log means for the job's tables |
//! | `source` | a session that receives events |
//! | `events`, `group`, `stream`, `rows` | events to transactions to batches |

pub mod compress;
pub mod ddl;
pub mod events;
pub mod facts;
pub mod group;
pub mod gtid;
pub mod log;
pub mod position;
pub mod row;
pub mod rows;
pub mod secure;
pub mod source;
pub mod stream;
mod value;
