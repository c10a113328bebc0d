//! From the other coordinators to this one.
//!
//! Refused are messages of another cluster, for another member, and any vote this member has no
//! right to give: one whose directory was empty when the cluster was already there may have voted
//! and acknowledged entries in an earlier life, so it keeps silent until it has everything again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use openraft::LogIdOptionExt;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use proto::v1::raft_server::Raft as RaftRpc;
use proto::v1::{IdentifyReply, IdentifyRequest, RaftMessage, SnapshotChunk};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
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
    /// The addresses of the others, and how many of them must answer.
    others: Vec<String>,
    quorum: usize,
    /// No older leader is listened to. None: not known yet.
    floor: Mutex<Option<u64>>,
}

impl Franchise {
    /// Blocks: only used before the node runs. `empty`: no vote and no entry was ever written.
    /// `join`: the addresses of all members; this one's is `own`.
    pub(crate) fn new(
        log: LogStore,
        empty: bool,
        join: &[String],
        own: &str,
    ) -> Result<Franchise, DiskError> {
        let rejoining: Option<bool> = log.meta(REJOINING)?;
        let all: BTreeSet<&String> = join.iter().collect();
        let others = all.iter().filter(|address| **address != own);
        let others: Vec<String> = others.map(|address| (**address).clone()).collect();
        Ok(Franchise {
            quorum: others.len().min(all.len() / 2 + 1),
            others,
            floor: Mutex::default(),
            unsettled: AtomicBool::new(empty),
            rejoining: AtomicBool::new(rejoining == Some(true)),
            log,
        })
    }

    pub(crate) fn may_vote(&self) -> bool {
        !self.unsettled.load(Ordering::Acquire) && !self.rejoining.load(Ordering::Acquire)
    }

    /// It began with an empty directory, and what that means isn't known yet.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire)
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

    /// Whether to listen to the leader of that term. What this member acknowledged or voted for in
    /// an earlier life, a majority without it has heard of, too, or nobody has: so while it isn't
    /// whole again it follows no leader older than any term such a majority knows. A leader that
    /// was cut off and doesn't know yet that it was replaced could otherwise win with its help
    /// (coordinator/tests/turmoil, WipeUnderOldLeader). `--join` must name the members for that.
    async fn follows(&self, term: u64, links: &Links) -> Result<(), Status> {
        if self.may_vote() {
            return Ok(());
        }
        self.rejoining().await.map_err(stopped)?;
        let mut floor = self.floor.lock().await;
        if floor.is_none() {
            let asked = self.others.iter().map(|address| links.identify(address));
            let cluster = links.cluster();
            let ours = |reply: &IdentifyReply| reply.cluster == cluster && reply.term > 0;
            let replies = join_all(asked).await.into_iter().flatten();
            let terms: Vec<u64> = replies.filter(ours).map(|reply| reply.term).collect();
            let (count, quorum) = (terms.len(), self.quorum);
            if count < quorum {
                tracing::warn!(count, quorum, "too few of the others answer to begin anew");
                return Err(Status::unavailable(
                    "this member lost its directory and waits for a majority of the others",
                ));
            }
            *floor = terms.into_iter().max().or(Some(0));
        }
        match *floor {
            Some(floor) if term < floor => Err(Status::unavailable(format!(
                "this member lost its directory and follows no leader before term {floor}"
            ))),
            _ => Ok(()),
        }
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
        let term = vote.leader_id().get_term();
        self.franchise.follows(term, &self.links).await?;
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
        let term = vote.leader_id().get_term();
        self.franchise.follows(term, &self.links).await?;
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
