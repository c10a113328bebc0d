//! Following without a cluster: `sterna clone --follow`, stopped and gone on with, ended by
//! `--complete`; `sterna follow` from a position that a copy of one moment named.

use serde_json::Value;

use super::living::{Living, Set};
use crate::faults::pool::Engine;
use crate::harness::oracle::values;
use crate::harness::process::{Sterna, soon};
use crate::harness::workload::audit::{Auditor, assert_whole};
use crate::harness::workload::{Options, Workload, until_arrived};

/// The exit status of a command that was told to stop.
const INTERRUPTED: i32 = 130;

fn command(living: &Living, verb: &str, state: &str) -> Sterna {
    let dir = &living.cluster.dir;
    let ends = [living.source.url.as_str(), living.target.url.as_str()];
    Sterna::new(dir.path(), &[verb, ends[0], ends[1]]).args(&[
        "--state-dir",
        &dir.file(state),
        "--progress",
        "plain",
    ])
}

async fn stopped_and_gone_on_with(engine: Engine) {
    let Some(living) = Set::new(engine, engine).stage().await else {
        return;
    };
    let workload = Workload::start(&living.source, Options::new(4)).await;
    let live = |name| command(&living, "clone", "live").arg_follow().named(name);
    let mut first = live("first").spawn();
    first.says("in sync", super::living::DONE).await;
    let auditor = Auditor::start(&living.target);
    workload.until_more(60).await;
    first.signal("INT");
    let stopped = first.finish(soon()).await;
    assert_eq!(stopped.code, INTERRUPTED, "{stopped}");
    workload.until_more(60).await;
    let mut second = live("second").spawn();
    second.says("in sync", super::living::DONE).await;
    workload.until_more(60).await;
    second.kill().await;
    workload.until_more(20).await;
    let (acknowledged, _) = workload.stop().await;
    let ended = live("third").args(&["--complete", "-o", "json"]).ok().await;
    let report: Value = ended.json();
    assert_eq!(report["verified"], true, "{report:#}");
    until_arrived(&living.target, &acknowledged, soon()).await;
    auditor.assert_clean(5).await;
    values::assert_same(&living.source, &living.target, &[]).await;
    living.discard().await;
}

impl Sterna {
    fn arg_follow(self) -> Sterna {
        self.args(&["--follow", "--partition-size", "128KiB"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_gone_on_with_mariadb() {
    Box::pin(stopped_and_gone_on_with(Engine::Mariadb)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_gone_on_with_postgres() {
    Box::pin(stopped_and_gone_on_with(Engine::PostgresPrepared)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_gone_on_with_sqlite() {
    Box::pin(stopped_and_gone_on_with(Engine::Sqlite)).await;
}

/// A copy of one moment, and days later the changes since.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_position() {
    let set = Set::new(Engine::Mariadb, Engine::Mariadb);
    let living = set.stage().await.expect("MariaDB is never off");
    let workload = Workload::start(&living.source, Options::new(5)).await;
    workload.until_more(40).await;
    let copy = command(&living, "clone", "copy").args(&["-o", "json"]);
    let copied = copy.ok().await.json();
    let position = copied["report"]["position"]
        .as_str()
        .expect("a position")
        .to_owned();
    assert_whole(&living.target).await;
    workload.until_more(80).await;
    let (acknowledged, _) = workload.stop().await;
    let rest = command(&living, "follow", "rest");
    rest.args(&["--from", &position, "--follow", "--complete"])
        .ok()
        .await;
    until_arrived(&living.target, &acknowledged, soon()).await;
    values::assert_same(&living.source, &living.target, &[]).await;
    living.discard().await;
}
