//! The MySQL connector against a private MariaDB.

mod roundtrip;
mod schema;
mod server;
mod two_phase;
