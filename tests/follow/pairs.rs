//! Every pair whose source keeps living: copied, caught up with, followed, and completed, with the
//! workload running all the time. The target shows whole transactions at every moment after
//! catch-up, and equals the source once nothing happens any more.

use super::living::{Living, Set};
use crate::faults::pool::Engine;
use crate::harness::workload;

/// How many transactions the workload makes while it is followed.
fn while_followed() -> u64 {
    match workload::is_full() {
        true => 20_000,
        false => 400,
    }
}

async fn followed(from: Engine, to: Engine) {
    let Some(mut living) = Set::new(from, to).caught_up().await else {
        return;
    };
    living.live_on(while_followed()).await;
    big(&living).await;
    living.live_on(50).await;
    let (seen, tally) = living.settle().await;
    println!("{} to {}: {seen}; {:?}", from.name(), to.name(), tally.done);
    living.complete().await;
}

/// A transaction that is larger than what is applied at once.
async fn big(living: &Living) {
    living.workload().big().await;
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin(followed(Engine::$from, Engine::$to)).await;
        })*
    };
}

pairs! {
    mariadb_to_mariadb: Mariadb, Mariadb;
    mysql9_to_mysql9: Mysql9, Mysql9;
    postgres_to_postgres: PostgresPrepared, PostgresPrepared;
    sqlite_to_sqlite: Sqlite, Sqlite;
    mariadb_to_mysql9: Mariadb, Mysql9;
    mysql9_to_mariadb: Mysql9, Mariadb;
    mariadb_to_postgres: Mariadb, PostgresPrepared;
    postgres_to_mariadb: PostgresPrepared, Mariadb;
}
