//! PostgreSQL's catalogue and definitions: what is inspected at one database and defined at another
//! is, as `pg_dump` sees it, the same.

#[path = "../../../tests/harness/postgres.rs"]
mod postgres;

mod dump;
mod modes;
mod support;
mod torture;
mod zoo;
