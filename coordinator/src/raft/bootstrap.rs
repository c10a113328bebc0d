//! How a cluster begins: every founder answers, none belongs to a cluster yet, and the one with the
//! lowest name writes the first entry. Whoever finds a cluster that is there already waits to be
//! added to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use openraft::error::{InitializeError, RaftError};
use proto::v1::IdentifyReply;

use super::disk::{DiskError, Poison};
use super::network::Links;
use super::service::Franchise;
use super::timing::IDENTIFY_INTERVAL;
use super::types::{Peer, Raft, id_of};

/// Looks between two lines in the log: about five seconds.
const LOOKS_PER_LINE: u32 = 20;

pub(crate) struct Bootstrap {
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    pub(crate) franchise: Arc<Franchise>,
    pub(crate) join: Vec<String>,
    pub(crate) expect: usize,
    pub(crate) poison: Poison,
}

/// What one look around found.
enum Look {
    /// Somebody belongs to a cluster.
    Cluster,
    /// All founders are there, none has begun.
    Founders(BTreeMap<u64, Peer>),
    /// Not all have answered, or this member isn't among them: how many were seen.
    Incomplete(usize),
}

impl Bootstrap {
    /// Ends when this member has the first entry, wherever that came from.
    pub(crate) async fn run(self) {
        // Asked of the disk: right after its start the library doesn't know its log yet, and a
        // member taken for one that lost its directory may not vote.
        if !self.franchise.is_unsettled() {
            return self.find_own_cluster().await;
        }
        let mut founding = false;
        for look in 0u32.. {
            if self.has_begun() {
                return;
            }
            let done = match self.look().await {
                Look::Cluster if !founding => self.franchise.rejoining().await,
                Look::Founders(founders) => {
                    founding = true;
                    self.found(founders).await
                }
                Look::Incomplete(seen) if look % LOOKS_PER_LINE == 0 => {
                    let expected = self.expect;
                    tracing::info!(seen, expected, "waiting for the other coordinators");
                    Ok(())
                }
                Look::Cluster | Look::Incomplete(_) => Ok(()),
            };
            if let Err(error) = done {
                tracing::error!(%error, "this coordinator can't begin");
                return;
            }
            tokio::time::sleep(IDENTIFY_INTERVAL).await;
        }
    }

    /// Ends when another member of the same cluster answers. If most of those it was told of belong
    /// to another one, this directory was put in the wrong place: nobody would ever listen to it.
    async fn find_own_cluster(self) {
        let me = self.links.me();
        let others: BTreeSet<&String> = self.join.iter().filter(|a| **a != me.address).collect();
        while others.len() > 1 {
            let asked = others.iter().map(|address| self.links.identify(address));
            let replies = join_all(asked).await.into_iter().flatten();
            let own = self.links.cluster();
            let (ours, theirs): (Vec<_>, Vec<_>) = replies
                .filter(|reply| !reply.cluster.is_empty())
                .partition(|reply| reply.cluster == own);
            if !ours.is_empty() {
                return;
            }
            if theirs.len() > others.len().div_ceil(2) {
                let names: Vec<&str> = theirs.iter().map(|reply| reply.name.as_str()).collect();
                self.poison.set(&DiskError::Damaged(format!(
                    "the state directory belongs to another cluster ({own}) than {}",
                    names.join(", ")
                )));
                return;
            }
            tokio::time::sleep(IDENTIFY_INTERVAL).await;
        }
    }

    fn has_begun(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.last_log_index.is_some() || metrics.running_state.is_err()
    }

    /// The founders are behind the first `expect` addresses, in order: everyone who was given the
    /// same addresses comes to the same list, whoever happens to answer first.
    async fn look(&self) -> Look {
        let me = self.links.me();
        let others: BTreeSet<&String> = self.join.iter().filter(|a| **a != me.address).collect();
        let asked = others
            .iter()
            .map(|address| async move { (address.as_str(), self.links.identify(address).await) });
        let mut replies = BTreeMap::from_iter(join_all(asked).await);
        replies.retain(|_, reply| reply.as_ref().is_none_or(|reply| reply.name != me.name));
        if replies.values().flatten().any(|reply| reply.initialized) {
            return Look::Cluster;
        }
        let seen = 1 + replies.values().flatten().count();
        replies.insert(&me.address, None);
        let first = replies.into_iter().take(self.expect);
        let founders = first.filter_map(|(address, reply)| match reply {
            _ if address == me.address => Some((self.links.id(), me.clone())),
            Some(reply) => {
                let IdentifyReply { name, address, .. } = reply;
                Some((id_of(&name), Peer { name, address }))
            }
            None => None,
        });
        let founders: BTreeMap<u64, Peer> = founders.collect();
        match founders.len() == self.expect && founders.contains_key(&self.links.id()) {
            true => Look::Founders(founders),
            false => Look::Incomplete(seen),
        }
    }

    async fn found(&self, founders: BTreeMap<u64, Peer>) -> Result<(), DiskError> {
        self.franchise.founding();
        let me = self.links.me();
        if founders.values().any(|founder| founder.name < me.name) {
            return Ok(());
        }
        if self.links.cluster().is_empty() {
            let cluster = uuid::Uuid::now_v7().simple().to_string();
            self.links.join_cluster(&cluster).await?;
        }
        let members = founders.len();
        match self.raft.initialize(founders).await {
            Ok(()) => tracing::info!(
                members,
                cluster = self.links.cluster(),
                "the cluster begins"
            ),
            // Begun in the meantime.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(DiskError::Io(error.to_string())),
        }
        Ok(())
    }
}
