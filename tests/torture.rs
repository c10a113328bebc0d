//! The three torture databases copied on their own engine by the real binary: every value the same
//! to the last bit, and the schemas as the engines' own dump tools show them. `torture/*.sql` say
//! table by table which trap each one is.

use crate::harness::dumps::{self, Allowed};
use crate::harness::lab::{Database, Kind, Lab, mysql_exec};
use crate::harness::oracle::values;
use crate::prove::ask;

const MYSQL: &str = include_str!("torture/mysql_torture.sql");
const POSTGRES: &str = include_str!("torture/pg_torture.sql");
const SQLITE: &str = include_str!("torture/sqlite_torture.sql");

/// Differences of schema dumps that are as they should be.
const ALLOWED_SQLITE: &[Allowed] = &[];
const ALLOWED_MYSQL: &[Allowed] = &[
    (
        "TABLE eng_memory",
        "MEMORY knows no prepared transaction: it is made as InnoDB",
    ),
    (
        "TABLE eng_myisam",
        "MyISAM knows no transaction at all: it is made as InnoDB",
    ),
];
const ALLOWED_POSTGRES: &[Allowed] = &[];

/// A database of that kind with its engine's torture in it. MySQL's makes two databases of fixed
/// names, so the server must be the test's own.
pub async fn source(lab: &Lab, kind: Kind) -> Database {
    match kind {
        Kind::Sqlite => {
            let database = lab.database(kind, "torture").await;
            database.script(SQLITE).await;
            database
        }
        Kind::Mariadb | Kind::Mysql9 => {
            let loader = lab.database(kind, "loader").await;
            loader.script(MYSQL).await;
            mysql_exec(&loader.url, &[format!("DROP DATABASE `{}`", loader.name)]).await;
            Database {
                kind,
                url: loader.url.replace(&loader.name, "torture"),
                name: "torture".to_owned(),
            }
        }
        Kind::Postgres => {
            let database = lab.database(kind, "torture").await;
            database.script(POSTGRES).await;
            database
        }
    }
}

async fn same_engine(from: Kind, to: Kind, allowed: &[Allowed], args: &[&str]) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let source = source(&lab, from).await;
    let target = lab.database(to, "copy").await;
    lab.copy(&source, &target, args).await;
    ask::assert_equal(&lab, &source, &target, args).await;
    values::assert_same(&source, &target, &[]).await;
    dumps::assert_same(&source, &target, allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    same_engine(Kind::Sqlite, Kind::Sqlite, ALLOWED_SQLITE, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    same_engine(Kind::Mariadb, Kind::Mariadb, ALLOWED_MYSQL, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql9() {
    same_engine(Kind::Mysql9, Kind::Mysql9, ALLOWED_MYSQL, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    same_engine(Kind::Postgres, Kind::Postgres, ALLOWED_POSTGRES, &[]).await;
}

/// MySQL's second database: the URL says its name, which is an injection of its own.
async fn hostile_name(kind: Kind) {
    let Some(lab) = Lab::new(&[kind]).await else {
        return;
    };
    let torture = source(&lab, kind).await;
    let name = "tort%60%60ure%20%222%22%3B%20--%20x".replace("%60%60", "%60");
    let hostile = Database {
        kind,
        url: torture.url.replace("/torture", &format!("/{name}")),
        name: "tort`ure \"2\"; -- x".to_owned(),
    };
    let target = lab.database(kind, "copy").await;
    lab.copy(&hostile, &target, &[]).await;
    ask::assert_equal(&lab, &hostile, &target, &[]).await;
    values::assert_same(&hostile, &target, &[]).await;
    dumps::assert_same(&hostile, &target, &[]).await;
    // And as a target: into a new database of that name.
    mysql_exec(
        &target.url,
        &[format!(
            "DROP DATABASE `{}`",
            hostile.name.replace('`', "``")
        )],
    )
    .await;
    mysql_exec(
        &target.url,
        &[format!(
            "CREATE DATABASE `{}`",
            hostile.name.replace('`', "``")
        )],
    )
    .await;
    lab.copy(&target, &hostile, &[]).await;
    values::assert_same(&target, &hostile, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_database_name_on_mariadb() {
    hostile_name(Kind::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_database_name_on_mysql9() {
    hostile_name(Kind::Mysql9).await;
}
