//! The MySQL connector against a private MariaDB and a private MySQL 9.

#[path = "../../../tests/harness/mysql9.rs"]
mod mysql9;

mod coercion;
mod compare;
mod roundtrip;
mod schema;
mod server;
mod torture;
mod two_phase;
mod whole;
