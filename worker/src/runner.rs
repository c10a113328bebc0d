//! Runs what the directives want: starts, tells and stops units, keeps what they said until the
//! leader has moved on. Knows nothing of connections to coordinators.
//!
//! A lease is copied at most once here: a unit that ended stays known, with what it said, until
//! the directives no longer want it; after that its epoch is remembered, and directives that want
//! it again (an older set that came late, or twice) get `Released`. The one exception is a prepared
//! transaction that was left in the target: `Commit` for it (or for a lease never seen) starts a
//! unit that finishes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::directive::{Ack, Directive, Order, Outcome, Progress, reconcile};
use common::epoch::{Epoch, Lease, Unit as UnitNo};
use common::id::{JobId, JobUid};
use common::limits;
use common::plan::Loaded;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::meter::Meter;
use crate::task::{Ended, Shared, Stop, UnitInput, Word, broken, stopped};

/// Runs one unit; `task::run` outside tests.
pub type RunUnit = fn(UnitInput) -> BoxFuture<'static, Ended>;

/// A unit that runs, or whose word the leader has not taken in yet.
struct Unit {
    uid: JobUid,
    kind: &'static str,
    word: watch::Sender<Word>,
    meter: Arc<Meter>,
    running: bool,
    /// The newest directives want it.
    wanted: bool,
    said: Option<Outcome>,
    /// It was never begun here.
    refused: bool,
}

/// The newest epoch of each unit that was here and is gone, oldest forgotten first: late directives
/// are late by seconds.
#[derive(Default)]
struct History {
    newest: HashMap<(JobUid, UnitNo), Epoch>,
    order: VecDeque<(JobUid, UnitNo)>,
}

impl History {
    fn add(&mut self, uid: &JobUid, lease: Lease) {
        let key = (uid.clone(), lease.unit);
        if let Some(newest) = self.newest.get_mut(&key) {
            *newest = lease.epoch.max(*newest);
            return;
        }
        if self.order.len() == limits::LEASES_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.newest.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.newest.insert(key, lease.epoch);
    }

    fn is_over(&self, uid: &JobUid, lease: Lease) -> bool {
        let newest = self.newest.get(&(uid.clone(), lease.unit));
        newest.is_some_and(|newest| lease.epoch <= *newest)
    }
}

/// All units of this worker.
pub struct Runner {
    units: BTreeMap<Lease, Unit>,
    history: History,
    tasks: JoinSet<Ended>,
    leases: HashMap<Id, Lease>,
    prepared: mpsc::Receiver<(Lease, Loaded)>,
    prepared_sender: mpsc::Sender<(Lease, Loaded)>,
    shared: Arc<Shared>,
    run: RunUnit,
    /// New work is given back at once.
    closed: bool,
}

impl Runner {
    pub fn new(shared: Arc<Shared>, run: RunUnit) -> Runner {
        let (prepared_sender, prepared) = mpsc::channel(limits::PREPARED_QUEUE);
        Runner {
            units: BTreeMap::new(),
            history: History::default(),
            tasks: JoinSet::new(),
            leases: HashMap::new(),
            prepared,
            prepared_sender,
            shared,
            run,
            closed: false,
        }
    }

    /// Takes the whole wanted set; true = there is something new to say.
    pub fn take(&mut self, wanted: Vec<Directive>) -> bool {
        let commits: BTreeSet<Lease> = wanted
            .iter()
            .filter(|directive| directive.order == Order::Commit)
            .map(|directive| directive.lease)
            .collect();
        // What was left prepared, or never begun, counts as unknown once it is to be committed.
        let known = self.units.iter().filter(|(lease, unit)| {
            let left = matches!(unit.said, Some(Outcome::Prepared(_))) || unit.refused;
            !(left && !unit.running && commits.contains(lease))
        });
        let known: BTreeMap<Lease, ()> = known.map(|(lease, _)| (*lease, ())).collect();
        let steps = reconcile(&known, &wanted);
        if steps.start.len() + steps.stop.len() > 0 {
            tracing::debug!(%steps, "directives");
        }
        let mut news = false;
        for lease in steps.stop {
            self.revoke(lease);
        }
        for directive in steps.start {
            news |= self.start(directive);
        }
        for lease in steps.commit {
            self.commit(lease);
        }
        let jobs = self.units.keys().map(|lease| lease.job).collect();
        self.shared.contexts.keep_only(&jobs);
        news
    }

    fn start(&mut self, directive: Directive) -> bool {
        let lease = directive.lease;
        let (sender, word) = watch::channel(Word::default());
        let over = self.history.is_over(&directive.uid, lease);
        if over && directive.order != Order::Commit {
            tracing::info!(%lease, "directives want a lease that was taken away before");
        }
        let refused = (self.closed || over) && directive.order != Order::Commit;
        let unit = Unit {
            uid: directive.uid.clone(),
            kind: kind_of(&directive.order),
            word: sender,
            meter: Arc::new(Meter::default()),
            running: !refused,
            wanted: true,
            said: refused.then_some(Outcome::Released),
            refused,
        };
        if !refused {
            tracing::debug!(%lease, work = ?unit.kind, "begins");
            self.shared.metrics.unit_started();
            let overdue = overdue(word.clone());
            let work = (self.run)(UnitInput {
                directive,
                shared: Arc::clone(&self.shared),
                meter: Arc::clone(&unit.meter),
                word,
                prepared: self.prepared_sender.clone(),
            });
            let task = self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    ended = work => ended,
                    () = overdue => broken("the unit did not stop in time, its connections were cut"),
                }
            });
            self.leases.insert(task.id(), lease);
        }
        self.units.insert(lease, unit);
        refused
    }

    fn commit(&mut self, lease: Lease) {
        let Some(unit) = self.units.get_mut(&lease) else {
            return;
        };
        if unit.running {
            // The leader knows that it is prepared: it decided.
            unit.said = None;
            unit.word
                .send_if_modified(|word| !std::mem::replace(&mut word.commit, true));
        }
    }

    fn revoke(&mut self, lease: Lease) {
        let Some(unit) = self.units.get_mut(&lease) else {
            return;
        };
        self.history.add(&unit.uid, lease);
        if unit.running {
            unit.wanted = false;
            tell_to_stop(unit, Stop::Away);
        } else {
            self.units.remove(&lease);
        }
    }

    /// Stops every unit; what they say is kept for the next leader.
    pub fn stop_all(&mut self, stop: Stop) {
        for unit in self.units.values_mut().filter(|unit| unit.running) {
            tell_to_stop(unit, stop);
        }
    }

    /// From now on new work is given back at once.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Waits until a unit has something to say or ends. Safe to drop at any time.
    pub async fn event(&mut self) {
        // In this order: a unit says that it is prepared before it ends.
        tokio::select! {
            biased;
            Some((lease, loaded)) = self.prepared.recv() => self.prepared(lease, loaded),
            Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
        }
    }

    fn prepared(&mut self, lease: Lease, loaded: Loaded) {
        if let Some(unit) = self.units.get_mut(&lease) {
            unit.said = Some(Outcome::Prepared(loaded));
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), broken("the unit's task broke down")),
        };
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        let Some(unit) = self.units.get_mut(&lease) else {
            return;
        };
        let outcome = match ended {
            Ended::Said(outcome) => Some(outcome),
            Ended::Left => None,
        };
        tracing::debug!(%lease, work = ?unit.kind, "ended");
        self.shared.metrics.unit_ended(unit.kind, outcome.as_ref());
        if let Some(Outcome::Failed { class, failure }) = &outcome {
            tracing::warn!(%lease, ?class, %failure, "a unit failed");
        }
        if !unit.wanted {
            self.units.remove(&lease);
            return;
        }
        unit.running = false;
        if outcome.is_some() {
            unit.said = outcome;
        }
    }

    pub fn running(&self) -> Vec<Lease> {
        let running = self.units.iter().filter(|(_, unit)| unit.running);
        running.map(|(lease, _)| *lease).collect()
    }

    /// Nothing runs.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Nothing runs and the leader has taken in every word.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub fn acks(&self) -> Vec<Ack> {
        let said = self.units.iter().filter_map(|(lease, unit)| {
            Some(Ack {
                lease: *lease,
                outcome: unit.said.clone()?,
            })
        });
        said.collect()
    }

    pub fn progress(&self) -> Vec<Progress> {
        let running = self.units.iter().filter(|(_, unit)| unit.running);
        running
            .map(|(lease, unit)| unit.meter.progress(*lease))
            .collect()
    }

    /// The uid of each job with a unit here.
    pub fn jobs(&self) -> BTreeMap<JobId, JobUid> {
        let jobs = self
            .units
            .iter()
            .map(|(lease, unit)| (lease.job, unit.uid.clone()));
        jobs.collect()
    }

    /// Cuts off whatever still runs.
    pub async fn abandon(&mut self) {
        self.tasks.shutdown().await;
    }
}

fn tell_to_stop(unit: &mut Unit, stop: Stop) {
    unit.word
        .send_if_modified(|word| word.stop.replace(stop) != Some(stop));
}

fn kind_of(order: &Order) -> &'static str {
    match order {
        Order::Prepare { .. } => "partition",
        Order::Commit => "finish",
        Order::Run { task } => task.name(),
    }
}

/// Resolves some time after the unit was told to stop.
async fn overdue(mut word: watch::Receiver<Word>) {
    stopped(&mut word).await;
    sleep(Duration::from_millis(limits::UNIT_STOP_MS)).await;
}
