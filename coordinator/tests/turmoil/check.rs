//! What must hold: looked at all the time, and once more when everything has healed.

use std::collections::BTreeMap;

use common::id::WorkerId;
use common::state::{EventKind, State};

use crate::client::{Ack, History};
use crate::member::{Member, World, lock};

#[derive(Default)]
pub struct Checker {
    /// Who led in each term.
    terms: BTreeMap<u64, String>,
    /// The digest first seen at each applied index, and where.
    digests: BTreeMap<u64, (u64, String)>,
    /// What each member has applied in its present life.
    applied: BTreeMap<String, u64>,
}

impl Checker {
    /// At most one leader per term; what is applied only grows.
    pub fn look(&mut self, world: &World) {
        for (name, member) in world.members() {
            let role = member.consensus.role().borrow().clone();
            if role.leading {
                let first = self.terms.entry(role.term).or_insert_with(|| name.clone());
                if *first != name {
                    let term = role.term;
                    world.violation(format!("{first} and {name} lead in term {term}"));
                }
            }
            let now = *member.consensus.applied().borrow();
            let before = self.applied.insert(name.clone(), now).unwrap_or(0);
            if now < before {
                world.violation(format!("{name} went back from {before} to {now}"));
            }
        }
    }

    /// Equal states at an equal index.
    pub fn compare(&mut self, world: &World) {
        for (name, member) in world.members() {
            let (index, digest) = member.consensus.state_digest();
            let held = self.digests.entry(index);
            let (first, at) = held.or_insert_with(|| (digest, name.clone()));
            if *first != digest {
                world.violation(format!("{name} and {at} differ at index {index}"));
            }
        }
    }

    /// A crashed member may apply again what its snapshot lacks.
    pub fn forget(&mut self, name: &str) {
        self.applied.remove(name);
    }

    pub fn leaders(&self) -> usize {
        self.terms.len()
    }
}

/// The names in the order in which they were applied; an error if one was applied twice, or half.
fn order(state: &State) -> Result<Vec<(String, WorkerId)>, String> {
    let mut order: Vec<(String, WorkerId)> = Vec::new();
    let mut drained = 2;
    for event in state.events_after(0) {
        match &event.kind {
            EventKind::WorkerJoined { worker, name, .. } if drained == 2 => {
                order.push((name.clone(), *worker));
                drained = 0;
            }
            EventKind::WorkerDraining { .. } if drained < 2 => drained += 1,
            other => {
                let last = order.last();
                return Err(format!("event {}: {other:?} after {last:?}", event.seq));
            }
        }
    }
    Ok(order)
}

/// Every acknowledged entry is in the state once, as it was acknowledged, and in an order that no
/// pair of question and answer contradicts.
pub fn acknowledged(who: &str, state: &State, acks: &[Ack]) -> Vec<String> {
    let order = match order(state) {
        Ok(order) => order,
        Err(error) => return vec![format!("{who}: {error}")],
    };
    let mut wrong = Vec::new();
    let mut places = BTreeMap::new();
    for (place, (name, worker)) in order.iter().enumerate() {
        if places.insert(name, (place, *worker)).is_some() {
            wrong.push(format!("{who}: {name} is there twice"));
        }
    }
    for ack in acks {
        match places.get(&ack.name) {
            None => wrong.push(format!("{who}: the acknowledged {} is lost", ack.name)),
            Some((_, worker)) if *worker != ack.worker => wrong.push(format!(
                "{who}: {} was acknowledged as {:?}, it is {worker:?}",
                ack.name, ack.worker
            )),
            Some(_) => {}
        }
    }
    let mut by_answer: Vec<&Ack> = acks.iter().collect();
    by_answer.sort_by_key(|ack| ack.answered);
    let place = |ack: &Ack| places.get(&ack.name).map(|(place, _)| *place);
    for later in acks {
        let done = by_answer.partition_point(|ack| ack.answered < later.asked);
        let before = by_answer[..done].iter().max_by_key(|ack| place(ack));
        if let Some(before) = before.filter(|before| place(before) > place(later)) {
            let (a, b) = (&before.name, &later.name);
            wrong.push(format!(
                "{who}: {b} was asked after the answer to {a}, and is before it"
            ));
        }
    }
    wrong
}

/// All of these members have the same, and all that was acknowledged.
pub fn converged(members: &[(String, Member)], history: &History) -> bool {
    let digests = members
        .iter()
        .map(|(_, member)| member.consensus.state_digest());
    let mut digests: Vec<_> = digests.collect();
    digests.dedup();
    let acks = lock(&history.acks).len();
    digests.len() == 1
        && members
            .iter()
            .all(|(_, member)| member.consensus.with_state(|s| s.workers().count()) >= acks)
}
