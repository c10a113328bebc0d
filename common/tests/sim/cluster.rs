//! A model of the coordinators: one agreed log (that Raft keeps its promise is tested elsewhere,
//! over the real one), a leader that may be deposed without knowing, proposals whose fate nobody
//! knows, and each leader's desk. What a leader does is the core's own `intake`, `schedule`,
//! `decide` and `directives`.

use std::collections::BTreeMap;

use common::detect::{FailureDetector, Health};
use common::directive::{self, Directives, Report};
use common::epoch::Lease;
use common::id::{Millis, WorkerId};
use common::limits::Limits;
use common::schedule::schedule;
use common::state::{Command, Entry, State};
use common::two_phase::{decide, intake};
use common::view::{ClusterView, WorkerView};

pub const NODES: usize = 3;
const REPEAT_MS: u64 = 500;

struct Session {
    worker: Option<WorkerId>,
    sent: Option<(u64, Vec<(Lease, bool)>)>,
    /// When its newest report was sent, by its own clock: directives carry it back, and tell the
    /// worker how old they are at most.
    echo: u64,
}

pub struct Proposal {
    pub id: u64,
    pub commands: Vec<Command>,
}

/// One coordinator.
pub struct Node {
    pub up: bool,
    pub paused: bool,
    /// Cut off from the other coordinators.
    pub alone: bool,
    pub disk_ms: u64,
    pub full: bool,
    /// Its wall clock against true time.
    pub offset_ms: i64,
    /// Its term's clock: the time it began with, and when that was.
    term_clock: (u64, u64),
    /// The term it believes to lead.
    pub leading: Option<u64>,
    pub proposing: Option<Proposal>,
    /// What it knew when another took over.
    stale: Option<Box<State>>,
    pub deposed_at: u64,
    pub view: ClusterView,
    detector: FailureDetector,
    unread: BTreeMap<usize, Report>,
    sessions: BTreeMap<usize, Session>,
}

impl Node {
    fn new() -> Node {
        Node {
            up: true,
            paused: false,
            alone: false,
            disk_ms: 4,
            full: false,
            offset_ms: 0,
            term_clock: (0, 0),
            leading: None,
            proposing: None,
            stale: None,
            deposed_at: 0,
            view: ClusterView::default(),
            detector: FailureDetector::default(),
            unread: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    pub fn runs(&self) -> bool {
        self.up && !self.paused
    }

    fn wall_clock(&self, now: u64) -> u64 {
        (now as i64 + self.offset_ms).max(1) as u64
    }

    /// A leader's clock begins where the log's stands, if its own is behind, and then only runs.
    pub fn clock(&self, now: u64) -> Millis {
        let (base, since) = self.term_clock;
        Millis(base + (now - since))
    }

    /// Nothing of a term outlives it.
    pub fn forget_term(&mut self) {
        self.leading = None;
        self.proposing = None;
        self.stale = None;
        self.view = ClusterView::default();
        self.detector = FailureDetector::default();
        self.unread.clear();
        self.sessions.clear();
    }

    pub fn hear(&mut self, from: usize, report: Report, sent_at: u64) {
        if self.leading.is_none() {
            return;
        }
        let session = self.sessions.entry(from).or_insert(Session {
            worker: None,
            sent: None,
            echo: 0,
        });
        session.echo = session.echo.max(sent_at);
        self.unread.insert(from, report);
    }

    pub fn gone(&mut self, from: usize, now: u64) {
        let clock = self.clock(now);
        self.unread.remove(&from);
        if let Some(Session {
            worker: Some(worker),
            ..
        }) = self.sessions.remove(&from)
        {
            self.detector.disconnected(worker, clock);
        }
    }
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    /// What the log says.
    pub state: State,
    pub log: Vec<Entry>,
    pub term: u64,
    pub leader: Option<usize>,
    pub elect_at: Option<u64>,
    pub limits: Limits,
    next_proposal: u64,
    /// Units in flight at most, for the bound's checker.
    pub seed: u64,
}

impl Cluster {
    pub fn new(seed: u64) -> Cluster {
        Cluster {
            nodes: (0..NODES).map(|_| Node::new()).collect(),
            state: State::default(),
            log: Vec::new(),
            term: 0,
            leader: None,
            elect_at: Some(0),
            limits: Limits::default(),
            next_proposal: 0,
            seed,
        }
    }

    fn connected(&self, node: &Node) -> bool {
        node.runs() && !node.alone
    }

    pub fn has_quorum(&self) -> bool {
        self.nodes
            .iter()
            .filter(|node| self.connected(node))
            .count()
            * 2
            > NODES
    }

    /// Appends an entry and applies it, everywhere at once: followers' lag can't be seen from outside.
    pub fn append(&mut self, entry: Entry) -> Vec<String> {
        self.log.push(entry.clone());
        self.state.apply_entry(entry);
        self.state.check().iter().map(ToString::to_string).collect()
    }

    /// Deposes a leader that can't lead and elects another when its time has come. `chance` picks
    /// the candidate and whether the old leader's last proposal had reached a majority.
    pub fn raft_tick(&mut self, now: u64, chance: u64) -> Vec<String> {
        let mut broken = Vec::new();
        for at in 0..NODES {
            let is_leader = self.leader == Some(at);
            let notices = self.nodes[at].runs() && now >= self.nodes[at].deposed_at + 1_000;
            if self.nodes[at].leading.is_some() && !is_leader && notices && !self.nodes[at].alone {
                self.nodes[at].forget_term();
            }
            if self.nodes[at].leading.is_some()
                && !is_leader
                && now >= self.nodes[at].deposed_at + 6_000
                && self.nodes[at].runs()
            {
                self.nodes[at].forget_term();
            }
        }
        if let Some(leader) = self.leader
            && !self.connected(&self.nodes[leader])
        {
            let state = self.state.clone();
            let node = &mut self.nodes[leader];
            node.stale = Some(Box::new(state));
            node.deposed_at = now;
            self.leader = None;
            self.elect_at = Some(now + 1_500 + chance % 2_100);
        }
        if self.leader.is_some() || !self.has_quorum() || self.elect_at.is_some_and(|at| at > now) {
            return broken;
        }
        let able: Vec<usize> = (0..NODES)
            .filter(|at| self.connected(&self.nodes[*at]))
            .collect();
        let elected = able[(chance / 7) as usize % able.len()];
        // The last word of an older leader may have reached a majority before it was silenced.
        for at in 0..NODES {
            if let Some(proposal) = self.nodes[at].proposing.take()
                && (chance >> at) & 1 == 1
            {
                let entry = Entry {
                    at: self.nodes[at].clock(now),
                    commands: proposal.commands,
                };
                broken.extend(self.append(entry));
            }
        }
        self.term += 1;
        self.nodes[elected].forget_term();
        let base = self.nodes[elected].wall_clock(now).max(self.state.now().0);
        self.nodes[elected].term_clock = (base, now);
        self.nodes[elected].leading = Some(self.term);
        self.leader = Some(elected);
        self.elect_at = None;
        broken
    }

    /// What a leader would propose now; None = nothing, or it waits for an answer.
    pub fn derive(&mut self, at: usize, now: u64) -> Option<u64> {
        let is_leader = self.leader == Some(at);
        let Cluster {
            nodes,
            state,
            limits,
            seed,
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
            commands.extend(intake(known, &report));
            let Some(worker) = worker else {
                node.unread.insert(from, report);
                continue;
            };
            node.detector.heard(worker, clock);
            if let Some(session) = node.sessions.get_mut(&from) {
                session.worker = Some(worker);
            }
        }
        refresh(node, known, clock, limits);
        commands.extend(decide(known, *seed));
        commands.extend(schedule(known, &node.view, limits));
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
    ) -> Vec<(usize, Directives, u64)> {
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
            for (process, session) in &mut node.sessions {
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
                    heard: 0,
                    keep_ms: limits.keep_ms(),
                };
                due.push((*process, directives, session.echo));
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
