//! Every reachable state of two-phase commit with few actors. (Draft head.)

mod check;
mod control;
mod graph;
mod job;
mod plant;
mod planted;
mod process;
mod resolve;
mod target;
mod tell;
mod unit;
mod world;

use graph::{Explored, explore};
use target::{Dialect, Server};
use world::{Fault, Scene};

/// How far a run goes. A debug build is ten times slower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Debug,
    Usual,
    Large,
}

fn size() -> Size {
    match std::env::var("EXPLORE").as_deref() {
        Ok("large") => Size::Large,
        _ if cfg!(debug_assertions) => Size::Debug,
        _ => Size::Usual,
    }
}

const DIALECTS: [Dialect; 4] = [
    Dialect::Mariadb,
    Dialect::Mysql,
    Dialect::Postgres,
    Dialect::Held,
];

fn scene(dialect: Dialect, workers: u8, partitions: u8, budget: u8) -> Scene {
    Scene {
        server: Server {
            dialect,
            may_kill: true,
            bugs: &[],
        },
        workers,
        partitions,
        faults: &Fault::ALL,
        budget,
    }
}

/// Nothing is broken anywhere, and a good end is within reach from everywhere.
fn holds(scene: &Scene) -> Explored {
    let explored = explore(scene);
    let Scene {
        server,
        workers,
        partitions,
        budget,
        ..
    } = scene;
    let kill = match server.may_kill {
        true => "",
        false => ", no right to KILL",
    };
    let name = format!(
        "{:?}{kill}, {workers} workers, {partitions} partitions, {budget} of {} faults",
        server.dialect,
        scene.faults.len()
    );
    println!("{name}: {explored}");
    if let Some(found) = &explored.found {
        panic!("{name}: {found}");
    }
    assert!(explored.good_ends > 0, "{name}: nothing ever ends");
    explored
}

#[test]
fn two_workers_and_any_faults() {
    for dialect in DIALECTS {
        let budget = match (size(), dialect) {
            (Size::Large, _) | (Size::Usual, Dialect::Mariadb | Dialect::Held) => 2,
            _ => 1,
        };
        let explored = holds(&scene(dialect, 2, 1, budget));
        assert_eq!(explored.circling, 0, "somebody may wait for ever");
    }
}

#[test]
fn one_worker_is_its_own_zombie() {
    for dialect in DIALECTS {
        let budget = match size() {
            Size::Debug => 1,
            Size::Usual => 2,
            Size::Large => 3,
        };
        let explored = holds(&scene(dialect, 1, 1, budget));
        assert_eq!(explored.circling, 0, "somebody may wait for ever");
    }
}

#[test]
fn two_partitions_do_not_disturb_each_other() {
    for dialect in DIALECTS {
        let workers = match size() {
            Size::Debug => 1,
            Size::Usual | Size::Large => 2,
        };
        holds(&scene(dialect, workers, 2, 1));
    }
}

/// A session of another user can't be killed: the fence alone must hold.
#[test]
fn without_the_right_to_kill_the_fence_holds() {
    for dialect in DIALECTS {
        let mut scene = scene(dialect, 2, 1, 1);
        scene.server.may_kill = false;
        if size() == Size::Large {
            scene.budget = 2;
        }
        holds(&scene);
    }
}

/// The deepest: three faults of the kinds that take a unit from its owner and hide what it did.
#[test]
fn three_faults_of_the_worst_kinds() {
    let mut scene = scene(Dialect::Mariadb, 2, 1, 2);
    scene.faults = &[Fault::Zombie, Fault::Cut, Fault::Late];
    if size() > Size::Debug {
        scene.budget = 3;
    }
    for dialect in DIALECTS {
        scene.server.dialect = dialect;
        if size() == Size::Large || matches!(dialect, Dialect::Mariadb) {
            holds(&scene);
        }
    }
}
