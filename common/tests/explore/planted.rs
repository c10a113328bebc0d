//! Each planted bug must be found within the bound, by the invariant that it breaks; and where a
//! second safeguard covers the first, the first alone must go unnoticed and the two together must
//! be found. The shortest way to each is printed.

use crate::graph::explore;
use crate::plant::Bug;
use crate::scene;
use crate::target::Dialect::{self, Held, Mariadb, Mysql, Postgres};
use crate::world::Fault;

/// The bugs, the target, whether sessions may be killed there, workers, faults in one run, and the
/// invariant that is broken; "" = another safeguard covers it.
type Planted = (&'static [Bug], Dialect, bool, u8, u8, &'static str);

const PLANTED: &[Planted] = &[
    (&[Bug::NoFence], Mariadb, true, 2, 1, "single_owner"),
    (&[Bug::NoFence], Mariadb, false, 2, 1, "single_owner"),
    (&[Bug::NoFence], Postgres, true, 2, 1, "single_owner"),
    (&[Bug::NoFence], Held, true, 2, 1, "single_owner"),
    // MySQL keeps a share lock over its prepare, MariaDB doesn't (measured).
    (&[Bug::ShareLock], Mariadb, true, 2, 1, "single_owner"),
    (&[Bug::ShareLock], Mysql, true, 2, 1, ""),
    (
        &[Bug::CommitUndecided],
        Mariadb,
        true,
        2,
        0,
        "no_commit_without_decision",
    ),
    (
        &[Bug::CommitUndecided],
        Held,
        true,
        2,
        0,
        "no_commit_without_decision",
    ),
    (
        &[Bug::DecisionNotLogged],
        Mysql,
        true,
        2,
        0,
        "no_commit_without_decision",
    ),
    // Whoever kills T's session first, and on MySQL everybody, is told NOTA by right.
    (&[Bug::NotaIsDone], Mariadb, true, 2, 1, ""),
    (&[Bug::NotaIsDone], Mariadb, false, 2, 1, "exactly_once"),
    // The ledger's key refuses the second copy, again and again.
    (&[Bug::LedgerNotReread], Mariadb, true, 2, 1, "heals"),
    (
        &[Bug::LedgerNotReread, Bug::NoLedgerKey],
        Mariadb,
        true,
        2,
        1,
        "exactly_once",
    ),
    (
        &[Bug::LedgerNotReread, Bug::NoLedgerKey],
        Held,
        true,
        2,
        1,
        "exactly_once",
    ),
    // What was loaded is counted too.
    (&[Bug::NoPoison], Mariadb, true, 2, 1, ""),
    (
        &[Bug::NoPoison, Bug::NoRowCheck],
        Mariadb,
        true,
        2,
        1,
        "exactly_once",
    ),
    // PostgreSQL prepares nothing of a failed transaction: its list says so, else its "does not
    // exist" when T is to be committed.
    (
        &[Bug::NoPoison, Bug::NoRowCheck, Bug::NoTagCheck],
        Postgres,
        true,
        2,
        1,
        "",
    ),
    (
        &[
            Bug::NoPoison,
            Bug::NoRowCheck,
            Bug::NoTagCheck,
            Bug::NotaIsDone,
        ],
        Postgres,
        true,
        2,
        1,
        "exactly_once",
    ),
    (
        &[Bug::RollBackDecided],
        Mariadb,
        true,
        2,
        1,
        "decision_stable",
    ),
    // The regression test of a worker that once did so: directives that came late made it copy a
    // lease again that it had prepared, told and left.
    (&[Bug::LeaseTwice], Mysql, true, 2, 1, "decision_stable"),
    (&[Bug::NoResolve], Mysql, true, 2, 1, "heals"),
    // Likewise: a resolve task of a failed job, late, after the job was resumed.
    (&[Bug::ResolveNewer], Mysql, true, 2, 1, ""),
    (&[Bug::ResolveNewer], Mysql, true, 2, 2, "decision_stable"),
    (&[Bug::NoRecovery], Mariadb, true, 2, 1, "heals"),
    (
        &[Bug::DecisionIgnored],
        Mariadb,
        true,
        2,
        1,
        "decision_stable",
    ),
    (&[Bug::EpochIgnored], Mariadb, true, 1, 1, "decision_stable"),
];

#[test]
fn every_planted_bug_is_found() {
    let mut wrong = Vec::new();
    for (bugs, dialect, may_kill, workers, budget, finds) in PLANTED {
        let mut scene = scene(*dialect, *workers, 1, *budget);
        scene.server.may_kill = *may_kill;
        scene.server.bugs = bugs;
        if *budget > 1 {
            scene.faults = &[Fault::Permanent, Fault::Zombie];
        }
        let explored = explore(&scene);
        let found = explored.found.as_ref().map_or("", |found| found.invariant);
        let states = explored.states;
        println!("{bugs:?} at {dialect:?}, {budget} faults, {states} states: {found:?}");
        if let Some(found) = &explored.found {
            println!("{found}");
        }
        if found != *finds {
            wrong.push(format!("{bugs:?} at {dialect:?}: {found:?}, not {finds:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
