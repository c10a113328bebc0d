//! The binary log of MySQL and MariaDB.

pub mod compress;
pub mod row;
mod value;
