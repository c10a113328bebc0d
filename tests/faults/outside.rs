//! The faults that come from outside the processes, with where each applies and how a scene is set
//! for it. A strike does everything up to the point where the job goes on by itself: where the
//! fault stops it, the strike waits for the named error, mends the cause and resumes.

use futures::future::BoxFuture;

use super::phase::Phase;
use super::pool::Engine;
use super::props::Wanted;
use super::scene::{Builder, Report, Scene};
use super::{network, resources, rogue, servers, statements};

type Strike = for<'a> fn(&'a mut Scene) -> BoxFuture<'a, ()>;

/// One way in which the world around the processes goes wrong.
pub struct Outside {
    pub name: &'static str,
    pub engines: &'static [Engine],
    pub phases: &'static [Phase],
    /// How the scene is set, beside its phase.
    pub set: fn(Builder) -> Builder,
    pub strike: Strike,
}

impl Outside {
    /// One cell; None = not to be had on this machine, which was said aloud.
    pub async fn run(&self, engine: Engine, phase: Phase) -> Option<Report> {
        let held = Scene::builder(engine).coordinators(1).hold(phase, HOLD_MS);
        let mut scene = (self.set)(held).start().await?;
        scene.reached().await;
        scene.mark_strike();
        (self.strike)(&mut scene).await;
        Some(scene.finish().await)
    }
}

/// Long enough to strike meanwhile.
const HOLD_MS: u64 = 700;

use Engine::{Mariadb, Mysql9, PostgresHeld, PostgresPrepared, Sqlite};

const EVERY: &[Engine] = &Engine::ALL;
const SERVED: &[Engine] = &[Mariadb, Mysql9, PostgresPrepared, PostgresHeld];
const PREPARING: &[Engine] = &[Mariadb, Mysql9, PostgresPrepared];
/// Those whose disk can be made small.
const ON_DISK: &[Engine] = &[Mariadb, PostgresPrepared, PostgresHeld, Sqlite];
const ONE: &[Engine] = &[Mariadb];

const ANY: &[Phase] = &Phase::ALL;
const LOAD: &[Phase] = &[Phase::Load];
const COPYING: &[Phase] = &[Phase::Load, Phase::Prepared, Phase::Acked, Phase::Commit];
const COMMITTED: &[Phase] = &[Phase::Commit];
const READING: &[Phase] = &[Phase::Inspect, Phase::Load];
/// All rows are there, and not proven.
const COPIED: &[Phase] = &[Phase::Index, Phase::ForeignKeys, Phase::Objects];

fn plain(builder: Builder) -> Builder {
    builder
}

fn wired(builder: Builder) -> Builder {
    builder.through_proxies(true)
}

/// Readers stand in the middle of a table too.
fn mid_read(builder: Builder) -> Builder {
    let stall = "worker-mid-read=stall:1500";
    wired(builder)
        .worker_env("w1", stall)
        .worker_env("w2", stall)
}

/// Long enough to look twice at what is loaded and not committed.
fn held_long(builder: Builder) -> Builder {
    builder.hold(Phase::Load, 4_000)
}

fn on_lan(builder: Builder) -> Builder {
    builder.coordinators(3).with(Wanted {
        lan: true,
        ..Wanted::default()
    })
}

fn target_disk(builder: Builder) -> Builder {
    builder.with(Wanted {
        target_disk: true,
        ..Wanted::default()
    })
}

fn state_disks(builder: Builder) -> Builder {
    builder.coordinators(3).with(Wanted {
        state_disks: true,
        ..Wanted::default()
    })
}

fn as_user(builder: Builder) -> Builder {
    builder.with(Wanted {
        user: true,
        ..Wanted::default()
    })
}

macro_rules! outside {
    ($( $module:ident::$name:ident: $engines:ident, $phases:ident, $set:ident; )*) => {
        pub const ALL: &[Outside] = &[$( Outside {
            name: concat!(stringify!($module), "::", stringify!($name)),
            engines: $engines,
            phases: $phases,
            set: $set,
            strike: |scene| Box::pin($module::$name(scene)),
        } ),*];
    };
}

outside! {
    servers::target_killed: SERVED, ANY, plain;
    servers::target_restarted: SERVED, ANY, plain;
    servers::source_killed: SERVED, READING, mid_read;
    servers::source_restarted: SERVED, READING, mid_read;
    servers::both_killed: SERVED, LOAD, plain;
    network::target_cut: SERVED, ANY, wired;
    network::source_cut: SERVED, READING, mid_read;
    network::target_away: SERVED, COPYING, wired;
    network::source_away: SERVED, READING, mid_read;
    network::target_cut_twice: SERVED, ANY, wired;
    network::target_hears_late: SERVED, ANY, wired;
    network::target_heard_late: SERVED, ANY, wired;
    network::source_heard_late: SERVED, READING, mid_read;
    network::target_held_then_cut: SERVED, COPYING, wired;
    network::target_slow: SERVED, COPYING, wired;
    network::source_slow: SERVED, READING, mid_read;
    network::prepare_unanswered: PREPARING, LOAD, wired;
    network::prepare_unheard: PREPARING, LOAD, wired;
    network::commit_unanswered: SERVED, LOAD, wired;
    network::commit_unheard: SERVED, LOAD, wired;
    network::commit_silent: SERVED, LOAD, wired;
    network::leader_unheard: ONE, COPYING, on_lan;
    network::leader_deaf: ONE, COPYING, on_lan;
    network::leader_apart: ONE, COPYING, on_lan;
    network::workers_deaf: ONE, COPYING, on_lan;
    network::workers_unheard: ONE, COPYING, on_lan;
    network::workers_apart: ONE, COPYING, on_lan;
    resources::target_full: ON_DISK, LOAD, target_disk;
    resources::leader_full: ONE, COPYING, state_disks;
    resources::all_coordinators_full: ONE, COPYING, state_disks;
    resources::no_connections_left: SERVED, COPYING, plain;
    resources::password_changed: SERVED, LOAD, as_user;
    resources::right_revoked: SERVED, LOAD, as_user;
    statements::table_locked: EVERY, LOAD, plain;
    statements::books_locked: SERVED, COPYING, plain;
    statements::deadlock_victim: SERVED, LOAD, held_long;
    statements::queries_killed: SERVED, ANY, plain;
    statements::sessions_killed: SERVED, ANY, plain;
    statements::source_sessions_killed: SERVED, READING, mid_read;
    rogue::row_inserted: EVERY, COPIED, plain;
    rogue::row_changed: EVERY, COPIED, plain;
    rogue::row_deleted: EVERY, COPIED, plain;
    rogue::row_before_its_table: EVERY, LOAD, plain;
    rogue::row_in_the_way: EVERY, LOAD, plain;
    rogue::table_dropped: EVERY, LOAD, plain;
    rogue::table_emptied: EVERY, COPIED, plain;
    rogue::fence_raised: EVERY, LOAD, plain;
    rogue::books_dropped: EVERY, LOAD, plain;
    // SQLite has one writer, so no partition is begun and open to forgery at once.
    rogue::ledger_forged: SERVED, LOAD, plain;
    rogue::column_added_at_the_source: EVERY, LOAD, plain;
    rogue::column_dropped_at_the_source: EVERY, LOAD, plain;
    rogue::rows_written_at_the_source: EVERY, COMMITTED, plain;
}

/// The cells named by `STERNA_OUTSIDE`: `name/engine/phase`, comma-separated, of which every part
/// may be a piece of a name or empty. One that fails doesn't keep the others from running.
#[tokio::test(flavor = "multi_thread")]
async fn cells_by_name() {
    let Ok(wanted) = std::env::var("STERNA_OUTSIDE") else {
        return;
    };
    let mut failed = Vec::new();
    for item in wanted.split(',') {
        let mut parts = item.split('/').chain(std::iter::repeat(""));
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (name, of, at) = (next(), next(), next());
        for (outside, engine, phase) in cells() {
            let called = outside.name.contains(&name) && engine.name().contains(&of);
            if called && phase.name().contains(&at) {
                let cell = format!("{} {} {}", outside.name, engine.name(), phase.name());
                println!("{cell}");
                let ran = tokio::spawn(outside.run(engine, phase)).await;
                println!("   {:?}", ran.as_ref().ok());
                failed.extend(ran.err().map(|_| cell));
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

/// Part of the cells in one test each, so that they run beside others.
macro_rules! representative {
    ($($test:ident: $module:ident::$name:ident, $engine:ident, $phase:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let name = concat!(stringify!($module), "::", stringify!($name));
            let (engine, phase) = (Engine::$engine, Phase::$phase);
            let called = |cell: &(&Outside, Engine, Phase)| {
                cell.0.name == name && cell.1 == engine && cell.2 == phase
            };
            let cell = cells().into_iter().find(called);
            let (outside, engine, phase) = cell.expect("the cell is in the table");
            let report = outside.run(engine, phase).await;
            println!("{name} {} {}: {report:?}", engine.name(), phase.name());
        })*
    };
}

representative! {
    target_killed_postgres: servers::target_killed, PostgresPrepared, Prepared;
    target_killed_mysql9: servers::target_killed, Mysql9, Commit;
    source_killed_mariadb: servers::source_killed, Mariadb, Load;
    target_away_mysql9: network::target_away, Mysql9, Load;
    target_hears_late_mariadb: network::target_hears_late, Mariadb, Prepared;
    commit_unanswered_postgres: network::commit_unanswered, PostgresPrepared, Load;
    commit_unanswered_held: network::commit_unanswered, PostgresHeld, Load;
    commit_unheard_mariadb: network::commit_unheard, Mariadb, Load;
    prepare_unanswered_mysql9: network::prepare_unanswered, Mysql9, Load;
    leader_unheard_mariadb: network::leader_unheard, Mariadb, Load;
    workers_deaf_mariadb: network::workers_deaf, Mariadb, Load;
    target_full_postgres: resources::target_full, PostgresPrepared, Load;
    target_full_sqlite: resources::target_full, Sqlite, Load;
    all_coordinators_full_mariadb: resources::all_coordinators_full, Mariadb, Load;
    no_connections_left_postgres: resources::no_connections_left, PostgresPrepared, Load;
    password_changed_mariadb: resources::password_changed, Mariadb, Load;
    right_revoked_postgres: resources::right_revoked, PostgresPrepared, Load;
    table_locked_sqlite: statements::table_locked, Sqlite, Load;
    deadlock_victim_mariadb: statements::deadlock_victim, Mariadb, Load;
    queries_killed_mysql9: statements::queries_killed, Mysql9, Load;
    sessions_killed_held: statements::sessions_killed, PostgresHeld, Load;
    row_changed_sqlite: rogue::row_changed, Sqlite, Index;
    row_before_its_table_mariadb: rogue::row_before_its_table, Mariadb, Load;
    ledger_forged_postgres: rogue::ledger_forged, PostgresPrepared, Load;
    books_dropped_sqlite: rogue::books_dropped, Sqlite, Load;
    column_dropped_mariadb: rogue::column_dropped_at_the_source, Mariadb, Load;
    rows_written_postgres: rogue::rows_written_at_the_source, PostgresPrepared, Commit;
}

/// Every cell there is.
pub fn cells() -> Vec<(&'static Outside, Engine, Phase)> {
    let mut all = Vec::new();
    for outside in ALL {
        for engine in outside.engines {
            all.extend(
                outside
                    .phases
                    .iter()
                    .map(|phase| (outside, *engine, *phase)),
            );
        }
    }
    all
}
