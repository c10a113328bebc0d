//! Every reachable state of two-phase commit with few actors. (Draft head.)

mod check;
mod control;
mod graph;
mod job;
mod plant;
mod process;
mod target;
mod tell;
mod unit;
mod world;

use graph::{Explored, explore};
use plant::Bug;
use target::{Dialect, Server};
use world::{Fault, Scene};

fn scene(dialect: Dialect, may_kill: bool, workers: u8, partitions: u8, budget: u8) -> Scene {
    Scene {
        server: Server {
            dialect,
            may_kill,
            bugs: &[],
        },
        workers,
        partitions,
        faults: &Fault::ALL,
        budget,
    }
}

fn holds(name: &str, scene: &Scene) -> Explored {
    let explored = explore(scene);
    println!("{name}: {explored}");
    if let Some(found) = &explored.found {
        panic!("{name}: {found}");
    }
    explored
}

#[test]
fn probe() {
    let get = |name: &str, default: u8| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let dialect = match get("D", 0) {
        0 => Dialect::Mariadb,
        1 => Dialect::Mysql,
        2 => Dialect::Postgres,
        _ => Dialect::Held,
    };
    holds("probe", &scene(dialect, get("KILL", 1) == 1, get("W", 2), get("P", 1), get("B", 1)));
    let _ = Bug::NoFence;
}
