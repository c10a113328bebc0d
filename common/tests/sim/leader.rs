//! What a leader does with what it knows: the core's own `intake`, `decide`, `schedule` and
//! `directives`, over its view of the workers that report to it.

use std::collections::BTreeMap;

use common::detect::Health;
use common::directive::{self, Directives};
use common::id::Millis;
use common::limits::Limits;
use common::state::State;
use common::two_phase::decide;
use common::view::WorkerView;

use crate::cluster::{Cluster, Node, Proposal, Stream};

/// Directives are repeated this often at least.
const REPEAT_MS: u64 = 500;

impl Cluster {
    /// What a leader would propose now; None = nothing, or it waits for an answer.
    pub fn derive(&mut self, at: usize, now: u64) -> Option<u64> {
        let is_leader = self.leader == Some(at);
        let Cluster {
            nodes,
            state,
            limits,
            seed,
            bugs,
            ..
        } = self;
        let node = &mut nodes[at];
        if !node.runs() || node.leading.is_none() || node.proposing.is_some() {
            return None;
        }
        let clock = node.clock(now);
        let stale = node.stale.take();
        let known: &State = match (is_leader, &stale) {
            (true, _) => state,
            (false, Some(stale)) => stale,
            (false, None) => return None,
        };
        node.view.now = clock;
        let mut commands = Vec::new();
        for (from, report) in std::mem::take(&mut node.unread) {
            let worker = known.worker_of(&report.hello);
            commands.extend(bugs.intake(known, &report));
            let Some(worker) = worker else {
                node.unread.insert(from, report);
                continue;
            };
            node.detector.heard(worker, clock);
            if let Some(seen) = node.view.workers.get_mut(&worker) {
                seen.draining = report.draining;
            }
            if let Some(session) = node.sessions.get_mut(&from) {
                session.worker = Some(worker);
            }
        }
        refresh(node, known, clock, limits);
        commands.extend(decide(known, *seed));
        commands.extend(bugs.schedule(known, &node.view, limits));
        node.stale = stale;
        if commands.is_empty() {
            return None;
        }
        self.next_proposal += 1;
        let id = self.next_proposal;
        self.nodes[at].proposing = Some(Proposal { id, commands });
        Some(id)
    }

    /// The wanted sets that are due, by process.
    pub fn push(
        &mut self,
        at: usize,
        now: u64,
        ahead: Option<&State>,
    ) -> Vec<(Stream, Directives)> {
        let is_leader = self.leader == Some(at);
        let Cluster {
            nodes,
            state,
            limits,
            ..
        } = self;
        let node = &mut nodes[at];
        let Some(term) = node.leading.filter(|_| node.runs()) else {
            return Vec::new();
        };
        let stale = node.stale.take();
        let known: Option<&State> = match (is_leader, &stale) {
            (true, _) => Some(ahead.unwrap_or(state)),
            (false, stale) => stale.as_deref(),
        };
        let mut due = Vec::new();
        if let Some(known) = known {
            for (stream, session) in &mut node.sessions {
                let Some(worker) = session.worker else {
                    continue;
                };
                if known.worker(worker).is_none() {
                    session.worker = None;
                    continue;
                }
                let outline = directive::outline(known, worker);
                let same = session
                    .sent
                    .as_ref()
                    .is_some_and(|(sent, what)| *what == outline && now < sent + REPEAT_MS);
                if same {
                    continue;
                }
                let wanted = directive::directives(known, worker);
                let self_stop_ms = limits.self_stop_ms();
                let directives = Directives {
                    term,
                    worker,
                    wanted,
                    self_stop_ms,
                    heard: session.heard,
                    keep_ms: limits.keep_ms(),
                };
                due.push((*stream, directives));
                session.sent = Some((now, outline));
            }
        }
        node.stale = stale;
        due
    }
}

fn refresh(node: &mut Node, known: &State, clock: Millis, limits: &Limits) {
    let detector = &mut node.detector;
    node.view.workers.retain(|worker, _| {
        let stays = known.worker(*worker).is_some();
        if !stays {
            detector.forget(*worker);
        }
        stays
    });
    for (worker, _) in known.workers() {
        let health: Health = node.detector.health(worker, clock, limits);
        let fresh = || WorkerView {
            health,
            draining: false,
            memory_bytes: 0,
            progress: BTreeMap::new(),
        };
        node.view.workers.entry(worker).or_insert_with(fresh).health = health;
    }
}
