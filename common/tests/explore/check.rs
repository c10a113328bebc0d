//! The invariants of DESIGN §11 that a single state of everything can break, and what a good end is.

use common::state::Phase;

use crate::control::Control;
use crate::target::{Branch, PARTITIONS};
use crate::world::{Scene, World};

/// An invariant's name and what is wrong.
pub type Broken = (&'static str, String);

pub fn check(world: &World, scene: &Scene, control: &Control) -> Option<Broken> {
    let facts = control.facts(world.log);
    if let Some(broken) = &facts.broken {
        return Some(broken.clone());
    }
    let target = &world.target;
    if target.partial {
        return Some((
            "exactly_once",
            "a part of a partition was committed".to_owned(),
        ));
    }
    let past = matches!(
        facts.phase,
        Phase::Indexing | Phase::Verifying | Phase::Completed
    );
    for no in 0..PARTITIONS.min(scene.partitions as usize) {
        let copies = target.copies[no];
        if copies > 1 || (past && copies != 1) {
            let what = format!("the rows of p{no} are there {copies} times");
            return Some(("exactly_once", what));
        }
        let (committed, decided) = (target.committed[no], world.decided[no]);
        if committed & !decided != 0 {
            let what = format!("p{no}: {} committed", epochs(committed & !decided));
            return Some(("no_commit_without_decision", what));
        }
        let aborted = target.aborted[no];
        let both = aborted & (committed | decided);
        if both != 0 {
            let what = format!("p{no}: {} decided Commit and rolled back", epochs(both));
            return Some(("decision_stable", what));
        }
        if let Some(what) = ledger(world, no, facts.committed[no]) {
            return Some(("ledger_matches", what));
        }
    }
    let stale = |b: &&Branch| {
        let sealed = b.sealed || b.prepared;
        target.books && sealed && b.epoch < target.fence[b.no as usize].epoch
    };
    if let Some(branch) = target.branches.iter().find(stale) {
        let what = format!(
            "p{}: T of e{} could still be committed, the fence is raised past it",
            branch.no, branch.epoch
        );
        return Some(("single_owner", what));
    }
    let over = matches!(facts.phase, Phase::Completed | Phase::Cancelled);
    if over && target.branches.iter().any(|b| b.prepared) {
        let what = format!("the job is {} and T is still prepared", facts.phase);
        return Some(("no_orphans", what));
    }
    None
}

fn ledger(world: &World, no: usize, recorded: u8) -> Option<String> {
    let target = &world.target;
    if !target.books {
        return None;
    }
    let row = target.ledger[no];
    if recorded != 0 && recorded != row {
        return Some(format!(
            "p{no}: the log says e{recorded}, the ledger e{row}"
        ));
    }
    let expected = match row {
        0 => 0,
        epoch => 1 << epoch,
    };
    (target.committed[no] != expected).then(|| {
        let committed = epochs(target.committed[no]);
        format!("p{no}: the ledger says e{row}, committed: {committed}")
    })
}

fn epochs(bits: u16) -> String {
    let set = (0..16).filter(|epoch| bits & (1 << epoch) != 0);
    set.map(|epoch| format!("e{epoch} ")).collect()
}

/// The job has ended as it should, and nothing of it is left anywhere.
pub fn is_good_end(world: &World, control: &Control) -> bool {
    let over = matches!(
        control.facts(world.log).phase,
        Phase::Completed | Phase::Cancelled
    );
    let target = &world.target;
    let idle = world.processes.iter().all(|p| p.units.is_empty());
    over && idle && target.branches.is_empty() && target.alive == 0 && !target.books
}
