//! The service for people and scripts. Translates requests into reads of the state and commands,
//! and their answers into the documented JSON; the rules are in the state. Any coordinator
//! answers: see [`crate::route`].

use std::pin::Pin;

use common::code::{Code, Failure};
use common::fault::Fault;
use common::id::{JobId, JobUid, WorkerId};
use common::job::JobSpec;
use common::limits::MESSAGE_BYTES_MAX;
use common::state::{Applied, Command, Intent, State};
use common::status::{self, API_VERSION, PeerLine, PeersStatus};
use futures::Stream;
use proto::v1;
use proto::v1::admin_client::AdminClient;
use serde::Serialize;
use tonic::transport::Channel;
use tonic::{Code as Grpc, Request, Response, Status};

use crate::faults;
use crate::journal;
use crate::raft::Peer;
use crate::route::Route;
use crate::shared::{Shared, internal, no_such_job, refusal};

type Reply = Result<Response<v1::JsonReply>, Status>;
type EventStream = Pin<Box<dyn Stream<Item = Result<v1::JsonReply, Status>> + Send>>;

/// Implements `sterna.v1.Admin`.
pub(crate) struct Admin {
    shared: Shared,
    route: Route,
}

impl Admin {
    pub fn new(shared: Shared) -> Admin {
        Admin {
            route: Route::new(shared.clone()),
            shared,
        }
    }
}

fn client(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Answers here on the leader, by the same method of the leader elsewhere.
macro_rules! routed {
    ($self:ident, $request:ident, $here:ident, $method:ident) => {
        $self
            .route
            .answer(
                $request,
                |message| $self.$here(message),
                |channel, request| async move { client(channel).$method(request).await },
            )
            .await
    };
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Admin {
    type EventsStream = EventStream;

    async fn submit_job(&self, request: Request<v1::SubmitJobRequest>) -> Reply {
        routed!(self, request, submit, submit_job)
    }

    async fn set_intent(&self, request: Request<v1::SetIntentRequest>) -> Reply {
        routed!(self, request, intend, set_intent)
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Reply {
        routed!(self, request, show_job, get_job)
    }

    async fn get_spec(&self, request: Request<v1::GetJobRequest>) -> Reply {
        routed!(self, request, show_spec, get_spec)
    }

    async fn list_jobs(&self, request: Request<v1::Empty>) -> Reply {
        routed!(self, request, show_jobs, list_jobs)
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<EventStream>, Status> {
        // Every coordinator has the same journal; one that follows shows it as it applies it.
        if request.get_ref().follow {
            return self.stream_events(request.into_inner());
        }
        let here = |message| async {
            self.shared.confirm().await?;
            self.stream_events(message)
        };
        let there = |channel, request| async move {
            let events = client(channel).events(request).await?;
            Ok(events.map(|events| Box::pin(events) as EventStream))
        };
        self.route.answer(request, here, there).await
    }

    async fn list_workers(&self, request: Request<v1::Empty>) -> Reply {
        routed!(self, request, show_workers, list_workers)
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Reply {
        routed!(self, request, drain, drain_worker)
    }

    async fn list_transactions(&self, request: Request<v1::Empty>) -> Reply {
        routed!(self, request, show_transactions, list_transactions)
    }

    async fn list_peers(&self, request: Request<v1::Empty>) -> Reply {
        let answer = routed!(self, request, show_peers, list_peers);
        match answer {
            // Nobody leads: then what this one knows is what an operator needs most.
            Err(status) if status.code() == Grpc::Unavailable => {
                self.show_peers(v1::Empty {}).await
            }
            answer => answer,
        }
    }

    async fn add_peer(&self, request: Request<v1::AddPeerRequest>) -> Reply {
        routed!(self, request, add, add_peer)
    }

    async fn remove_peer(&self, request: Request<v1::PeerRequest>) -> Reply {
        routed!(self, request, remove, remove_peer)
    }

    async fn transfer_leader(&self, request: Request<v1::PeerRequest>) -> Reply {
        routed!(self, request, transfer, transfer_leader)
    }
}

/// The answers of the leader.
impl Admin {
    async fn submit(&self, request: v1::SubmitJobRequest) -> Reply {
        let spec: JobSpec = proto::from_json("spec", &request.spec)
            .map_err(|error| invalid(Code::JobFile, error.to_string()))?;
        let uid = JobUid::parse(&request.uid)
            .ok_or_else(|| invalid(Code::Usage, "uid is not 32 hex digits".to_owned()))?;
        let problems = spec.problems();
        if !problems.is_empty() {
            let lines = problems
                .iter()
                .map(|problem| format!("{}: {}", problem.path, problem.message));
            return Err(invalid(Code::JobFile, lines.collect::<Vec<_>>().join("; ")));
        }
        let spec = Box::new(spec);
        let submit = Command::SubmitJob { uid, spec };
        let applied = self.shared.propose(submit).await?;
        if faults::point(Fault::AdminAfterSubmit).await {
            // As if the connection broke: whoever repeats it is told of the same job, by its uid.
            return Err(Status::unavailable("the answer was lost"));
        }
        match applied {
            Applied::Job(id) => self.job_by_id(id),
            other => Err(internal(&format!("a submitted job was answered {other:?}"))),
        }
    }

    async fn intend(&self, request: v1::SetIntentRequest) -> Reply {
        let set = |intent| move |job| Command::SetIntent { job, intent };
        let command: Box<dyn Fn(JobId) -> Command + Send> = match request.intent.as_str() {
            "run" => Box::new(set(Intent::Run)),
            "pause" => Box::new(set(Intent::Pause)),
            "cancel" => Box::new(set(Intent::Cancel)),
            "complete" => Box::new(|job| Command::Complete { job }),
            other => return Err(invalid(Code::Usage, format!("no intent {other:?}"))),
        };
        self.shared.confirm().await?;
        let job = self.find_job(&request.job)?;
        self.shared.propose(command(job)).await?;
        self.job_by_id(job)
    }

    async fn show_job(&self, request: v1::GetJobRequest) -> Reply {
        self.shared.confirm().await?;
        self.job_by_id(self.find_job(&request.job)?)
    }

    async fn show_spec(&self, request: v1::GetJobRequest) -> Reply {
        self.shared.confirm().await?;
        let id = self.find_job(&request.job)?;
        let read = |state: &State| state.job(id).map(|job| json(&job.spec));
        let spec = self.shared.consensus.with_state(read);
        spec.ok_or_else(|| no_such_job(&request.job))
    }

    async fn show_jobs(&self, _: v1::Empty) -> Reply {
        self.shared.confirm().await?;
        Ok(json(&self.shared.consensus.with_state(status::jobs_status)))
    }

    async fn show_workers(&self, _: v1::Empty) -> Reply {
        self.shared.confirm().await?;
        self.workers()
    }

    async fn drain(&self, request: v1::DrainWorkerRequest) -> Reply {
        self.shared.confirm().await?;
        let found = self
            .shared
            .consensus
            .with_state(|state| find_worker(state, &request.worker));
        let Some(worker) = found else {
            let what = format!("there is no worker {:?}", request.worker);
            let failure = Failure::new(Code::WrongState, what).fix("sterna node list");
            return Err(proto::status_of(Grpc::NotFound, &failure));
        };
        let drain = request.drain;
        self.shared
            .propose(Command::DrainWorker { worker, drain })
            .await?;
        self.workers()
    }

    async fn show_transactions(&self, _: v1::Empty) -> Reply {
        self.shared.confirm().await?;
        let read = status::transactions_status;
        Ok(json(&self.shared.consensus.with_state(read)))
    }

    async fn show_peers(&self, _: v1::Empty) -> Reply {
        let peers = self.shared.consensus.peers().await.into_iter();
        let peers = peers.map(|peer| PeerLine {
            name: peer.name,
            address: peer.address,
            state: peer.state,
            voter: peer.voter,
            term: peer.term,
            last_log: Some(peer.last_log),
            applied: peer.matched,
            last_contact_ms: peer.last_contact_ms,
            version: peer.version,
        });
        Ok(json(&PeersStatus {
            api_version: API_VERSION.to_owned(),
            peers: peers.collect(),
        }))
    }

    async fn add(&self, request: v1::AddPeerRequest) -> Reply {
        if request.name.is_empty() || request.address.is_empty() {
            let what = "a coordinator needs a name and an address";
            return Err(invalid(Code::Usage, what.to_owned()));
        }
        let peer = Peer {
            name: request.name,
            address: request.address,
        };
        let added = self.shared.consensus.add_peer(peer, request.learner).await;
        added.map_err(refusal)?;
        self.show_peers(v1::Empty {}).await
    }

    async fn remove(&self, request: v1::PeerRequest) -> Reply {
        self.known_peer(&request.name).await?;
        let removed = self.shared.consensus.remove_peer(&request.name).await;
        removed.map_err(refusal)?;
        self.show_peers(v1::Empty {}).await
    }

    async fn transfer(&self, request: v1::PeerRequest) -> Reply {
        let to = Some(request.name.as_str()).filter(|name| !name.is_empty());
        if let Some(name) = to {
            self.known_peer(name).await?;
        }
        let transferred = self.shared.consensus.transfer_leader(to).await;
        transferred.map_err(refusal)?;
        self.show_peers(v1::Empty {}).await
    }

    async fn known_peer(&self, name: &str) -> Result<(), Status> {
        let peers = self.shared.consensus.peers().await;
        if peers.iter().any(|peer| peer.name == name) {
            return Ok(());
        }
        let what = format!("there is no coordinator {name:?}");
        let failure = Failure::new(Code::WrongState, what).fix("sterna operator raft list-peers");
        Err(proto::status_of(Grpc::NotFound, &failure))
    }

    fn workers(&self) -> Reply {
        let read = |state: &State| {
            self.shared
                .with_view(|view| status::workers_status(state, Some(view)))
        };
        Ok(json(&self.shared.consensus.with_state(read)))
    }

    fn find_job(&self, name: &str) -> Result<JobId, Status> {
        let found = self
            .shared
            .consensus
            .with_state(|state| job_id(state, name));
        found.ok_or_else(|| no_such_job(name))
    }

    fn job_by_id(&self, id: JobId) -> Reply {
        let read = |state: &State| {
            let job = state.job(id)?;
            let status = |view: &_| status::job_status(state, id, job, Some(view));
            Some(self.shared.with_view(status))
        };
        match self.shared.consensus.with_state(read) {
            Some(status) => Ok(json(&status)),
            None => Err(no_such_job(&id.to_string())),
        }
    }

    fn stream_events(&self, request: v1::EventsRequest) -> Result<Response<EventStream>, Status> {
        let job = match request.job.as_str() {
            "" => None,
            name => Some(self.find_job(name)?),
        };
        let reader = journal::Reader::new(self.shared.clone(), request.after, job, request.follow);
        Ok(Response::new(Box::pin(reader.stream())))
    }
}

/// By name, else by uid.
fn job_id(state: &State, name: &str) -> Option<JobId> {
    let named = state.job_named(name).map(|(id, _)| id);
    let by_uid = || state.jobs().find(|(_, job)| job.uid.0 == name);
    named.or_else(|| by_uid().map(|(id, _)| id))
}

/// By name, else by id (`w3` or `3`).
fn find_worker(state: &State, name: &str) -> Option<WorkerId> {
    let named = state.workers().find(|(_, w)| w.hello.name == name);
    let number = name.strip_prefix('w').unwrap_or(name).parse().ok();
    let by_id = number
        .map(WorkerId)
        .filter(|id| state.worker(*id).is_some());
    named.map(|(id, _)| id).or(by_id)
}

fn json(value: &impl Serialize) -> Response<v1::JsonReply> {
    Response::new(v1::JsonReply {
        json: proto::to_json(value),
    })
}

fn invalid(code: Code, what: String) -> Status {
    proto::status_of(Grpc::InvalidArgument, &Failure::new(code, what))
}
