//! The PostgreSQL connector against private PostgreSQL servers.

mod apply;
mod apply_types;
mod check;
mod check_settings;
#[path = "../support/cut.rs"]
mod cut;
mod follow;
mod follow_source;
mod follow_values;
#[path = "../support/net.rs"]
mod net;
#[path = "../../../tests/harness/postgres.rs"]
mod postgres;
mod recovery;
mod roundtrip;
mod sampling;
mod support;
mod torture;
mod two_phase;
