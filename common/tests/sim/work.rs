//! Workers at work: the steps of their units, and workers that die, stop, come back and join.

use common::epoch::Lease;

use crate::errand::Ends;
use crate::plant::Bug;
use crate::process::{Process, Work};
use crate::unit::{Step, failed};
use crate::wire::{Weather, Wire};
use crate::world::{Event, World};

impl World {
    /// Gives every unit that runs and waits for nothing its next step.
    pub fn schedule_units(&mut self, worker: usize) {
        let incarnation = self.processes[worker].incarnation;
        let mut due = Vec::new();
        for (lease, unit) in &mut self.processes[worker].units {
            if unit.running && !unit.scheduled {
                unit.scheduled = true;
                due.push(*lease);
            }
        }
        for lease in due {
            let soon = 1 + self.rng.below(3);
            self.at(
                soon,
                Event::Step {
                    worker,
                    incarnation,
                    lease,
                },
            );
        }
    }

    pub fn step_unit(&mut self, worker: usize, incarnation: u64, lease: Lease) {
        if self.processes[worker].incarnation != incarnation || !self.processes[worker].up {
            return;
        }
        if self.processes[worker].paused {
            self.deferred.push((
                worker,
                Event::Step {
                    worker,
                    incarnation,
                    lease,
                },
            ));
            return;
        }
        let ours = self.now < self.processes[worker].fresh_until;
        let Some(unit) = self.processes[worker].units.get_mut(&lease) else {
            return;
        };
        unit.scheduled = false;
        if !unit.running {
            return;
        }
        let mut wire = Wire {
            target: &mut self.target,
            rng: &mut self.rng,
            weather: self.weather[worker],
            now: self.now,
        };
        let ours = ours || self.bugs.has(Bug::ZombieBegins);
        let overdue = unit
            .stop_since
            .is_some_and(|since| self.now > since + common::limits::UNIT_STOP_MS);
        let step = match &mut unit.work {
            _ if overdue => Step::Ended(crate::unit::Ended::Said(failed(
                common::code::ErrorClass::Transient,
            ))),
            Work::Copy(copy) => {
                let reading = self.source_up || !wire.rng.chance(200);
                match reading {
                    true => copy.step(&mut wire, unit.word),
                    false => Step::In(200),
                }
            }
            Work::Errand(errand) => {
                let ends = Ends {
                    tables: &self.tables,
                    source_up: self.source_up,
                    log: &mut self.log,
                };
                errand.step(&mut wire, unit.word.away, ours, ends)
            }
        };
        self.after_step(worker, incarnation, lease, step);
    }

    /// One line of a run, when it is repeated with TRACE=1.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            println!("{:>7} {}", self.now, line());
        }
    }

    pub fn after_step(&mut self, worker: usize, incarnation: u64, lease: Lease, step: Step) {
        self.trace(|| format!("w{worker} {lease} {step:?}"));
        match step {
            Step::In(ms) => {
                if let Some(unit) = self.processes[worker].units.get_mut(&lease) {
                    unit.scheduled = true;
                }
                self.at(
                    ms.max(1),
                    Event::Step {
                        worker,
                        incarnation,
                        lease,
                    },
                );
            }
            Step::Prepared => {
                let common::epoch::Unit::Partition(no) = lease.unit else {
                    return;
                };
                if let Some(unit) = self.processes[worker].units.get_mut(&lease) {
                    unit.said = Some(common::directive::Outcome::Prepared(crate::errand::loaded(
                        no,
                    )));
                    unit.scheduled = true;
                }
                self.at(
                    1,
                    Event::Step {
                        worker,
                        incarnation,
                        lease,
                    },
                );
                self.say(worker);
            }
            // It looks at its word again with the next report.
            Step::Waits => {}
            Step::Ended(ended) => {
                // Whatever it still held open ends with it.
                self.cut_connections(worker, lease);
                self.processes[worker].ended(lease, ended);
                self.say(worker);
            }
        }
    }

    pub fn cut_connections(&mut self, worker: usize, lease: Lease) {
        let session = self.processes[worker]
            .units
            .get(&lease)
            .and_then(|unit| match &unit.work {
                Work::Copy(copy) => copy.session(),
                Work::Errand(errand) => errand.session(),
            });
        if let Some(session) = session.filter(|_| !self.bugs.has(Bug::KeepsSessions)) {
            self.target.end_session(session);
        }
    }

    pub fn kill_worker(&mut self, worker: usize) {
        let leases: Vec<Lease> = self.processes[worker].units.keys().copied().collect();
        for lease in leases {
            let late = self.weather[worker].half_open_ms;
            let session =
                self.processes[worker]
                    .units
                    .get(&lease)
                    .and_then(|unit| match &unit.work {
                        Work::Copy(copy) => copy.session(),
                        Work::Errand(errand) => errand.session(),
                    });
            match (session, late) {
                (Some(session), 0) => self.target.end_session(session),
                (Some(session), late) => self.target.doomed.push((self.now + late, session)),
                _ => {}
            }
        }
        let process = &mut self.processes[worker];
        process.up = false;
        process.paused = false;
        process.units.clear();
        let node = process.attends;
        self.say_gone(worker, node);
    }

    pub fn start_worker(&mut self, worker: usize) {
        if self.processes[worker].up {
            return;
        }
        let incarnation = self.rng.next();
        let name = self.processes[worker].name.clone();
        let attends = self.rng.below(self.cluster.nodes.len() as u64) as usize;
        self.processes[worker] = Process::new(name, incarnation, attends, self.now, self.bugs);
        self.at(
            5,
            Event::Process {
                worker,
                incarnation,
            },
        );
    }

    /// Whatever it still did when it was told to end.
    pub fn start_again(&mut self, worker: usize) {
        if self.processes[worker].stopping.is_some() && self.processes[worker].up {
            self.kill_worker(worker);
        }
        self.start_worker(worker);
    }

    pub fn resume_worker(&mut self, worker: usize) {
        self.processes[worker].paused = false;
        let (mine, others) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|(of, _)| *of == worker);
        self.deferred = others;
        let mine: Vec<(usize, Event)> = mine;
        for (_, event) in mine {
            self.at(1, event);
        }
    }

    pub fn add_worker(&mut self) -> Option<usize> {
        let worker = self.processes.len();
        if worker >= 6 {
            return None;
        }
        let incarnation = self.rng.next();
        self.processes.push(Process::new(
            format!("w{worker}"),
            incarnation,
            0,
            self.now,
            self.bugs,
        ));
        self.weather.push(Weather::default());
        self.at(
            5,
            Event::Process {
                worker,
                incarnation,
            },
        );
        Some(worker)
    }
}
