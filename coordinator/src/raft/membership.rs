//! Who belongs to the cluster, and who leads it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use openraft::{ChangeMembers, ServerState};
use proto::v1::{IdentifyReply, IdentifyRequest};
use serde::{Deserialize, Serialize};

use super::network::within;
use super::timing::{ASK_DEADLINE, CATCH_UP_DEADLINE, MEMBERSHIP_DEADLINE, TRANSFER_DEADLINE};
use super::types::{Metrics, Peer, Raft, id_of};
use super::{Consensus, ProposeError};

/// How many entries a new member may be behind when it gets a vote.
const PROMOTE_LAG_MAX: u64 = 50;
/// Between two looks at something that is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A member of the cluster, as `sterna operator raft list-peers` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub name: String,
    pub address: String,
    /// `leader`, `follower`, `learner`, `unreachable` or `stopped`.
    pub state: String,
    pub voter: bool,
    pub term: u64,
    pub last_log: u64,
    /// The last entry it is known to hold (asked of the leader) or to have applied.
    pub matched: Option<u64>,
    pub last_contact_ms: Option<u64>,
    pub version: String,
}

pub(crate) fn state_text(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower | ServerState::Candidate => "follower",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    }
}

/// Whether this member comes to lead within that time.
pub(crate) async fn leads_within(raft: &Raft, time: Duration) -> bool {
    let leads = |metrics: &Metrics| metrics.state == ServerState::Leader;
    raft.wait(Some(time))
        .metrics(leads, "leading")
        .await
        .is_ok()
}

fn refused(why: impl Into<String>) -> ProposeError {
    ProposeError::Refused(why.into())
}

impl Consensus {
    /// Every member, asked at once; this one first if the cluster hasn't begun.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership().clone();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let mut members: Vec<(u64, Peer)> = membership
            .nodes()
            .map(|(id, peer)| (*id, peer.clone()))
            .collect();
        if members.is_empty() {
            members.push((self.inner.links.id(), self.inner.links.me().clone()));
        }
        members.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let asked = members.into_iter().map(|(id, peer)| {
            let (metrics, voter) = (&metrics, voters.contains(&id));
            async move {
                match id == self.inner.links.id() {
                    true => self.own_status(peer, voter, metrics),
                    false => self.ask_status(id, peer, voter, metrics).await,
                }
            }
        });
        join_all(asked).await
    }

    fn own_status(&self, peer: Peer, voter: bool, metrics: &Metrics) -> PeerStatus {
        PeerStatus {
            name: peer.name,
            address: peer.address,
            state: state_text(metrics.state).to_owned(),
            voter,
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            matched: metrics.last_applied.map(|id| id.index),
            last_contact_ms: Some(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn ask_status(&self, id: u64, peer: Peer, voter: bool, metrics: &Metrics) -> PeerStatus {
        let reply = self.ask(&peer).await.filter(|reply| reply.id == id);
        if reply.is_some() {
            self.inner.links.heard(id);
        }
        let replicated = metrics
            .replication
            .as_ref()
            .and_then(|matched| *matched.get(&id)?);
        let silence = self.inner.links.silence(id);
        let matched = replicated
            .map(|id| id.index)
            .or(reply.as_ref().map(|reply| reply.applied));
        let reply = reply.unwrap_or_else(|| IdentifyReply {
            state: "unreachable".to_owned(),
            ..IdentifyReply::default()
        });
        PeerStatus {
            name: peer.name,
            address: peer.address,
            state: reply.state,
            voter,
            term: reply.term,
            last_log: reply.last_log,
            matched,
            last_contact_ms: silence.and_then(|time| u64::try_from(time.as_millis()).ok()),
            version: reply.version,
        }
    }

    async fn ask(&self, peer: &Peer) -> Option<IdentifyReply> {
        let me = self.inner.links.me();
        let request = IdentifyRequest {
            name: me.name.clone(),
            address: me.address.clone(),
        };
        let mut client = self.inner.links.client(&peer.address).ok()?;
        let reply = within(ASK_DEADLINE, client.identify(request)).await;
        Some(reply.ok()?.into_inner())
    }

    /// Adds a member. It becomes a voter once it has what the others have, unless it is to stay a
    /// learner. Adding a member that is there already changes nothing.
    pub async fn add_peer(&self, peer: Peer, learner: bool) -> Result<(), ProposeError> {
        self.must_lead()?;
        let id = id_of(&peer.name);
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let voter = membership.voter_ids().any(|voter| voter == id);
        match membership.get_node(&id) {
            Some(held) if held.address != peer.address => {
                return Err(refused(format!("{held} is a member; remove it first")));
            }
            Some(_) if voter && learner => {
                return Err(refused(format!("{peer} has a vote; remove it first")));
            }
            Some(_) if voter => return Ok(()),
            _ => {}
        }
        let found = self.ask(&peer).await;
        match found {
            None => return Err(refused(format!("{peer} does not answer"))),
            Some(reply) if reply.name != peer.name => {
                return Err(refused(format!(
                    "{} calls itself {}",
                    peer.address, reply.name
                )));
            }
            Some(_) => {}
        }
        let name = peer.name.clone();
        self.change(ChangeMembers::AddNodes([(id, peer)].into()))
            .await?;
        if learner {
            return Ok(());
        }
        self.caught_up(id, PROMOTE_LAG_MAX, CATCH_UP_DEADLINE)
            .await
            .map_err(|error| match error {
                ProposeError::Refused(_) => refused(format!(
                    "{name} did not catch up within {CATCH_UP_DEADLINE:?}; it stays a learner"
                )),
                other => other,
            })?;
        self.change(ChangeMembers::AddVoterIds([id].into())).await
    }

    /// Removes a member. The leader hands over first and lets its successor do it.
    pub async fn remove_peer(&self, name: &str) -> Result<(), ProposeError> {
        self.must_lead()?;
        let id = id_of(name);
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        if membership.get_node(&id).is_none() {
            return Err(refused(format!("there is no member {name:?}")));
        }
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if !voters.contains(&id) {
            return self.change(ChangeMembers::RemoveNodes([id].into())).await;
        }
        if voters.len() == 1 {
            return Err(refused(format!("{name} is the only voter")));
        }
        if id == self.inner.links.id() {
            self.transfer_leader(None).await?;
            return Err(ProposeError::NotLeader(self.role().borrow().leader.clone()));
        }
        self.change(ChangeMembers::RemoveVoters([id].into())).await
    }

    async fn change(&self, change: ChangeMembers<u64, Peer>) -> Result<(), ProposeError> {
        let call = Box::pin(self.inner.raft.change_membership(change, false));
        match tokio::time::timeout(MEMBERSHIP_DEADLINE, call).await {
            Ok(done) => done.map(drop).map_err(|error| self.write_error(error)),
            Err(_) => Err(refused(
                "no quorum answered; see `sterna operator raft list-peers`",
            )),
        }
    }

    /// Waits until that member holds all but `lag` of this leader's entries.
    async fn caught_up(&self, id: u64, lag: u64, deadline: Duration) -> Result<(), ProposeError> {
        let until = tokio::time::Instant::now() + deadline;
        loop {
            let metrics = self.must_lead()?;
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|matched| *matched.get(&id)?);
            let last = metrics.last_log_index.unwrap_or(0);
            if matched.is_some_and(|matched| matched.index + lag >= last) {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return Err(refused("the member did not catch up"));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Makes another voter the leader: the named one, or the one that has the most.
    pub async fn transfer_leader(&self, to: Option<&str>) -> Result<(), ProposeError> {
        let metrics = self.must_lead()?;
        let (id, peer) = self.successor(&metrics, to)?;
        if id == self.inner.links.id() {
            return Ok(());
        }
        if self.inner.handing_over.swap(true, Ordering::AcqRel) {
            return Err(refused("the leadership is being handed over already"));
        }
        let done = self.hand_over(id, &peer).await;
        self.inner.handing_over.store(false, Ordering::Release);
        done
    }

    fn successor(&self, metrics: &Metrics, to: Option<&str>) -> Result<(u64, Peer), ProposeError> {
        let membership = metrics.membership_config.membership();
        let me = self.inner.links.id();
        let matched = |id: &u64| metrics.replication.as_ref().and_then(|all| *all.get(id)?);
        let chosen = match to {
            Some(name) => membership.voter_ids().find(|id| *id == id_of(name)),
            None => membership
                .voter_ids()
                .filter(|id| *id != me)
                .max_by_key(matched),
        };
        let found = chosen.and_then(|id| Some((id, membership.get_node(&id)?.clone())));
        found.ok_or_else(|| match to {
            Some(name) => refused(format!("there is no voter {name:?}")),
            None => refused("there is no other voter"),
        })
    }

    /// New proposals are refused meanwhile, so that the successor can get everything there is; then
    /// it stands, and this member's vote (which no lease withholds) makes it the leader.
    async fn hand_over(&self, id: u64, peer: &Peer) -> Result<(), ProposeError> {
        self.caught_up(id, 0, TRANSFER_DEADLINE).await?;
        let mut client = self
            .inner
            .links
            .client(&peer.address)
            .map_err(|status| refused(status.message()))?;
        let message = self.inner.links.message(id, &());
        let asked = within(TRANSFER_DEADLINE, client.take_lead(message)).await;
        let leads = |metrics: &Metrics| metrics.current_leader == Some(id);
        let wait = self.inner.raft.wait(Some(TRANSFER_DEADLINE));
        match asked {
            Ok(_) if wait.metrics(leads, "handed over").await.is_ok() => Ok(()),
            Ok(_) => Err(refused(format!("{peer} could not take over"))),
            Err(status) => Err(refused(format!("{peer}: {}", status.message()))),
        }
    }

    /// The metrics of a leader.
    fn must_lead(&self) -> Result<Metrics, ProposeError> {
        self.check_running()?;
        let metrics = self.metrics();
        match metrics.state {
            ServerState::Leader => Ok(metrics),
            _ => Err(ProposeError::NotLeader(self.leader_of(&metrics))),
        }
    }
}
