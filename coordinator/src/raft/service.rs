//! From the other coordinators to this one.
//!
//! Refused are messages of another cluster, for another member, and any vote this member has no
//! right to give: one whose directory was empty when the cluster was already there may have voted
//! and acknowledged entries in an earlier life, so it keeps silent until it has everything again.

use std::sync::atomic::{AtomicBool, Ordering};

use openraft::LogIdOptionExt;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use proto::v1::raft_server::Raft as RaftRpc;
use proto::v1::{IdentifyReply, IdentifyRequest, RaftMessage, SnapshotChunk};
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status, Streaming};

use super::disk::DiskError;
use super::log_store::{LogStore, REJOINING};
use super::membership::{leads_within, state_text};
use super::network::Links;
use super::timing::{TAKE_LEAD_ATTEMPTS, TAKE_LEAD_WAIT};
use super::types::{LogId, Raft, Snapshot, SnapshotMeta, TypeConfig, Vote, decode, encode};

/// Whether this member may vote.
pub(crate) struct Franchise {
    log: LogStore,
    /// Set while it isn't known yet what an empty directory means.
    unsettled: AtomicBool,
    rejoining: AtomicBool,
}

impl Franchise {
    /// Blocks: only used before the node runs. `empty`: no vote and no entry was ever written.
    pub(crate) fn new(log: LogStore, empty: bool) -> Result<Franchise, DiskError> {
        let rejoining: Option<bool> = log.meta(REJOINING)?;
        Ok(Franchise {
            unsettled: AtomicBool::new(empty),
            rejoining: AtomicBool::new(rejoining == Some(true)),
            log,
        })
    }

    pub(crate) fn may_vote(&self) -> bool {
        !self.unsettled.load(Ordering::Acquire) && !self.rejoining.load(Ordering::Acquire)
    }

    /// All founders are empty: there is nothing this member could have forgotten.
    pub(crate) fn founding(&self) {
        self.unsettled.store(false, Ordering::Release);
    }

    /// The cluster was there before this directory.
    pub(crate) async fn rejoining(&self) -> Result<(), DiskError> {
        if !self.rejoining.swap(true, Ordering::AcqRel) {
            self.log.set_meta(REJOINING, &true).await?;
        }
        self.founding();
        Ok(())
    }

    /// It has everything a leader called committed.
    async fn caught_up(&self) -> Result<(), DiskError> {
        if self.rejoining.load(Ordering::Acquire) {
            self.log.set_meta(REJOINING, &false).await?;
            self.rejoining.store(false, Ordering::Release);
        }
        self.founding();
        Ok(())
    }
}

/// Answers the other coordinators.
pub struct RaftService {
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    pub(crate) franchise: std::sync::Arc<Franchise>,
}

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Status> {
    decode(bytes).map_err(|error| Status::invalid_argument(format!("a message: {error}")))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this coordinator has stopped: {error}"))
}

impl RaftService {
    /// Refuses what isn't meant for this member; learns the cluster if it belongs to none yet.
    async fn admit(&self, cluster: &str, target: u64) -> Result<(), Status> {
        if target != self.links.id() {
            let name = &self.links.me().name;
            return Err(Status::failed_precondition(format!(
                "this is {name}, not the member meant"
            )));
        }
        let ours = self.links.cluster();
        if cluster.is_empty() || (!ours.is_empty() && ours != cluster) {
            return Err(Status::failed_precondition(format!(
                "this member belongs to cluster {ours:?}, the message to {cluster:?}"
            )));
        }
        if ours.is_empty() {
            self.links.join_cluster(cluster).await.map_err(stopped)?;
        }
        Ok(())
    }

    fn reply<T: serde::Serialize>(&self, body: &T) -> Response<RaftMessage> {
        Response::new(RaftMessage {
            payload: encode(body),
            cluster: self.links.cluster(),
            target: 0,
        })
    }

    fn heard(&self, vote: &Vote) {
        if let Some(leader) = vote.leader_id().voted_for() {
            self.links.heard(leader);
        }
    }
}

#[tonic::async_trait]
impl RaftRpc for RaftService {
    async fn append(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let message = request.into_inner();
        self.admit(&message.cluster, message.target).await?;
        let request: AppendEntriesRequest<TypeConfig> = body(&message.payload)?;
        let vote = request.vote;
        // On arrival, too: this member may be busy writing for longer than its patience lasts.
        self.heard(&vote);
        let last = request
            .entries
            .last()
            .map(|entry| entry.log_id)
            .or(request.prev_log_id);
        let committed = request.leader_commit;
        let answer = self.raft.append_entries(request).await.map_err(stopped)?;
        if answer == AppendEntriesResponse::Success {
            self.heard(&vote);
            if committed.is_some() && last >= committed {
                self.franchise.caught_up().await.map_err(stopped)?;
            }
        }
        Ok(self.reply(&answer))
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let message = request.into_inner();
        if !self.franchise.may_vote() {
            return Err(Status::unavailable(
                "this member does not vote before it has caught up",
            ));
        }
        self.admit(&message.cluster, message.target).await?;
        let request: VoteRequest<u64> = body(&message.payload)?;
        let answer = self.raft.vote(request).await.map_err(stopped)?;
        Ok(self.reply(&answer))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftMessage>, Status> {
        let mut chunks = request.into_inner();
        let missing = || Status::invalid_argument("a snapshot without its first piece");
        let first = chunks.message().await?.ok_or_else(missing)?;
        self.admit(&first.cluster, first.target).await?;
        let (vote, meta): (Vote, SnapshotMeta) = body(&first.vote_and_meta)?;
        let mut data = first.data;
        while let Some(chunk) = chunks.message().await? {
            self.heard(&vote);
            data.extend_from_slice(&chunk.data);
        }
        let snapshot = Snapshot {
            meta,
            snapshot: Box::new(data),
        };
        let answer = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?;
        self.heard(&vote);
        Ok(self.reply(&answer))
    }

    async fn identify(
        &self,
        _request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyReply>, Status> {
        let metrics = self.raft.metrics().borrow().clone();
        metrics.running_state.as_ref().map_err(stopped)?;
        let leader = metrics.current_leader;
        let node = leader.and_then(|id| {
            metrics
                .membership_config
                .membership()
                .get_node(&id)
                .cloned()
        });
        let me = self.links.me();
        Ok(Response::new(IdentifyReply {
            name: me.name.clone(),
            id: self.links.id(),
            address: me.address.clone(),
            // Entry 0 is the founders' list; only a leader writes the next one.
            initialized: metrics.last_log_index.is_some_and(|index| index > 0)
                || metrics.last_applied.index().is_some_and(|index| index > 0),
            cluster: self.links.cluster(),
            leader: leader.unwrap_or(0),
            leader_address: node.map(|node| node.address).unwrap_or_default(),
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id: LogId| id.index),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: state_text(metrics.state).to_owned(),
        }))
    }

    async fn take_lead(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let message = request.into_inner();
        self.admit(&message.cluster, message.target).await?;
        if !self.franchise.may_vote() {
            return Ok(self.reply(&false));
        }
        // The old leader votes for this member and steps down with that; in a larger cluster the
        // others' leases must run out first.
        for _ in 0..TAKE_LEAD_ATTEMPTS {
            self.raft.trigger().elect().await.map_err(stopped)?;
            if leads_within(&self.raft, TAKE_LEAD_WAIT).await {
                return Ok(self.reply(&true));
            }
        }
        Ok(self.reply(&false))
    }
}
