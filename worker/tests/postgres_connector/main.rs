//! The PostgreSQL connector against private PostgreSQL servers.

#[path = "../../../tests/harness/postgres.rs"]
mod postgres;
mod roundtrip;
mod sampling;
mod support;
mod torture;
mod two_phase;
