//! The only loop of a coordinator. While it leads: wait for a word of a worker, a change of the
//! state or a tick; derive commands from state and view; propose them as one entry; tell the
//! workers what is wanted of them. It keeps nothing between terms: everything it needs is in the
//! state, and what workers say is said again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::code::{Code, ErrorClass, Failure};
use common::fault::Fault;
use common::limits::{COMMANDS_PER_ENTRY_MAX, REPORT_INBOX_MAX, TICK_MS};
use common::state::{Command, State};
use common::task::TaskResult;
use common::{schedule, two_phase};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use crate::desk::{Desk, STOPPED, Said};
use crate::faults;
use crate::raft::{ProposeError, Role};
use crate::shared::Shared;

/// Between two tries while the disk is full or the quorum silent.
const SLOW: Duration = Duration::from_secs(1);
/// A leader that proposed nothing for this long asks its followers whether it still leads.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Leader {
    shared: Shared,
    inbox: mpsc::Receiver<Said>,
    role: watch::Receiver<Role>,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There was nothing to propose.
    Idle,
    Applied,
    /// Try again, but not at once.
    Refused,
    /// Somebody else leads, or nobody.
    Lost,
}

impl Leader {
    pub fn new(shared: Shared, inbox: mpsc::Receiver<Said>) -> Leader {
        let role = shared.consensus.role();
        Leader {
            shared,
            inbox,
            role,
        }
    }

    /// Runs until the coordinator stops.
    pub async fn run(mut self) {
        let stop = self.shared.stop.clone();
        while !stop.is_cancelled() {
            let role = self.role.borrow_and_update().clone();
            if role.leading {
                tracing::info!(term = role.term, "leads");
                // Whatever it was doing is derived from the state again, here or elsewhere.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.lead(role.term) => {}
                }
                self.shared.with_view_mut(|view| view.workers.clear());
                tracing::info!(term = role.term, "leads no more");
                // While leadership is being handed over, proposals fail before the role changes.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(Duration::from_millis(TICK_MS)) => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.role.changed() => if changed.is_err() { return },
                // A session that came too early or too late: dropping its sender ends it.
                said = self.inbox.recv() => if said.is_none() { return },
            }
        }
    }

    /// One term, with a fresh desk. Dropping the desk ends every session.
    async fn lead(&mut self, term: u64) {
        if !self.begin().await {
            return;
        }
        let log = self.shared.consensus.with_state(State::now);
        self.shared.clock.begin(log);
        let mut desk = Desk::new(term);
        let mut applied = self.shared.consensus.applied();
        let mut confirmed_at = Instant::now();
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = self.role.changed() => if changed.is_err() { return },
                said = self.inbox.recv() => match said {
                    Some(said) => desk.hear(said, self.shared.clock.now()),
                    None => return,
                },
                _ = applied.changed() => {}
                _ = tick.tick() => {}
            }
            if !self.leads(term) {
                return;
            }
            applied.mark_unchanged();
            match self.turns(&mut desk).await {
                Turn::Lost => return,
                Turn::Applied => confirmed_at = Instant::now(),
                Turn::Refused => {
                    self.push(&mut desk).await;
                    sleep(SLOW).await;
                }
                Turn::Idle if confirmed_at.elapsed() >= CONFIRM_EVERY => {
                    // Cut off from its followers it mustn't keep workers from their new leader.
                    if self.shared.confirm().await.is_err() {
                        return;
                    }
                    confirmed_at = Instant::now();
                }
                Turn::Idle => {}
            }
            self.push(&mut desk).await;
        }
    }

    /// The state must hold everything earlier leaders committed before anything is derived from it.
    async fn begin(&mut self) -> bool {
        let lost = faults::point(Fault::LeaderBeforeBegin).await;
        let confirmed = !lost && self.shared.confirm().await.is_ok();
        if !confirmed {
            while self.inbox.try_recv().is_ok() {}
            sleep(SLOW).await;
        }
        confirmed
    }

    fn leads(&mut self, term: u64) -> bool {
        let role = self.role.borrow_and_update();
        role.leading && role.term == term
    }

    /// Turns until there is nothing more to propose, or until the inbox should be looked at.
    async fn turns(&mut self, desk: &mut Desk) -> Turn {
        let mut outcome = Turn::Idle;
        loop {
            let now = self.shared.clock.now();
            for _ in 0..REPORT_INBOX_MAX {
                match self.inbox.try_recv() {
                    Ok(said) => desk.hear(said, now),
                    Err(_) => break,
                }
            }
            match self.turn(desk).await {
                Turn::Idle => return outcome,
                Turn::Applied => outcome = Turn::Applied,
                other => return other,
            }
            // Workers shouldn't wait for the rest of the work to be handed out.
            self.push(desk).await;
        }
    }

    async fn turn(&mut self, desk: &mut Desk) -> Turn {
        let now = self.shared.clock.now();
        let shared = self.shared.clone();
        let derive = |state: &State| {
            shared.with_view_mut(|view| {
                let mut commands = desk.read(state, view, now, &shared.limits);
                commands.extend(two_phase::decide(state, fresh_seed()));
                commands.extend(schedule::schedule(state, view, &shared.limits));
                commands
            })
        };
        let began = Instant::now();
        let commands = self.shared.consensus.with_state(derive);
        let took = began.elapsed().as_secs_f64();
        self.shared.tally.ticks.observe(took);
        if commands.is_empty() {
            return Turn::Idle;
        }
        if faults::point(Fault::LeaderBeforePropose).await {
            return Turn::Refused;
        }
        for entry in entries(commands) {
            match self.propose(entry).await {
                Turn::Applied => {}
                other => return other,
            }
        }
        if faults::point(Fault::LeaderAfterPropose).await {
            return Turn::Lost;
        }
        Turn::Applied
    }

    async fn propose(&mut self, commands: Vec<Command>) -> Turn {
        let tally = self.shared.tally.clone();
        let lost = commands.iter().filter(|c| is_expiry(c)).count() as u64;
        let large = commands.first().filter(|c| is_large(c));
        let instead = large.and_then(|c| too_large(c, "the plan is too large for one log entry"));
        let proposal = self
            .shared
            .consensus
            .propose(commands, self.shared.clock.now());
        let answers = match self.in_time(proposal).await {
            Ok(answers) => answers,
            Err(ProposeError::Refused(what)) => {
                tracing::error!(what, "an entry was refused");
                let Some(instead) = instead else {
                    return Turn::Refused;
                };
                let proposal = self
                    .shared
                    .consensus
                    .propose(vec![instead], self.shared.clock.now());
                match self.in_time(proposal).await {
                    Ok(answers) => answers,
                    Err(_) => return Turn::Refused,
                }
            }
            Err(ProposeError::StorageFull(what)) => {
                if !tally.storage_full.swap(true, Ordering::Relaxed) {
                    tracing::error!(what, "the state directory is full; workers keep running");
                }
                return Turn::Refused;
            }
            Err(error) => {
                tracing::info!(?error, "a proposal was not taken");
                return Turn::Lost;
            }
        };
        tally.storage_full.store(false, Ordering::Relaxed);
        tally.lease_expirations.fetch_add(lost, Ordering::Relaxed);
        for answer in answers {
            match answer {
                Ok(_) => tally.commands_applied.fetch_add(1, Ordering::Relaxed),
                Err(rejected) => {
                    tracing::debug!(%rejected, "a command came too late");
                    tally.commands_rejected.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        Turn::Applied
    }

    /// A silent quorum mustn't hold the loop, and with it the sessions, for longer than a lease.
    async fn in_time<T>(
        &self,
        proposal: impl Future<Output = Result<T, ProposeError>>,
    ) -> Result<T, ProposeError> {
        let deadline = Duration::from_millis(self.shared.limits.lease_ms);
        let answer = timeout(deadline, proposal).await;
        answer.unwrap_or(Err(ProposeError::NotLeader(None)))
    }

    async fn push(&self, desk: &mut Desk) {
        let limits = &self.shared.limits;
        let consensus = &self.shared.consensus;
        let due = consensus.with_state(|state| desk.due(state, limits));
        // Not sent, they are due again in the next turn.
        if !due.is_empty() && !faults::point(Fault::LeaderBeforeDirectives).await {
            desk.send(due);
        }
    }
}

/// Cuts a turn's commands into entries: mostly one. A catalog or a plan may be as large as an entry
/// can be, so it goes alone.
fn entries(commands: Vec<Command>) -> Vec<Vec<Command>> {
    let (large, small): (Vec<_>, Vec<_>) = commands.into_iter().partition(is_large);
    let mut entries: Vec<Vec<Command>> = Vec::new();
    for command in small {
        match entries.last_mut() {
            Some(entry) if entry.len() < COMMANDS_PER_ENTRY_MAX => entry.push(command),
            _ => entries.push(vec![command]),
        }
    }
    entries.extend(large.into_iter().map(|command| vec![command]));
    entries
}

fn is_large(command: &Command) -> bool {
    match command {
        Command::AdoptPlan { .. } => true,
        Command::RecordTask { result, .. } => matches!(result, TaskResult::Inspected(_)),
        _ => false,
    }
}

/// What stops the job of a command that no entry can hold.
fn too_large(command: &Command, what: &str) -> Option<Command> {
    let failure = Failure::new(Code::JobFile, what).fix("raise bucket_bytes and partition_bytes");
    match command {
        Command::AdoptPlan { job, .. } => Some(Command::RefusePlan { job: *job, failure }),
        Command::RecordTask { lease, .. } => Some(Command::RecordFailed {
            lease: *lease,
            class: ErrorClass::Permanent,
            failure,
        }),
        _ => None,
    }
}

fn is_expiry(command: &Command) -> bool {
    matches!(command, Command::LoseWorker { reason, .. } if reason != STOPPED)
}

fn fresh_seed() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}
