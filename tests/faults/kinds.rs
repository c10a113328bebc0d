//! The register of faults: what the matrix can do to a job, and where it makes sense. A fault is
//! added by a line in `processes::ALL` or `outside::ALL`, or as a variant here.

use futures::future::BoxFuture;

use super::embedded;
use super::outside::{self, Outside};
use super::phase::Phase;
use super::pool::Engine;
use super::processes::{self, Process};
use super::scene::Report;

#[derive(Clone, Copy)]
pub enum Fault {
    Process(&'static Process),
    Outside(&'static Outside),
    /// `sterna clone` is killed and started again.
    Embedded,
}

/// Every fault, in the order of the table.
pub fn all() -> Vec<Fault> {
    let mut all: Vec<Fault> = processes::ALL.iter().map(Fault::Process).collect();
    all.push(Fault::Embedded);
    all.extend(outside::ALL.iter().map(Fault::Outside));
    all
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Process(process) => process.name,
            Fault::Outside(outside) => outside.name,
            Fault::Embedded => "clone_killed",
        }
    }

    /// Whether the cell exists.
    pub fn applies(self, engine: Engine, phase: Phase) -> bool {
        phase.exists_in(engine)
            && match self {
                Fault::Process(_) | Fault::Embedded => true,
                Fault::Outside(outside) => {
                    outside.engines.contains(&engine) && outside.phases.contains(&phase)
                }
            }
    }

    /// One cell; None = not to be had on this machine, which was said aloud. `nth` is which pass
    /// through the phase's point is held.
    pub fn run(self, engine: Engine, phase: Phase, nth: u32) -> BoxFuture<'static, Option<Report>> {
        match self {
            Fault::Process(process) => Box::pin(process.run(engine, phase, nth)),
            Fault::Outside(outside) => Box::pin(outside.run(engine, phase)),
            Fault::Embedded => Box::pin(embedded::run(engine, phase, nth)),
        }
    }
}
