//! A model of the coordinators: one agreed log (that Raft keeps its promise is tested elsewhere,
//! over the real one), members that come and go, a leader that may be deposed without knowing, and
//! proposals whose fate nobody knows. What a leader does with it is in `leader`.

use std::collections::{BTreeMap, BTreeSet};

use common::detect::FailureDetector;
use common::directive::Report;
use common::epoch::Lease;
use common::id::{Millis, WorkerId};
use common::limits::Limits;
use common::state::{Command, Entry, State};
use common::view::ClusterView;

use crate::plant::{Bug, Bugs};

/// Members in the beginning, and coordinators there may be at most.
pub const NODES: usize = 3;
const NODES_MAX: usize = 6;
/// A deposed leader that nobody tells gives up by itself.
const DEPOSED_MS: u64 = 6_000;

/// A worker process and its incarnation: what one life says comes on streams of its own.
pub type Stream = (usize, u64);

pub struct Session {
    pub worker: Option<WorkerId>,
    pub sent: Option<(u64, Vec<(Lease, bool)>)>,
    /// The newest report that was taken in.
    pub heard: u64,
}

pub struct Proposal {
    pub id: u64,
    pub commands: Vec<Command>,
}

/// One coordinator.
pub struct Node {
    pub up: bool,
    pub paused: bool,
    /// It has a vote.
    pub member: bool,
    /// It comes back never.
    pub gone: bool,
    pub disk_ms: u64,
    pub full: bool,
    /// Its wall clock against true time.
    pub offset_ms: i64,
    bugs: Bugs,
    /// Its term's clock: the time it began with, and when that was.
    term_clock: (u64, u64),
    /// The term it believes to lead.
    pub leading: Option<u64>,
    pub proposing: Option<Proposal>,
    /// What it knew when another took over.
    pub stale: Option<Box<State>>,
    pub deposed_at: u64,
    pub view: ClusterView,
    pub detector: FailureDetector,
    pub unread: BTreeMap<Stream, Report>,
    pub sessions: BTreeMap<Stream, Session>,
}

impl Node {
    fn new(bugs: Bugs) -> Node {
        Node {
            up: true,
            paused: false,
            member: true,
            gone: false,
            disk_ms: 4,
            full: false,
            offset_ms: 0,
            bugs,
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
        if self.bugs.has(Bug::WallClock) {
            return Millis(self.wall_clock(now));
        }
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

    pub fn hear(&mut self, from: usize, report: Report) {
        if self.leading.is_none() {
            return;
        }
        let stream = (from, report.hello.incarnation);
        let session = self.sessions.entry(stream).or_insert(Session {
            worker: None,
            sent: None,
            heard: 0,
        });
        if report.seq > session.heard {
            session.heard = report.seq;
            self.unread.insert(stream, report);
        }
    }

    pub fn gone(&mut self, from: Stream, now: u64) {
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
    /// (from, to): what `from` sends doesn't reach `to`.
    pub cuts: BTreeSet<(usize, usize)>,
    /// What the log says.
    pub state: State,
    pub log: Vec<Entry>,
    pub term: u64,
    pub leader: Option<usize>,
    elect_at: Option<u64>,
    pub limits: Limits,
    pub next_proposal: u64,
    pub seed: u64,
    pub bugs: Bugs,
}

impl Cluster {
    pub fn new(seed: u64, bugs: Bugs) -> Cluster {
        Cluster {
            nodes: (0..NODES).map(|_| Node::new(bugs)).collect(),
            cuts: BTreeSet::new(),
            state: State::default(),
            log: Vec::new(),
            term: 0,
            leader: None,
            elect_at: Some(0),
            limits: Limits::default(),
            next_proposal: 0,
            seed,
            bugs,
        }
    }

    fn hears(&self, at: usize, from: usize) -> bool {
        at == from
            || (self.nodes[at].runs()
                && self.nodes[from].runs()
                && !self.cuts.contains(&(from, at)))
    }

    fn is_majority(&self, of: impl Fn(usize) -> bool) -> bool {
        let members = || (0..self.nodes.len()).filter(|at| self.nodes[*at].member);
        members().filter(|at| of(*at)).count() * 2 > members().count()
    }

    /// Its words reach a majority, and the answers reach it.
    pub fn can_lead(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let both_ways = |other| self.hears(other, at) && self.hears(at, other);
        node.runs() && node.member && self.is_majority(both_ways)
    }

    /// A leader is followed for as long as a majority hears it, whether it hears them or not.
    fn is_followed(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.runs() && node.member && self.is_majority(|other| self.hears(other, at))
    }

    /// All of them, cut off from this one.
    pub fn isolate(&mut self, node: usize, hears: bool, speaks: bool) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if !hears {
                self.cuts.insert((other, node));
            }
            if !speaks {
                self.cuts.insert((node, other));
            }
        }
    }

    /// A new coordinator, with a vote, if there may be another.
    pub fn join(&mut self) -> Option<usize> {
        if self.nodes.len() >= NODES_MAX {
            return None;
        }
        self.nodes.push(Node::new(self.bugs));
        Some(self.nodes.len() - 1)
    }

    /// Appends an entry and applies it, everywhere at once: followers' lag can't be seen from
    /// outside.
    pub fn append(&mut self, mut entry: Entry) -> Vec<String> {
        self.log.push(entry.clone());
        if self.bugs.has(Bug::ClockInApply) {
            entry.at.0 += 1;
        }
        self.state.apply_entry(entry);
        let broken = self.state.check();
        broken
            .iter()
            .map(|broken| format!("state: {broken}"))
            .collect()
    }

    /// Deposes a leader that can't lead and elects another when its time has come. `chance` picks
    /// the candidate and whether the old leader's last proposal had reached a majority.
    pub fn raft_tick(&mut self, now: u64, chance: u64) -> Vec<String> {
        self.forget_deposed(now);
        if let Some(leader) = self.leader
            && !self.is_followed(leader)
        {
            let stale = Box::new(self.state.clone());
            let node = &mut self.nodes[leader];
            node.stale = Some(stale);
            node.deposed_at = now;
            self.leader = None;
            self.elect_at = Some(now + 1_500 + chance % 2_100);
        }
        if self.leader.is_some() || self.elect_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        let able: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.can_lead(*at))
            .collect();
        if able.is_empty() {
            return Vec::new();
        }
        let elected = able[(chance / 7) as usize % able.len()];
        let mut broken = Vec::new();
        // The last word of an older leader may have reached a majority before it was silenced.
        for at in 0..self.nodes.len() {
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
        let base = self.nodes[elected].wall_clock(now).max(self.state.now().0);
        let node = &mut self.nodes[elected];
        node.forget_term();
        node.term_clock = (base, now);
        node.leading = Some(self.term);
        self.leader = Some(elected);
        self.elect_at = None;
        broken
    }

    /// Who believes to lead and doesn't hears of the newer term, or gives up.
    fn forget_deposed(&mut self, now: u64) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.leading.is_none() || self.leader == Some(at) || !node.runs() {
                continue;
            }
            let told = self.leader.is_some_and(|leader| self.hears(at, leader));
            if (told && now >= node.deposed_at + 1_000) || now >= node.deposed_at + DEPOSED_MS {
                self.nodes[at].forget_term();
            }
        }
    }
}
