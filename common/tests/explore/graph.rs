//! Breadth first through every reachable state, each known by a 128-bit hash of all it consists of
//! (two of ten million collide with a probability of 1e-25). The first broken invariant comes with
//! a shortest way to it. Then backwards: a good end must be within reach of every state by actions
//! that are no faults.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_128;

use crate::check;
use crate::control::Control;
use crate::world::{Action, Scene, World};

/// Collects what is hashed, without the padding of the standard library's eight-byte numbers.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn write_isize(&mut self, n: isize) {
        self.0.push(n as u8);
    }
    fn write_usize(&mut self, n: usize) {
        self.0.push(n as u8);
    }
}

/// A 128-bit hash is as good as it gets already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().take(8).enumerate() {
            self.0 |= u64::from(*byte) << (8 * at);
        }
    }
}

type Known = HashMap<u128, u32, BuildHasherDefault<Identity>>;

/// Something is wrong, and how it came to that.
#[derive(Debug)]
pub struct Found {
    pub invariant: &'static str,
    pub what: String,
    pub trace: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.invariant, self.what)?;
        for (step, line) in self.trace.iter().enumerate() {
            writeln!(f, "  {:>3}. {line}", step + 1)?;
        }
        Ok(())
    }
}

/// What an exploration came to.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    pub logs: usize,
    pub epochs: u8,
    pub good_ends: usize,
    /// States that lie on a circle of actions that are no faults: somebody waits for somebody.
    pub circling: usize,
    pub seconds: f64,
    pub found: Option<Found>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} transitions, depth {}, {} states of the log, epochs to e{}, {} good \
             ends, {} circling, {:.1} s",
            self.states,
            self.transitions,
            self.depth,
            self.logs,
            self.epochs,
            self.good_ends,
            self.circling,
            self.seconds
        )
    }
}

struct Graph<'a> {
    scene: &'a Scene,
    control: Control,
    known: Known,
    /// How each state was first reached.
    parents: Vec<(u32, Action)>,
    /// Edges of actions that are no faults.
    fair: Vec<(u32, u32)>,
    good: Vec<u32>,
    transitions: usize,
}

/// Explores a scene to its end, or to the first thing that is wrong.
pub fn explore(scene: &Scene) -> Explored {
    let started = Instant::now();
    let durable = scene.server.is_durable();
    let mut graph = Graph {
        scene,
        control: Control::new(scene.workers, scene.partitions, durable),
        known: Known::default(),
        parents: Vec::new(),
        fair: Vec::new(),
        good: Vec::new(),
        transitions: 0,
    };
    let (depth, mut found) = graph.walk();
    let mut circling = 0;
    if found.is_none() {
        found = graph.stuck();
        circling = graph.circling();
    }
    let logs = graph.control.len() as u32;
    let epochs = (0..logs).map(|log| graph.control.facts(log).epoch_max);
    Explored {
        states: graph.parents.len(),
        transitions: graph.transitions,
        depth,
        logs: logs as usize,
        epochs: epochs.max().unwrap_or(0),
        good_ends: graph.good.len(),
        circling,
        seconds: started.elapsed().as_secs_f64(),
        found,
    }
}

impl Graph<'_> {
    fn walk(&mut self) -> (usize, Option<Found>) {
        let first = World::new(self.scene);
        self.known.insert(name(&first, &mut Bytes::default()), 0);
        self.parents.push((0, Action::Tick));
        let mut level = vec![(0, first)];
        let (mut actions, mut bytes) = (Vec::new(), Bytes::default());
        let mut depth = 0;
        loop {
            let mut next = Vec::new();
            for (at, world) in level {
                world.actions(self.scene, &mut actions);
                for action in actions.drain(..) {
                    let Some(after) = world.after(self.scene, &mut self.control, action) else {
                        continue;
                    };
                    self.transitions += 1;
                    let fresh = self.parents.len() as u32;
                    let id = *{ self.known.entry(name(&after, &mut bytes)) }.or_insert(fresh);
                    if action.is_fair() {
                        self.fair.push((at, id));
                    }
                    if id != fresh {
                        continue;
                    }
                    self.parents.push((at, action));
                    if let Some((invariant, what)) = check::check(&after, self.scene, &self.control)
                    {
                        let trace = self.trace(id);
                        let found = Found {
                            invariant,
                            what,
                            trace,
                        };
                        return (depth + 1, Some(found));
                    }
                    if check::is_good_end(&after, &self.control) {
                        self.good.push(id);
                    }
                    next.push((id, after));
                }
            }
            if next.is_empty() {
                return (depth, None);
            }
            depth += 1;
            level = next;
        }
    }

    /// The first state from which no good end can be reached without another fault.
    fn stuck(&mut self) -> Option<Found> {
        let states = self.parents.len();
        let (starts, sources) = grouped(states, self.fair.iter().map(|(from, to)| (*to, *from)));
        let mut reaches = vec![false; states];
        let mut queue: VecDeque<u32> = self.good.iter().copied().collect();
        for id in &self.good {
            reaches[*id as usize] = true;
        }
        while let Some(id) = queue.pop_front() {
            let (from, until) = (starts[id as usize], starts[id as usize + 1]);
            for before in &sources[from as usize..until as usize] {
                if !std::mem::replace(&mut reaches[*before as usize], true) {
                    queue.push_back(*before);
                }
            }
        }
        let stuck = reaches.iter().position(|reaches| !reaches)? as u32;
        let count = reaches.iter().filter(|reaches| !**reaches).count();
        Some(Found {
            invariant: "heals",
            what: format!("from {count} of {states} states no good end can be reached"),
            trace: self.trace(stuck),
        })
    }

    /// How many states are left when those that nothing (left) leads to are taken away again and
    /// again, and likewise those that lead nowhere.
    fn circling(&self) -> usize {
        let states = self.parents.len();
        let forward = grouped(states, self.fair.iter().copied());
        let backward = grouped(states, self.fair.iter().map(|(from, to)| (*to, *from)));
        let mut there = vec![true; states];
        for (out, into) in [(&forward, &backward), (&backward, &forward)] {
            let degree = |id: usize| {
                let (from, until) = (into.0[id] as usize, into.0[id + 1] as usize);
                { into.1[from..until].iter() }
                    .filter(|other| there[**other as usize])
                    .count()
            };
            let mut degrees: Vec<usize> = (0..states).map(degree).collect();
            let bare = |id: &usize| there[*id] && degrees[*id] == 0;
            let mut queue: Vec<usize> = (0..states).filter(bare).collect();
            while let Some(id) = queue.pop() {
                there[id] = false;
                for other in &out.1[out.0[id] as usize..out.0[id + 1] as usize] {
                    let other = *other as usize;
                    degrees[other] -= 1;
                    if there[other] && degrees[other] == 0 {
                        queue.push(other);
                    }
                }
            }
        }
        there.iter().filter(|there| **there).count()
    }

    /// A shortest way to a state, walked again.
    fn trace(&mut self, id: u32) -> Vec<String> {
        let mut way = Vec::new();
        let mut at = id;
        while at != 0 {
            let (parent, action) = self.parents[at as usize];
            way.push(action);
            at = parent;
        }
        let mut world = World::new(self.scene);
        let mut lines = Vec::new();
        for action in way.into_iter().rev() {
            let after = world.after(self.scene, &mut self.control, action);
            let after = after.expect("it was walked before");
            lines.push(crate::tell::line(&world, &after, action, &self.control));
            world = after;
        }
        lines
    }
}

fn name(world: &World, bytes: &mut Bytes) -> u128 {
    bytes.0.clear();
    world.hash(bytes);
    xxh3_128(&bytes.0)
}

/// Edges by their first end: where each one's begin, and the other ends.
fn grouped(states: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; states + 1];
    for (from, _) in edges.clone() {
        starts[from as usize + 1] += 1;
    }
    for at in 0..states {
        starts[at + 1] += starts[at];
    }
    let mut next = starts.clone();
    let mut ends = vec![0; *starts.last().unwrap_or(&0) as usize];
    for (from, to) in edges {
        let at = &mut next[from as usize];
        ends[*at as usize] = to;
        *at += 1;
    }
    (starts, ends)
}
