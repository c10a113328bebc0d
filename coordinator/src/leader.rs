//! The only loop of a coordinator. While it leads: wait for a word of a worker, a change of the
//! state or a tick; derive commands from state and view; propose them as one entry; tell the
//! workers what is wanted of them. It keeps nothing between terms: everything it needs is in the
//! state, and what workers say is said again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::fault::Fault;
use common::limits::{COMMANDS_PER_ENTRY_MAX, REPORT_INBOX_MAX, TICK_MS};
use common::state::{Command, State};
use common::{schedule, two_phase};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use crate::desk::{Desk, STOPPED, Said};
use crate::faults;
use crate::raft::{ProposeError, Role};
use crate::shared::{Shared, wall_clock};

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
                self.lead(role.term).await;
                self.shared.with_view_mut(|view| view.workers.clear());
                tracing::info!(term = role.term, "leads no more");
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
        let mut desk = Desk::new(term);
        let mut applied = self.shared.consensus.applied();
        let mut confirmed_at = Instant::now();
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.role.changed() => if changed.is_err() { return },
                said = self.inbox.recv() => match said {
                    Some(said) => desk.hear(said, wall_clock()),
                    None => return,
                },
                _ = applied.changed() => {}
                _ = tick.tick() => {}
            }
            if !self.leads(term) {
                return;
            }
            match self.turns(&mut desk).await {
                Turn::Lost => return,
                Turn::Applied => confirmed_at = Instant::now(),
                Turn::Refused => {
                    self.push(&mut desk);
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
            self.push(&mut desk);
            applied.mark_unchanged();
        }
    }

    /// The state must hold everything earlier leaders committed before anything is derived from it.
    async fn begin(&mut self) -> bool {
        let confirmed = self.shared.confirm().await.is_ok();
        if !confirmed {
            while self.inbox.try_recv().is_ok() {}
            tokio::select! {
                () = sleep(SLOW) => {}
                () = self.shared.stop.cancelled() => {}
            }
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
            let now = wall_clock();
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
            self.push(desk);
        }
    }

    async fn turn(&mut self, desk: &mut Desk) -> Turn {
        let now = wall_clock();
        let shared = self.shared.clone();
        let derive = |state: &State| {
            shared.with_view_mut(|view| {
                let mut commands = desk.read(state, view, now, &shared.limits);
                commands.extend(two_phase::decide(state, fresh_seed()));
                commands.extend(schedule::schedule(state, view, &shared.limits));
                commands
            })
        };
        let mut commands = self.shared.consensus.with_state(derive);
        if commands.is_empty() {
            return Turn::Idle;
        }
        faults::point(Fault::LeaderBeforePropose).await;
        while !commands.is_empty() {
            let rest = commands.split_off(commands.len().min(COMMANDS_PER_ENTRY_MAX));
            match self.propose(commands).await {
                Turn::Applied => commands = rest,
                other => return other,
            }
        }
        faults::point(Fault::LeaderAfterPropose).await;
        Turn::Applied
    }

    async fn propose(&mut self, commands: Vec<Command>) -> Turn {
        let tally = self.shared.tally.clone();
        let lost = commands.iter().filter(|c| is_expiry(c)).count() as u64;
        let deadline = Duration::from_millis(self.shared.limits.lease_ms);
        let proposal = self.shared.consensus.propose(commands, wall_clock());
        let answers = match timeout(deadline, proposal).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(ProposeError::StorageFull(what))) => {
                if !tally.storage_full.swap(true, Ordering::Relaxed) {
                    tracing::error!(what, "the state directory is full; workers keep running");
                }
                return Turn::Refused;
            }
            Ok(Err(error)) => {
                tracing::info!(?error, "a proposal was not taken");
                return Turn::Lost;
            }
            Err(_) => {
                tracing::warn!("the quorum is silent");
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

    fn push(&self, desk: &mut Desk) {
        let limits = &self.shared.limits;
        self.shared
            .consensus
            .with_state(|state| desk.push(state, limits));
    }
}

fn is_expiry(command: &Command) -> bool {
    matches!(command, Command::LoseWorker { reason, .. } if reason != STOPPED)
}

fn fresh_seed() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}
