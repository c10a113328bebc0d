//! A coordinator for tests: says what it is told to, remembers what it hears.
// The tests of the session and those of the whole way each use a part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::directive::{Ack, Directive, Directives, JobContext, Outcome, Report};
use common::epoch::Lease;
use common::id::WorkerId;
use futures::{Stream, stream};
use proto::v1;
use proto::v1::worker_server::{Worker, WorkerServer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const DIRECTIVES_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// What the coordinator does.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Leads {
        term: u64,
    },
    /// Refuses, pointing to somebody.
    Follows(Option<String>),
    /// Streams stay open and say nothing.
    Mute,
}

struct Inner {
    role: Role,
    wanted: Vec<Directive>,
    self_stop_ms: u64,
    keep_ms: u64,
    /// `seq` of the newest report.
    heard: u64,
    /// It takes in no report, and says so.
    deaf: bool,
    context: Option<JobContext>,
    report: Option<Report>,
    sessions: u32,
}

/// Its handle; the server ends with it.
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Fake {
    pub async fn start(role: Role) -> Fake {
        let inner = Arc::new(Mutex::new(Inner {
            role,
            wanted: Vec::new(),
            self_stop_ms: 60_000,
            keep_ms: 60_000,
            heard: 0,
            deaf: false,
            context: None,
            report: None,
            sessions: 0,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = WorkerServer::new(Service(Arc::clone(&inner)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming);
            served.await.expect("the fake serves");
        });
        Fake {
            inner,
            address,
            _server: server,
        }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(
            &mut self
                .inner
                .lock()
                .expect("no test panics while it holds this"),
        );
    }

    pub fn role(&self, role: Role) {
        self.change(|inner| inner.role = role);
    }

    pub fn want(&self, wanted: Vec<Directive>) {
        self.change(|inner| inner.wanted = wanted);
    }

    pub fn self_stop_ms(&self, ms: u64) {
        self.change(|inner| inner.self_stop_ms = ms);
    }

    pub fn keep_ms(&self, ms: u64) {
        self.change(|inner| inner.keep_ms = ms);
    }

    pub fn deaf(&self, deaf: bool) {
        self.change(|inner| inner.deaf = deaf);
    }

    pub fn context(&self, context: JobContext) {
        self.change(|inner| inner.context = Some(context));
    }

    pub fn sessions(&self) -> u32 {
        self.inner.lock().expect("as above").sessions
    }

    /// The newest report; a new one must come for the next call.
    fn heard(&self) -> Option<Report> {
        self.inner.lock().expect("as above").report.clone()
    }

    /// Forgets what it heard, so that the next answer is a fresh one.
    pub fn forget(&self) {
        self.change(|inner| inner.report = None);
    }

    /// Waits for a report that `fits`.
    pub async fn report(&self, what: &str, fits: impl Fn(&Report) -> bool) -> Report {
        let found = until(what, || self.heard().filter(|report| fits(report))).await;
        self.forget();
        found
    }

    /// Waits for a word about `lease`.
    pub async fn ack(&self, lease: Lease) -> Outcome {
        let said = |report: &Report| -> Option<Outcome> {
            let ack: Option<&Ack> = report.acks.iter().find(|ack| ack.lease == lease);
            ack.map(|ack| ack.outcome.clone())
        };
        let what = format!("an ack of {lease}");
        let report = self.report(&what, |report| said(report).is_some()).await;
        said(&report).expect("it was asked for")
    }
}

/// Polls until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

struct Service(Arc<Mutex<Inner>>);

type DirectiveStream = Pin<Box<dyn Stream<Item = Result<v1::Directives, Status>> + Send>>;

struct Attending {
    inner: Arc<Mutex<Inner>>,
    reports: Streaming<v1::Report>,
    ended: bool,
}

#[tonic::async_trait]
impl Worker for Service {
    type AttendStream = DirectiveStream;

    async fn attend(
        &self,
        request: Request<Streaming<v1::Report>>,
    ) -> Result<Response<DirectiveStream>, Status> {
        let mut inner = self.0.lock().expect("no test panics while it holds this");
        if let Role::Follows(leader) = &inner.role {
            return Err(refusal(leader.as_deref()));
        }
        inner.sessions += 1;
        let attending = Attending {
            inner: Arc::clone(&self.0),
            reports: request.into_inner(),
            ended: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(attending, next))))
    }

    async fn fetch_job(
        &self,
        _: Request<v1::FetchJobRequest>,
    ) -> Result<Response<v1::FetchJobReply>, Status> {
        let inner = self.0.lock().expect("no test panics while it holds this");
        match &inner.context {
            Some(context) => Ok(Response::new(v1::FetchJobReply {
                context: proto::to_json(context),
            })),
            None => Err(Status::not_found("no such job")),
        }
    }
}

fn refusal(leader: Option<&str>) -> Status {
    let mut status = Status::failed_precondition("this one does not lead");
    if let Some(leader) = leader {
        let leader = leader.parse().expect("addresses are ASCII");
        status.metadata_mut().insert(proto::LEADER_KEY, leader);
    }
    status
}

/// Hears reports, and answers at each tick what it wants.
async fn next(mut at: Attending) -> Option<(Result<v1::Directives, Status>, Attending)> {
    if at.ended {
        return None;
    }
    let tick = sleep(DIRECTIVES_EVERY);
    tokio::pin!(tick);
    loop {
        tokio::select! {
            heard = at.reports.message() => {
                let Ok(Some(report)) = heard else { return None };
                let report: Report = report.try_into().expect("a report that can be read");
                let mut inner = at.inner.lock().expect("as above");
                if !inner.deaf {
                    inner.heard = report.seq;
                }
                inner.report = Some(report);
            }
            () = &mut tick => {
                let said = said(&at.inner.lock().expect("as above"));
                match said {
                    Some(Ok(directives)) => return Some((Ok(directives), at)),
                    Some(Err(status)) => {
                        at.ended = true;
                        return Some((Err(status), at));
                    }
                    None => tick.as_mut().reset(Instant::now() + DIRECTIVES_EVERY),
                }
            }
        }
    }
}

fn said(inner: &Inner) -> Option<Result<v1::Directives, Status>> {
    match &inner.role {
        Role::Mute => None,
        Role::Follows(leader) => Some(Err(refusal(leader.as_deref()))),
        Role::Leads { term } => {
            let directives = Directives {
                term: *term,
                worker: WorkerId(1),
                wanted: inner.wanted.clone(),
                self_stop_ms: inner.self_stop_ms,
                heard: inner.heard,
                keep_ms: inner.keep_ms,
            };
            Some(Ok(v1::Directives::pack(directives, |_| {
                "sqlite:target".to_owned()
            })))
        }
    }
}
