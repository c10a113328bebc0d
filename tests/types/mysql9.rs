//! The types of a real MySQL 9: what it shares with MariaDB, spelled and stored by itself.

use super::mariadb::SHARED;
use super::round_trip;
use crate::harness::lab::Kind::{Mariadb, Mysql9, Postgres, Sqlite};

#[tokio::test(flavor = "multi_thread")]
async fn to_sqlite() {
    round_trip(Mysql9, Sqlite, &[], &[SHARED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mariadb() {
    round_trip(Mysql9, Mariadb, &[], &[SHARED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mysql9() {
    round_trip(Mysql9, Mysql9, &[], &[SHARED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_postgres() {
    round_trip(Mysql9, Postgres, &[], &[SHARED]).await;
}
