//! From this coordinator to the others: channels, and the library's messages over them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use common::limits::{MESSAGE_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory};
use proto::v1::raft_client::RaftClient;
use proto::v1::{RaftMessage, SnapshotChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::disk::DiskError;
use super::ground::Ground;
use super::log_store::{CLUSTER, LogStore};
use super::timing::{APPEND_DEADLINE, CONNECT_DEADLINE, SNAPSHOT_DEADLINE};
use super::types::{LogId, Peer, Snapshot, TypeConfig, Vote, decode, encode, id_of};

type Failed = RPCError<u64, Peer, RaftError<u64>>;
type Appended = AppendEntriesResponse<u64>;

/// Who this coordinator is, and what it knows of the way to the others. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    me: Peer,
    id: u64,
    log: LogStore,
    ground: Ground,
    /// Empty until this member belongs to a cluster.
    cluster: RwLock<String>,
    channels: Mutex<BTreeMap<String, Channel>>,
    /// When each member last answered or spoke.
    contacts: Mutex<BTreeMap<u64, Instant>>,
}

impl Links {
    /// Blocks: only used before the node runs.
    pub(crate) fn new(me: Peer, log: LogStore, ground: Ground) -> Result<Links, DiskError> {
        let cluster: Option<String> = log.meta(CLUSTER)?;
        Ok(Links {
            shared: Arc::new(Shared {
                id: id_of(&me.name),
                me,
                log,
                ground,
                cluster: RwLock::new(cluster.unwrap_or_default()),
                channels: Mutex::default(),
                contacts: Mutex::default(),
            }),
        })
    }

    pub(crate) fn me(&self) -> &Peer {
        &self.shared.me
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    pub(crate) fn cluster(&self) -> String {
        self.shared
            .cluster
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Belongs to that cluster from now on, durably.
    pub(crate) async fn join_cluster(&self, cluster: &str) -> Result<(), DiskError> {
        self.shared.log.set_meta(CLUSTER, &cluster).await?;
        let mut ours = self
            .shared
            .cluster
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        cluster.clone_into(&mut ours);
        Ok(())
    }

    pub(crate) fn heard(&self, id: u64) {
        let mut contacts = self
            .shared
            .contacts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        contacts.insert(id, Instant::now());
    }

    /// How long ago that member answered or spoke.
    pub(crate) fn silence(&self, id: u64) -> Option<Duration> {
        let contacts = self
            .shared
            .contacts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        contacts.get(&id).map(Instant::elapsed)
    }

    /// A client for that address; it connects when it is used, again and again.
    pub(crate) fn client(&self, address: &str) -> Result<RaftClient<Channel>, Status> {
        let mut channels = self
            .shared
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.shared.ground.connect(&endpoint(address)?);
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn message<T: Serialize>(&self, target: u64, body: &T) -> RaftMessage {
        RaftMessage {
            payload: encode(body),
            cluster: self.cluster(),
            target,
        }
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(format!("{address:?}: {error}")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true))
}

/// The library backs off from an unreachable member, and asks any other again at once.
fn failed(status: &Status) -> Failed {
    match status.code() {
        Code::DeadlineExceeded => RPCError::Network(NetworkError::new(status)),
        _ => RPCError::Unreachable(Unreachable::new(status)),
    }
}

fn body<T: DeserializeOwned>(message: &RaftMessage) -> Result<T, Status> {
    decode(&message.payload).map_err(|error| Status::data_loss(format!("an answer: {error}")))
}

/// Puts a deadline on a call.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(deadline, call).await {
        Ok(done) => done,
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {deadline:?}"
        ))),
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link {
            links: self.clone(),
            target,
            address: node.address.clone(),
            sending: None,
        }
    }
}

/// To one member.
pub(crate) struct Link {
    links: Links,
    target: u64,
    address: String,
    sending: Option<Sending>,
}

/// A message of entries on its way. It outlives the library's patience (one heartbeat): asked for
/// the same entries again, the answer to this one is awaited instead of sending them twice.
struct Sending {
    vote: Vote,
    prev: Option<LogId>,
    last: LogId,
    answer: AbortOnDropHandle<Result<Appended, Status>>,
}

impl Link {
    fn append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        deadline: Duration,
    ) -> Result<impl Future<Output = Result<Appended, Status>> + use<>, Status> {
        let mut client = self.links.client(&self.address)?;
        let message = self.links.message(self.target, request);
        let (links, target) = (self.links.clone(), self.target);
        Ok(async move {
            let answer = within(deadline, client.append(message)).await?;
            links.heard(target);
            body(answer.get_ref())
        })
    }

    async fn append_entries_of(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        last: LogId,
    ) -> Result<Appended, Status> {
        let same = |sending: &Sending| {
            let (vote, prev) = (sending.vote, sending.prev);
            vote == request.vote && prev == request.prev_log_id && sending.last <= last
        };
        if !self.sending.as_ref().is_some_and(same) {
            let answer = tokio::spawn(self.append(&request, APPEND_DEADLINE)?);
            self.sending = Some(Sending {
                vote: request.vote,
                prev: request.prev_log_id,
                last,
                answer: AbortOnDropHandle::new(answer),
            });
        }
        let Some(sending) = self.sending.as_mut() else {
            return Err(Status::internal("nothing is being sent"));
        };
        let sent = sending.last;
        let answer = (&mut sending.answer).await;
        self.sending = None;
        match answer.map_err(|error| Status::internal(error.to_string()))?? {
            AppendEntriesResponse::Success if sent < last => {
                Ok(AppendEntriesResponse::PartialSuccess(Some(sent)))
            }
            answer => Ok(answer),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<u64>, Status> {
        let mut client = self.links.client(&self.address)?;
        let (cluster, target) = (self.links.cluster(), self.target);
        let vote_and_meta = encode(&(vote, snapshot.meta));
        let data = *snapshot.snapshot;
        let pieces = data.len().div_ceil(SNAPSHOT_CHUNK_BYTES).max(1);
        let chunks = (0..pieces).map(move |no| {
            let from = no * SNAPSHOT_CHUNK_BYTES;
            let until = data.len().min(from + SNAPSHOT_CHUNK_BYTES);
            SnapshotChunk {
                vote_and_meta: if no == 0 {
                    vote_and_meta.clone()
                } else {
                    Vec::new()
                },
                data: data[from..until].to_vec(),
                cluster: cluster.clone(),
                target,
            }
        });
        let call = client.install_snapshot(tokio_stream::iter(chunks));
        let answer = within(SNAPSHOT_DEADLINE, call).await?;
        self.links.heard(self.target);
        body(answer.get_ref())
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<Appended, Failed> {
        let done = match rpc.entries.last().map(|entry| entry.log_id) {
            Some(last) => self.append_entries_of(rpc, last).await,
            None => match self.append(&rpc, option.hard_ttl()) {
                Ok(call) => call.await,
                Err(status) => Err(status),
            },
        };
        done.map_err(|status| failed(&status))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failed> {
        let message = self.links.message(self.target, &rpc);
        let call = async {
            let mut client = self.links.client(&self.address)?;
            let answer = within(option.hard_ttl(), client.vote(message)).await?;
            self.links.heard(self.target);
            body(answer.get_ref())
        };
        call.await.map_err(|status| failed(&status))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        tokio::select! {
            sent = self.send_snapshot(vote, snapshot) => {
                sent.map_err(|status| StreamingError::Unreachable(Unreachable::new(&status)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(100)))
    }
}
