//! Coordinators that die, come back, leave and join.

use common::state::State;

use crate::plant::Bug;
use crate::world::{Event, World};

impl World {
    pub fn kill_node(&mut self, node: usize) {
        let held = &mut self.cluster.nodes[node];
        held.up = false;
        // What it had proposed may be in the log: the election decides.
        let proposing = held.proposing.take();
        held.forget_term();
        held.proposing = proposing;
    }

    pub fn start_node(&mut self, node: usize) {
        let node = &mut self.cluster.nodes[node];
        node.up = !node.gone;
    }

    /// Takes a member's vote away, if a leader is there to agree on it and others are left.
    pub fn remove_node(&mut self, node: usize) -> Option<usize> {
        let leader = self.cluster.leader?;
        let members = self.cluster.nodes.iter().filter(|node| node.member);
        let possible = self.cluster.can_lead(leader) && members.count() > 2;
        if !possible || !self.cluster.nodes[node].member {
            return None;
        }
        self.cluster.nodes[node].member = false;
        Some(node)
    }

    /// A new member, which gets the state as a snapshot.
    pub fn add_node(&mut self) -> Option<usize> {
        let leader = self.cluster.leader?;
        if !self.cluster.can_lead(leader) {
            return None;
        }
        let node = self.cluster.join()?;
        self.restore_from_snapshot();
        self.at(1, Event::Leader(node));
        Some(node)
    }

    /// The state as a new member gets it: a snapshot, read back.
    pub fn restore_from_snapshot(&mut self) {
        let mut snapshot =
            serde_json::to_value(&self.cluster.state).expect("a state can be written");
        self.bugs.warp(&mut snapshot);
        let bytes = serde_json::to_vec(&snapshot).expect("a value can be written");
        let restored = serde_json::from_slice(&bytes);
        let mut restored: State = restored.expect("what was written can be read");
        if !self.bugs.has(Bug::NoReindex) {
            restored.reindex();
        }
        if restored != self.cluster.state {
            let what = "replay: a snapshot gives another state";
            self.broken.push(what.to_owned());
        }
        let wrong = restored.check();
        self.broken
            .extend(wrong.iter().map(|wrong| format!("state: {wrong}")));
        self.cluster.state = restored;
    }
}
