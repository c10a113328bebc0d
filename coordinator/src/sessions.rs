//! The worker's side door: a stream of reports in, a stream of directives out, and the job's
//! context on demand. Carries words between the wire and the leader's loop, decides nothing.
//! Directives are latest-wins: a worker that reads slowly costs no memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::directive::{JobContext, Report};
use common::id::{JobId, JobUid};
use common::limits::MESSAGE_BYTES_MAX;
use common::plan::Plan;
use futures::{Stream, stream};
use proto::v1;
use proto::v1::worker_client::WorkerClient;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::desk::{Said, SessionId};
use crate::raft::Role;
use crate::route::Route;
use crate::shared::{Shared, no_leader, no_such_job};

/// A loop that takes no word for this long is stuck behind a silent quorum.
const ATTACH_DEADLINE: Duration = Duration::from_secs(3);

type DirectivesStream = Pin<Box<dyn Stream<Item = Result<v1::Directives, Status>> + Send>>;

/// Implements `sterna.v1.Worker`.
pub(crate) struct Sessions {
    shared: Shared,
    route: Route,
    inbox: mpsc::Sender<Said>,
    next: AtomicU64,
}

impl Sessions {
    pub fn new(shared: Shared, inbox: mpsc::Sender<Said>) -> Sessions {
        Sessions {
            route: Route::new(shared.clone()),
            shared,
            inbox,
            next: AtomicU64::new(1),
        }
    }
}

#[tonic::async_trait]
impl v1::worker_server::Worker for Sessions {
    type AttendStream = DirectivesStream;

    async fn attend(
        &self,
        request: Request<Streaming<v1::Report>>,
    ) -> Result<Response<DirectivesStream>, Status> {
        let role = self.shared.role();
        if !role.leading || self.shared.stop.is_cancelled() {
            return Err(not_leading(&role));
        }
        let session = SessionId {
            term: role.term,
            no: self.next.fetch_add(1, Ordering::Relaxed),
        };
        let (directives, wanted) = watch::channel(None);
        let attached = Said::Attached {
            session,
            directives,
        };
        match timeout(ATTACH_DEADLINE, self.inbox.send(attached)).await {
            Ok(Ok(())) => {}
            _ => return Err(not_leading(&role)),
        }
        let ear = Ear {
            shared: self.shared.clone(),
            inbox: self.inbox.clone(),
            session,
        };
        self.shared.tasks.spawn(ear.listen(request.into_inner()));
        let stream = speak(wanted, self.shared.clone());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn fetch_job(
        &self,
        request: Request<v1::FetchJobRequest>,
    ) -> Result<Response<v1::FetchJobReply>, Status> {
        // A plan never changes once it is there: any coordinator that has it may answer.
        if let Some(context) = context(&self.shared, request.get_ref())
            && context.plan.is_some()
        {
            return Ok(reply(&context));
        }
        let here = |message: v1::FetchJobRequest| async move {
            if let Some(context) = context(&self.shared, &message) {
                return Ok(reply(&context));
            }
            self.shared.confirm().await?;
            context(&self.shared, &message)
                .map(|context| reply(&context))
                .ok_or_else(|| no_such_job(&message.job_uid))
        };
        let there = |channel, request| async move {
            let client = WorkerClient::new(channel);
            let mut client = client
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            client.fetch_job(request).await
        };
        self.route.answer(request, here, there).await
    }
}

fn context(shared: &Shared, request: &v1::FetchJobRequest) -> Option<JobContext> {
    let uid = JobUid::parse(&request.job_uid)?;
    shared.consensus.with_state(|state| {
        let job = state.job(JobId(request.job)).filter(|job| job.uid == uid)?;
        Some(JobContext {
            uid,
            spec: job.spec.clone(),
            plan: job.plan.as_deref().map(Plan::without_bounds),
            partitions: job.totals.iter().map(|totals| totals.partitions).collect(),
        })
    })
}

fn reply(context: &JobContext) -> Response<v1::FetchJobReply> {
    Response::new(v1::FetchJobReply {
        context: proto::to_json(context),
    })
}

/// "Not I": with the leader's address, if it is known.
fn not_leading(role: &Role) -> Status {
    let mut status = Status::failed_precondition("this coordinator doesn't lead");
    if let Some(leader) = role.leader.as_ref().filter(|_| !role.leading)
        && let Ok(address) = MetadataValue::try_from(leader.address.as_str())
    {
        status.metadata_mut().insert(proto::LEADER_KEY, address);
    }
    status
}

/// The incoming half of one session.
struct Ear {
    shared: Shared,
    inbox: mpsc::Sender<Said>,
    session: SessionId,
}

impl Ear {
    /// Until the worker is gone, the term is over, or the coordinator stops.
    async fn listen(self, mut reports: Streaming<v1::Report>) {
        let session = self.session;
        let mut role = self.shared.consensus.role();
        loop {
            let message = tokio::select! {
                () = self.shared.stop.cancelled() => break,
                changed = role.changed() => {
                    let now = role.borrow_and_update().clone();
                    if changed.is_err() || !now.leading || now.term != session.term {
                        break;
                    }
                    continue;
                }
                message = reports.message() => message,
            };
            let report = match message.map(|message| message.map(Report::try_from)) {
                Ok(Some(Ok(report))) => Box::new(report),
                Ok(Some(Err(error))) => {
                    tracing::warn!(%error, "a worker's report can't be read");
                    break;
                }
                Ok(None) | Err(_) => break,
            };
            let said = Said::Report { session, report };
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                sent = self.inbox.send(said) => if sent.is_err() { break },
            }
        }
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            // No receiver: the loop has ended, and forgotten every session.
            _ = self.inbox.send(Said::Gone { session }) => {}
        }
    }
}

/// The outgoing half: the newest directives, until the leader's loop lets go of the session.
fn speak(
    wanted: watch::Receiver<Option<Arc<v1::Directives>>>,
    shared: Shared,
) -> impl Stream<Item = Result<v1::Directives, Status>> + Send {
    stream::unfold(Some((wanted, shared)), |speaking| async move {
        let (mut wanted, shared) = speaking?;
        loop {
            let changed = tokio::select! {
                () = shared.stop.cancelled() => {
                    return Some((Err(no_leader("this coordinator stops")), None));
                }
                changed = wanted.changed() => changed,
            };
            if changed.is_err() {
                return Some((Err(not_leading(&shared.role())), None));
            }
            let newest = wanted.borrow_and_update().clone();
            if let Some(newest) = newest {
                let message = v1::Directives::clone(&newest);
                return Some((Ok(message), Some((wanted, shared))));
            }
        }
    })
}
