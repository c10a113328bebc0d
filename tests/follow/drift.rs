//! The source's tables change while they are followed: applied where the job says so and nothing can
//! be lost by it, else a stop by name from which the job goes on once the user has decided.

use super::living::{JOB, Set};
use crate::faults::pool::Engine;

async fn applied(from: Engine, to: Engine) {
    let set = Set::new(from, to).drift("apply");
    let Some(mut living) = set.caught_up().await else {
        return;
    };
    living.live_on(60).await;
    living.workload().add_columns().await;
    living.live_on(150).await;
    let (seen, _) = living.settle().await;
    println!("drift applied {} to {}: {seen}", from.name(), to.name());
    living.complete().await;
}

/// The user makes the same change at the target, and resumes.
async fn stopped(from: Engine, to: Engine) {
    let Some(mut living) = Set::new(from, to).caught_up().await else {
        return;
    };
    living.live_on(60).await;
    let drop = "ALTER TABLE wl_dup ADD COLUMN c int DEFAULT 7";
    living.source.exec(&[drop]).await;
    living.live_on(60).await;
    let status = living.until_stopped("ST2015").await;
    let told = status["failure"].to_string();
    assert!(told.contains("wl_dup"), "the table isn't named: {told}");
    living.target.exec(&[drop]).await;
    living.cluster.sterna(&["resume", "-j", JOB]).ok().await;
    living.live_on(60).await;
    let (seen, _) = living.settle().await;
    println!("drift resumed {} to {}: {seen}", from.name(), to.name());
    living.complete().await;
}

macro_rules! pairs {
    ($($name:ident: $what:ident, $from:ident, $to:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            Box::pin($what(Engine::$from, Engine::$to)).await;
        })*
    };
}

pairs! {
    applied_from_mariadb: applied, Mariadb, Mariadb;
    applied_from_mysql9: applied, Mysql9, Mariadb;
    applied_from_postgres: applied, PostgresPrepared, PostgresPrepared;
    applied_from_mariadb_to_postgres: applied, Mariadb, PostgresPrepared;
    stopped_from_mariadb: stopped, Mariadb, Mariadb;
    stopped_from_postgres: stopped, PostgresPrepared, PostgresPrepared;
}
