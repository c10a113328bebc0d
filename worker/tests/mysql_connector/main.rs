//! The MySQL connector against a private MariaDB and a private MySQL 9.

mod apply;
mod check;
mod coercion;
mod compare;
#[path = "../support/cut.rs"]
mod cut;
mod follow;
mod follow_refused;
mod follow_server;
#[path = "../../../tests/harness/mysql9.rs"]
mod mysql9;
#[path = "../support/net.rs"]
mod net;
mod private;
mod recovery;
mod roundtrip;
mod rowimage;
mod schema;
mod server;
mod torture;
mod two_phase;
mod whole;
