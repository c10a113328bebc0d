//! The worker's life: finds the leader, reports, takes directives; keeps its units running while
//! nobody leads, up to a point; ends when it is told to. Level-triggered both ways: a report says
//! everything anew, directives are the whole wanted set, so no single message matters.

use std::sync::Arc;
use std::time::Duration;

use common::directive::{Directives, Report};
use common::fault::Fault;
use common::limits;
use common::state::WorkerHello;
use proto::v1;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tonic::transport::Channel;

use crate::dial::{self, Dialer, Link, Round};
use crate::faults;
use crate::fresh::{Moment, Pulse};
use crate::metrics::resident_bytes;
use crate::runner::Runner;
use crate::task::{Shared, Stop};
use crate::{Figures, Wish};

/// What a session is made of.
pub struct Parts {
    pub hello: WorkerHello,
    pub coordinators: Vec<String>,
    pub runner: Runner,
    pub shared: Arc<Shared>,
    pub leader: watch::Sender<Option<Channel>>,
    pub wish: watch::Receiver<Wish>,
    pub figures: watch::Sender<Figures>,
    pub drain: Duration,
}

/// One worker, from start to end.
pub struct Session {
    parts: Parts,
    dialer: Dialer,
    tick: Interval,
    pulse: Pulse,
    /// Highest term heard; directives of an older one come from a leader that was.
    term: u64,
    heard_at: Instant,
    /// How long to go on without a leader; None until the first one said so.
    self_stop: Option<Duration>,
    /// The units were stopped because no leader was heard, and none was heard since.
    stopped_alone: bool,
    /// The handle is gone: nobody can wish any more.
    orphaned: bool,
    stop_at: Option<Instant>,
    gone_at: Option<Instant>,
}

/// Why a session with a coordinator ended.
enum Parting {
    /// All is done and said.
    Done,
    /// Ask further, first where this points to.
    Lost(Option<String>),
    /// It speaks for an older term.
    Stale,
}

impl Session {
    pub fn new(parts: Parts) -> Session {
        let mut tick = interval(Duration::from_millis(limits::REPORT_INTERVAL_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Session {
            dialer: Dialer::new(parts.coordinators.clone(), parts.hello.incarnation),
            parts,
            tick,
            pulse: Pulse::new(),
            term: 0,
            heard_at: Instant::now(),
            self_stop: None,
            stopped_alone: false,
            orphaned: false,
            stop_at: None,
            gone_at: None,
        }
    }

    /// Runs until it is told to end.
    pub async fn run(mut self) {
        let mut round = self.dialer.first();
        while let Some(link) = self.find_leader(round).await {
            let address = link.address.clone();
            tracing::info!(address, "attending");
            let parting = self.attend(link).await;
            self.parts.leader.send_replace(None);
            round = match parting {
                Parting::Done => break,
                Parting::Lost(hint) => self.dialer.failed(hint),
                Parting::Stale => {
                    self.dialer.avoid(&address);
                    self.dialer.first()
                }
            };
            tracing::info!(address, "the session with the coordinator ended");
        }
        self.parts.runner.abandon().await;
    }

    /// Asks round after round while the units go on; None = all is done.
    async fn find_leader(&mut self, round: Round) -> Option<Link> {
        let mut dialing = Box::pin(dial::dial(round, self.report()));
        loop {
            self.publish(None);
            if self.is_done() {
                return None;
            }
            tokio::select! {
                answer = &mut dialing => match answer {
                    Ok(link) => return Some(link),
                    Err(hint) => {
                        let round = self.dialer.failed(hint);
                        dialing.set(dial::dial(round, self.report()));
                    }
                },
                () = self.step() => {}
            }
        }
    }

    async fn attend(&mut self, link: Link) -> Parting {
        let mut directives = link.directives;
        self.parts.leader.send_replace(Some(link.channel));
        self.parts.shared.metrics.session_opened();
        let silence = Duration::from_millis(limits::LEADER_SILENCE_MS);
        let mut silent_at = Instant::now() + silence;
        loop {
            self.publish(Some(&link.address));
            if self.is_done() {
                drop(link.reports);
                hang_up(directives).await;
                return Parting::Done;
            }
            tokio::select! {
                message = directives.message() => match message {
                    Ok(Some(message)) => {
                        silent_at = Instant::now() + silence;
                        if faults::point(Fault::WorkerAfterDirectives).await.is_err() {
                            continue;
                        }
                        match self.take(message) {
                            None => return Parting::Stale,
                            Some(true) => self.say(&link.reports).await,
                            Some(false) => {}
                        }
                    }
                    Ok(None) => return Parting::Lost(None),
                    Err(status) => {
                        tracing::debug!(%status, "the coordinator ended the session");
                        return Parting::Lost(dial::leader_of(&status));
                    }
                },
                () = self.step() => self.say(&link.reports).await,
                () = sleep_until(silent_at) => return Parting::Lost(None),
            }
        }
    }

    /// None = from an older term; Some(true) = there is something to say at once.
    fn take(&mut self, message: v1::Directives) -> Option<bool> {
        let directives: Directives = match message.try_into() {
            Ok(directives) => directives,
            Err(error) => {
                tracing::error!(%error, "directives that can't be read: is this worker too old?");
                return Some(false);
            }
        };
        if directives.term < self.term {
            tracing::info!(
                term = directives.term,
                highest = self.term,
                "stale directives ignored"
            );
            self.parts.shared.metrics.stale_directives();
            return None;
        }
        self.term = directives.term;
        self.heard_at = Instant::now();
        self.self_stop = Some(Duration::from_millis(directives.self_stop_ms));
        self.stopped_alone = false;
        self.dialer.heard();
        let worker = directives.worker;
        self.parts
            .figures
            .send_if_modified(|figures| figures.worker.replace(worker) != Some(worker));
        let news = self.parts.runner.take(directives.wanted);
        // After the runner: a unit that learns that all is well must have learnt that it isn't.
        let fresh = &self.parts.shared.fresh;
        self.pulse
            .heard(directives.heard, directives.keep_ms, fresh);
        Some(news)
    }

    /// One thing that happens whether or not somebody leads. Safe to drop while it waits.
    async fn step(&mut self) {
        tokio::select! {
            () = self.parts.runner.event() => {}
            changed = self.parts.wish.changed(), if !self.orphaned => {
                self.orphaned = changed.is_err();
                self.take_wish();
            }
            _ = self.tick.tick() => {}
        }
        self.check_time();
    }

    fn take_wish(&mut self) {
        let wish = match self.orphaned {
            true => Wish::Stop,
            false => *self.parts.wish.borrow_and_update(),
        };
        let now = Instant::now();
        match wish {
            Wish::Run => {}
            // What the leader gave before it heard of the drain is finished too: given back, it
            // would be handed out under a new epoch and count as redone.
            Wish::Drain => self.stop_at = Some(now + self.parts.drain),
            Wish::Stop => {
                self.stop_at = Some(now);
                self.parts.runner.close();
            }
        }
    }

    fn check_time(&mut self) {
        let now = Instant::now();
        if self.stop_at.is_some_and(|at| at <= now) {
            self.parts.runner.stop_all(Stop::Shutdown);
        } else if let Some(patience) = self.self_stop
            && !self.stopped_alone
            && now.duration_since(self.heard_at) >= patience
        {
            self.stopped_alone = true;
            if !self.parts.runner.is_idle() {
                tracing::warn!(?patience, "no leader was heard: every unit is stopped");
                self.parts.shared.metrics.self_stopped();
                self.parts.runner.stop_all(Stop::Away);
            }
        }
        if self.stop_at.is_some() && self.gone_at.is_none() && self.parts.runner.is_idle() {
            self.gone_at = Some(now + Duration::from_millis(limits::GOODBYE_MS));
        }
    }

    /// Nothing runs, and the leader knows it or was given the time to hear it.
    fn is_done(&self) -> bool {
        let runner = &self.parts.runner;
        let said = || runner.is_empty() || self.gone_at.is_some_and(|at| at <= Instant::now());
        self.stop_at.is_some() && runner.is_idle() && said()
    }

    async fn say(&mut self, reports: &watch::Sender<v1::Report>) {
        let report = self.report();
        if faults::point(Fault::WorkerBeforeReport).await.is_ok() {
            reports.send_replace(report);
        }
    }

    fn report(&mut self) -> v1::Report {
        let seq = self.pulse.next(Moment::now());
        let runner = &self.parts.runner;
        let report = Report {
            hello: self.parts.hello.clone(),
            draining: self.stop_at.is_some(),
            running: runner.running(),
            acks: runner.acks(),
            progress: runner.progress(),
            memory_bytes: resident_bytes(),
            seq,
        };
        let jobs = runner.jobs();
        let contexts = &self.parts.shared.contexts;
        v1::Report::pack(report, |job| {
            let uid = jobs
                .get(&job)
                .expect("an ack's job has a unit here")
                .clone();
            let resource = contexts.resource(job, &uid);
            (uid, resource)
        })
    }

    fn publish(&self, leader: Option<&str>) {
        let running = self.parts.runner.running().len() as u32;
        let term = self.term;
        self.parts.figures.send_if_modified(|figures| {
            let same = figures.leader.as_deref() == leader
                && (figures.running, figures.term) == (running, term)
                && figures.started;
            figures.started = true;
            figures.leader = leader.map(str::to_owned);
            (figures.running, figures.term) = (running, term);
            !same
        });
    }
}

/// The last report is on its way and none will follow; the coordinator ends the stream once it
/// has read it.
async fn hang_up(mut directives: tonic::Streaming<v1::Directives>) {
    let deadline = Duration::from_millis(limits::GOODBYE_MS);
    let heard = timeout(deadline, async {
        while let Ok(Some(_)) = directives.message().await {}
    });
    if heard.await.is_err() {
        tracing::debug!("the coordinator did not end the session in time");
    }
}
