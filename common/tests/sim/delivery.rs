//! What passes between leaders, the log and workers: turns, proposals, reports and directives, and
//! what the network does to them.

use common::state::{Entry, State};

use crate::plant::Bug;
use crate::world::{Event, World};

impl World {
    pub fn lead(&mut self, node: usize) {
        if let Some(id) = self.cluster.derive(node, self.now) {
            if self.bugs.has(Bug::DecisionNotLogged) {
                self.tell_ahead(node);
            }
            let disk = self.cluster.nodes[node].disk_ms;
            let late = disk + self.rng.below(disk + 1);
            self.at(late, Event::Proposed { node, id });
        }
        self.push(node, None);
    }

    pub fn tell_ahead(&mut self, node: usize) {
        let mut ahead: State = self.cluster.state.clone();
        let at = self.cluster.nodes[node].clock(self.now);
        let commands = self.cluster.nodes[node]
            .proposing
            .as_ref()
            .map(|p| p.commands.clone());
        ahead.apply_entry(Entry {
            at,
            commands: commands.unwrap_or_default(),
        });
        self.push(node, Some(ahead));
    }

    pub fn push(&mut self, node: usize, ahead: Option<State>) {
        for ((worker, incarnation), directives) in self.cluster.push(node, self.now, ahead.as_ref())
        {
            let process = &self.processes[worker];
            let here = process.attends == node && process.incarnation == incarnation;
            if !here || self.links.directives_cut.contains(&worker) {
                continue;
            }
            self.directives.push(((worker, incarnation), directives));
            let message = self.directives.len() as u64 - 1;
            for late in self.deliveries() {
                self.at(late, Event::Directives { message });
            }
        }
    }

    /// When a message arrives: never, once, or more than once.
    pub fn deliveries(&mut self) -> Vec<u64> {
        if self.rng.chance(self.links.lost) {
            return Vec::new();
        }
        let late = self.links.late_ms;
        let mut deliveries = vec![1 + self.rng.below(3 + late)];
        if self.rng.chance(self.links.doubled) {
            deliveries.push(1 + self.rng.below(300 + late));
        }
        deliveries
    }

    pub fn proposed(&mut self, node: usize, id: u64) -> Vec<String> {
        let is_leader = self.cluster.leader == Some(node);
        let can_lead = self.cluster.can_lead(node);
        let full = self.cluster.nodes[node].full;
        let held = &mut self.cluster.nodes[node];
        if held
            .proposing
            .as_ref()
            .is_none_or(|proposal| proposal.id != id)
        {
            return Vec::new();
        }
        if full {
            held.proposing = None;
            return Vec::new();
        }
        if !can_lead {
            if self.cluster.nodes[node].up {
                self.at(100, Event::Proposed { node, id });
            }
            return Vec::new();
        }
        let proposal = self.cluster.nodes[node]
            .proposing
            .take()
            .expect("looked at above");
        if !is_leader {
            self.cluster.nodes[node].forget_term();
            return Vec::new();
        }
        self.trace(|| format!("log {:?}", proposal.commands));
        let at = self.cluster.nodes[node].clock(self.now);
        let mut broken = self.cluster.append(Entry {
            at,
            commands: proposal.commands,
        });
        broken.extend(self.changed());
        self.push(node, None);
        self.at(1, Event::Turn(node));
        broken
    }

    pub fn process(&mut self, worker: usize, incarnation: u64) {
        let now = self.now;
        let process = &mut self.processes[worker];
        if !process.up || process.incarnation != incarnation {
            return;
        }
        if !process.paused {
            process.stop_alone(now);
            if process.stops(now) {
                self.say(worker);
                self.kill_worker(worker);
                return;
            }
            let process = &mut self.processes[worker];
            if now > process.heard_at + 2_000 + self.rng.below(700) {
                let node = process.attends;
                process.attends = (node + 1) % self.cluster.nodes.len();
                process.heard_at = process.heard_at.max(now.saturating_sub(1_500));
                self.say_gone(worker, node);
            }
            self.say(worker);
            self.schedule_units(worker);
        }
        self.at(
            250,
            Event::Process {
                worker,
                incarnation,
            },
        );
    }

    /// The stream of a worker to a coordinator breaks.
    pub fn say_gone(&mut self, worker: usize, node: usize) {
        if !self.links.reports_cut.contains(&worker) {
            let stream = (worker, self.processes[worker].incarnation);
            self.at(3, Event::Gone { stream, node });
        }
    }

    pub fn say(&mut self, worker: usize) {
        let process = &mut self.processes[worker];
        if self.links.reports_cut.contains(&worker) {
            return;
        }
        let node = process.attends;
        self.reports.push(process.report(self.now));
        let message = self.reports.len() as u64 - 1;
        for late in self.deliveries() {
            self.at(
                late,
                Event::Report {
                    worker,
                    node,
                    message,
                },
            );
        }
    }

    pub fn deliver_report(&mut self, worker: usize, node: usize, message: u64) {
        if !self.cluster.nodes[node].runs() {
            return;
        }
        let report = self.reports[message as usize].clone();
        self.cluster.nodes[node].hear(worker, report);
        self.lead(node);
    }

    pub fn deliver_directives(&mut self, message: u64) {
        let (worker, incarnation) = self.directives[message as usize].0;
        let process = &mut self.processes[worker];
        if !process.up || process.incarnation != incarnation {
            return;
        }
        if process.paused {
            self.deferred.push((worker, Event::Directives { message }));
            return;
        }
        let work = self.rng.between(50, 600);
        let (_, directives) = &self.directives[message as usize];
        process.take(directives, self.now, |_| work);
        self.schedule_units(worker);
    }
}
