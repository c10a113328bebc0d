//! The leader's desk: attached sessions, their last reports, the failure detector. Kept for one
//! term and thrown away with it. Turns what was said into commands and the view; sends nothing
//! but directives, and only when they changed or are due again. Knows no gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::detect::{FailureDetector, Health};
use common::directive::{self, Directives, Report};
use common::epoch::Lease;
use common::id::{Millis, WorkerId};
use common::limits::Limits;
use common::state::{Command, State, WorkerHello};
use common::two_phase;
use common::view::{ClusterView, WorkerView};
use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

/// Directives are repeated this often although nothing changed: workers live by hearing a leader.
const REPEAT: Duration = Duration::from_millis(500);

/// Why a worker that said goodbye is struck off; any other reason is an expired lease.
pub(crate) const STOPPED: &str = "stopped";

/// Newest directives of one session; the sender's end ends the session.
pub(crate) type DirectivesSender = watch::Sender<Option<Arc<v1::Directives>>>;

/// One stream of one worker, under one leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId {
    pub term: u64,
    pub no: u64,
}

/// What sessions tell the leader's loop.
pub(crate) enum Said {
    Attached {
        session: SessionId,
        directives: DirectivesSender,
    },
    Report {
        session: SessionId,
        report: Box<Report>,
    },
    Gone {
        session: SessionId,
    },
}

struct Session {
    directives: DirectivesSender,
    hello: Option<WorkerHello>,
    worker: Option<WorkerId>,
    /// Its process said that it is about to stop, and that nothing runs in it any more.
    stopping: bool,
    /// `seq` of the newest report that was taken in: the worker lives by hearing it again.
    heard: u64,
    sent: Option<(Instant, Vec<(Lease, bool)>)>,
}

/// What one session is to be told.
pub(crate) struct Due {
    session: SessionId,
    directives: Arc<v1::Directives>,
    outline: Vec<(Lease, bool)>,
}

/// See the module.
pub(crate) struct Desk {
    term: u64,
    sessions: BTreeMap<SessionId, Session>,
    /// The newest unread report of each session: reports repeat what matters, so it stands for
    /// the ones before it.
    unread: BTreeMap<SessionId, Box<Report>>,
    detector: FailureDetector,
    /// Workers that stopped in order: no lease to wait for.
    left: Vec<WorkerId>,
}

impl Desk {
    pub fn new(term: u64) -> Desk {
        Desk {
            term,
            sessions: BTreeMap::new(),
            unread: BTreeMap::new(),
            detector: FailureDetector::default(),
            left: Vec::new(),
        }
    }

    /// Takes in one message. A session of another term is dropped, which ends its stream.
    pub fn hear(&mut self, said: Said, now: Millis) {
        match said {
            Said::Attached {
                session,
                directives,
            } if session.term == self.term => {
                let fresh = Session {
                    directives,
                    hello: None,
                    worker: None,
                    stopping: false,
                    heard: 0,
                    sent: None,
                };
                self.sessions.insert(session, fresh);
            }
            Said::Report { session, report } if self.sessions.contains_key(&session) => {
                self.unread.insert(session, report);
            }
            Said::Gone { session } => self.end(session, now),
            Said::Attached { .. } | Said::Report { .. } => {}
        }
    }

    fn end(&mut self, id: SessionId, now: Millis) {
        let unread = self.unread.remove(&id);
        let Some(gone) = self.sessions.remove(&id) else {
            return;
        };
        let Some(worker) = gone.worker else { return };
        if self.sessions.values().any(|s| s.worker == Some(worker)) {
            return; // It has come back by another stream already.
        }
        if unread.map_or(gone.stopping, |last| says_goodbye(&last)) {
            self.left.push(worker);
        } else {
            self.detector.disconnected(worker, now);
        }
    }

    /// Brings detector and view up to date, and turns reports into commands.
    pub fn read(
        &mut self,
        state: &State,
        view: &mut ClusterView,
        now: Millis,
        limits: &Limits,
    ) -> Vec<Command> {
        view.now = now;
        let mut commands = Vec::new();
        for worker in std::mem::take(&mut self.left) {
            if state.worker(worker).is_some() {
                let reason = STOPPED.to_owned();
                commands.push(Command::LoseWorker { worker, reason });
            }
        }
        for (id, report) in std::mem::take(&mut self.unread) {
            let known = state.worker_of(&report.hello);
            if known.is_none() && self.is_name_taken(id, &report.hello, now, limits) {
                continue;
            }
            commands.extend(two_phase::intake(state, &report));
            match known {
                Some(worker) => self.note(id, worker, &report, view, now),
                // Its other words are read in the turn after its registration.
                None => {
                    self.unread.insert(id, report);
                }
            }
        }
        self.refresh(state, view, now, limits);
        commands
    }

    /// Two processes of one name would take each other's registration away for ever; the second
    /// one waits until the first is gone.
    fn is_name_taken(
        &mut self,
        id: SessionId,
        hello: &WorkerHello,
        now: Millis,
        limits: &Limits,
    ) -> bool {
        let mut others = self.sessions.iter().filter_map(|(other, session)| {
            let theirs = session.hello.as_ref()?;
            let rival = theirs.name == hello.name && theirs.incarnation != hello.incarnation;
            (*other != id && rival).then_some(session.worker?)
        });
        let detector = &mut self.detector;
        let taken = others.any(|worker| detector.health(worker, now, limits) == Health::Live);
        if taken {
            tracing::warn!(worker = %hello.name, "a second process of this name waits");
        }
        taken
    }

    fn note(
        &mut self,
        id: SessionId,
        worker: WorkerId,
        report: &Report,
        view: &mut ClusterView,
        now: Millis,
    ) {
        self.detector.heard(worker, now);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.hello = Some(report.hello.clone());
            session.worker = Some(worker);
            session.stopping = says_goodbye(report);
            session.heard = report.seq;
        }
        for progress in &report.progress {
            if let Some(follow) = &progress.follow {
                view.see_follow(progress.lease, follow);
            }
        }
        let progress = report
            .progress
            .iter()
            .map(|p| (p.lease, p.clone()))
            .collect();
        let seen = WorkerView {
            health: Health::Live,
            draining: report.draining,
            memory_bytes: report.memory_bytes,
            progress,
        };
        view.workers.insert(worker, seen);
    }

    /// Health of every registered worker; the unregistered ones are forgotten.
    fn refresh(&mut self, state: &State, view: &mut ClusterView, now: Millis, limits: &Limits) {
        let detector = &mut self.detector;
        view.workers.retain(|worker, _| {
            let stays = state.worker(*worker).is_some();
            if !stays {
                detector.forget(*worker);
            }
            stays
        });
        for (worker, _) in state.workers() {
            let health = detector.health(worker, now, limits);
            let fresh = || WorkerView {
                health,
                draining: false,
                memory_bytes: 0,
                progress: BTreeMap::new(),
            };
            view.workers.entry(worker).or_insert_with(fresh).health = health;
        }
    }

    /// The wanted set of each session where it changed or is due again.
    pub fn due(&mut self, state: &State, limits: &Limits) -> Vec<Due> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (id, session) in &mut self.sessions {
            let Some(worker) = session.worker else {
                continue;
            };
            if state.worker(worker).is_none() {
                // Lost: its next report registers it anew.
                session.worker = None;
                continue;
            }
            let outline = directive::outline(state, worker);
            if let Some((at, sent)) = &session.sent
                && *sent == outline
                && now.duration_since(*at) < REPEAT
            {
                continue;
            }
            let directives = Directives {
                term: self.term,
                worker,
                wanted: directive::directives(state, worker),
                self_stop_ms: limits.self_stop_ms(),
                heard: session.heard,
                keep_ms: limits.keep_ms(),
            };
            let resource = |job| match state.job(job) {
                Some(job) => job.spec.target.url.clone(),
                None => String::new(),
            };
            due.push(Due {
                session: *id,
                directives: Arc::new(v1::Directives::pack(directives, resource)),
                outline,
            });
        }
        due
    }

    /// Sends what is due.
    pub fn send(&mut self, due: Vec<Due>) {
        let now = Instant::now();
        for due in due {
            if let Some(session) = self.sessions.get_mut(&due.session) {
                session.directives.send_replace(Some(due.directives));
                session.sent = Some((now, due.outline));
            }
        }
    }
}

/// Whether its sender may be struck off as soon as its stream ends. With units still running it
/// counts on [`Limits::keep_ms`] like any other worker.
fn says_goodbye(report: &Report) -> bool {
    report.draining && report.running.is_empty()
}
