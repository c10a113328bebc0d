//! What runs out or is taken away: space, connections, rights. A job either waits for it to come
//! back, or stops with an error that names it and goes on by `resume`. Nothing is lost.

use std::time::Duration;

use serde_json::Value;

use super::hands::{Holder, pass, start_again};
use super::props::{PASSWORD, USER};
use super::scene::Scene;
use crate::harness::disk::Disk;
use crate::harness::lab::{Database, Kind, mysql_exec};
use crate::harness::wait::{secs, until};

/// Longer than a lease of the scene and than a leader's silence.
const LONG: Duration = Duration::from_secs(5);

async fn phase(scene: &Scene) -> Option<Value> {
    scene.cluster.try_json(&["status", "-j", &scene.job]).await
}

/// Until the job has stopped, but no longer than `time`; true = it has.
async fn stops_within(scene: &Scene, time: Duration) -> bool {
    let started = std::time::Instant::now();
    until("the job or the time to end", time + secs(30), || async {
        let status = phase(scene).await;
        let stopped = status.is_some_and(|status| status["phase"] == "Failed");
        (stopped || started.elapsed() > time).then_some(stopped)
    })
    .await
}

/// Nothing more can be written at the target; then it can. What a server does meanwhile is its own
/// affair: refuse, wait without a word (MariaDB), or end (PostgreSQL, when its log is full).
pub async fn target_full(scene: &mut Scene) {
    let disk = scene.props.target_disk.as_ref();
    disk.expect("asked for with a disk").leave(64 << 10);
    let stopped = stops_within(scene, secs(20)).await;
    if stopped {
        let failed = phase(scene).await.expect("it answers")["failure"].clone();
        println!("   stopped: {failed}");
        let code = failed["code"].as_str().unwrap_or_default();
        assert!(["ST3005", "ST2001"].contains(&code), "{failed:#}");
    }
    let disk = scene.props.target_disk.as_ref();
    disk.expect("asked for with a disk").free();
    if let Some(server) = scene.servers.target.as_mut()
        && Holder::try_of(&scene.target).await.is_none()
    {
        println!("   the server has ended, it is started again");
        server.run().await;
    }
    if stopped {
        scene.resume().await;
    }
}

fn fill(disk: &Disk) {
    disk.leave(0);
}

/// The leader's disk is full: another one leads, or the leader says so and goes on later.
pub async fn leader_full(scene: &mut Scene) {
    let leader = scene.cluster.leader().await;
    let index = scene.cluster.index_of(&leader).expect("one of ours");
    fill(&scene.props.state_disks[index]);
    pass(LONG).await;
    scene.props.state_disks[index].free();
    start_again(scene);
}

/// Nothing can be recorded anywhere: workers go on with what they have, and nothing is lost.
pub async fn all_coordinators_full(scene: &mut Scene) {
    scene.props.state_disks.iter().for_each(fill);
    pass(LONG).await;
    let running = scene.cluster.workers.iter_mut();
    for worker in running {
        assert!(
            worker.is_running(),
            "{} ended: {}",
            worker.name,
            worker.err()
        );
    }
    scene.props.state_disks.iter().for_each(Disk::free);
    start_again(scene);
}

/// Others take every connection the target has to give.
pub async fn no_connections_left(scene: &mut Scene) {
    let target = scene.servers.target.as_ref().expect("served");
    let postgres = target.is_postgres();
    if !postgres {
        target.exec(&["SET GLOBAL max_connections = 20"]).await;
    }
    // Those the job has can't be taken; it gives them back one by one.
    let mut taken = Vec::new();
    let started = std::time::Instant::now();
    while started.elapsed() < LONG {
        match Holder::try_of(&scene.target).await {
            Some(holder) => taken.push(holder),
            None => pass(Duration::from_millis(20)).await,
        }
        assert!(taken.len() < 200, "the server knows no bound");
    }
    println!("   {} connections taken", taken.len());
    for holder in taken {
        holder.let_go().await;
    }
    if !postgres {
        target.exec(&["SET GLOBAL max_connections = 151"]).await;
    }
}

/// Statements at both servers, as their administrator.
async fn at_both(scene: &Scene, statements: &[String]) {
    let all: Vec<&str> = statements.iter().map(String::as_str).collect();
    for server in [&scene.servers.source, &scene.servers.target] {
        server.as_ref().expect("served").exec(&all).await;
    }
}

/// The user may not log in any more; sessions it has go on.
pub async fn password_changed(scene: &mut Scene) {
    let target = scene.servers.target.as_ref().expect("served");
    let (change, back) = match target.is_postgres() {
        // Servers of tests trust everybody, so it isn't the password that is refused.
        true => (
            format!("ALTER ROLE {USER} NOLOGIN"),
            format!("ALTER ROLE {USER} LOGIN"),
        ),
        false => (
            format!("ALTER USER {USER} IDENTIFIED BY 'another-one'"),
            format!("ALTER USER {USER} IDENTIFIED BY '{PASSWORD}'"),
        ),
    };
    at_both(scene, &[change]).await;
    scene.expect_stopped("ST2002").await;
    at_both(scene, &[back]).await;
    scene.resume().await;
    disowned(scene).await;
}

/// The user may not insert any more.
pub async fn right_revoked(scene: &mut Scene) {
    let target = scene.servers.target.as_ref().expect("served");
    let (revoke, grant) = match target.is_postgres() {
        true => (
            format!("REVOKE INSERT ON reading, purchase, purchase_line FROM {USER}"),
            format!("GRANT INSERT ON reading, purchase, purchase_line TO {USER}"),
        ),
        false => (
            format!("REVOKE INSERT ON *.* FROM {USER}"),
            format!("GRANT INSERT ON *.* TO {USER}"),
        ),
    };
    run_at(&scene.target, &revoke).await;
    scene.expect_stopped("ST2006").await;
    run_at(&scene.target, &grant).await;
    scene.resume().await;
    disowned(scene).await;
}

/// What the user made is its own in PostgreSQL; the judge wants it as it is at the source.
async fn disowned(scene: &Scene) {
    let finished = scene.cluster.wait_completed(&scene.job, secs(120)).await;
    finished.expect_ok();
    if scene.target.kind == Kind::Postgres {
        let give = format!("REASSIGN OWNED BY {USER} TO postgres");
        run_at(&scene.target, &give).await;
    }
}

async fn run_at(database: &Database, statement: &str) {
    match database.kind.is_mysql() {
        true => mysql_exec(&database.url, &[statement]).await,
        false => database.exec(&[statement]).await,
    }
}
