//! One state of everything: the log (by number), processes and their units, messages on their way,
//! the target, and the faults that may still come. And what may happen to it, one action at a time.

use crate::control::{Cause, Control, Life, Word};
use crate::plant::Bug;
use crate::process::Process;
use crate::target::{PARTITIONS, Server, Sid, Target, Weather};
use crate::unit::{Around, Pc, Said, Unit};

/// Faults, by kind; each costs one of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// kill -9 of a worker. It may start again at any time, for nothing.
    Crash,
    /// A worker is lost though it lives: its units go on as zombies until it hears of it.
    Zombie,
    /// Another leader, a higher term. What the old one said last is on its way still, as if it
    /// didn't know; what it proposed last is lost.
    Leader,
    /// A connection breaks before the statement or after it.
    Cut,
    /// A connection breaks and the statement is executed at some later time.
    Late,
    /// kill -9 of the target, and its start.
    Target,
    /// A statement of a load fails.
    Statement,
    /// The same, and trying again is no use: the job stops until the user resumes it.
    Permanent,
    /// A unit's deadline passes while it waits.
    Patience,
    /// A worker hears no leader and stops its units by itself.
    Alone,
    /// Directives or a report are delayed; they may arrive (again) at any later time.
    Old,
    /// The user cancels the job. (No fault, but no part of a good run either.)
    Cancel,
}

impl Fault {
    pub const ALL: [Fault; 12] = [
        Fault::Crash,
        Fault::Zombie,
        Fault::Leader,
        Fault::Cut,
        Fault::Late,
        Fault::Target,
        Fault::Statement,
        Fault::Permanent,
        Fault::Patience,
        Fault::Alone,
        Fault::Old,
        Fault::Cancel,
    ];
}

/// What is explored, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub server: Server,
    pub workers: u8,
    pub partitions: u8,
    pub faults: &'static [Fault],
    /// Faults in one run.
    pub budget: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What the log says.
    pub log: u32,
    pub term: u8,
    pub processes: Vec<Process>,
    pub target: Target,
    /// Delayed directives per process: term, and the state they were derived from.
    old_wanted: Vec<Option<(u8, u32)>>,
    old_report: Option<(Life, Vec<Word>)>,
    /// Epochs whose Commit is in the log, as bits.
    pub decided: [u16; PARTITIONS],
    pub left: u8,
}

/// What may happen. Numbers are processes, units and sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The leader decides and schedules what is due.
    Tick,
    Hear(u8),
    HearOld,
    /// A dead process is lost.
    Lose(u8),
    Take(u8),
    TakeOld(u8),
    /// Directives of what isn't in the log yet: a planted bug.
    TakeAhead(u8),
    Step(u8, u8, Weather),
    /// The server notices that a client is gone.
    Notice(Sid),
    /// A statement whose client gave up is executed.
    Land(Sid),
    Start(u8),
    Resume,
    LoseAlive(u8),
    Crash(u8),
    ElectLeader,
    RestartTarget,
    FailToLoad(u8, u8, bool),
    GiveUp(u8, u8),
    StopAlone(u8),
    DelayWanted(u8),
    DelayReport(u8),
    Cancel,
}

impl Action {
    /// What it costs; None = it is part of a run without faults.
    pub fn fault(self) -> Option<Fault> {
        Some(match self {
            Action::LoseAlive(_) => Fault::Zombie,
            Action::Crash(_) => Fault::Crash,
            Action::ElectLeader => Fault::Leader,
            Action::RestartTarget => Fault::Target,
            Action::FailToLoad(_, _, false) => Fault::Statement,
            Action::FailToLoad(_, _, true) => Fault::Permanent,
            Action::GiveUp(..) => Fault::Patience,
            Action::StopAlone(_) => Fault::Alone,
            Action::DelayWanted(_) | Action::DelayReport(_) => Fault::Old,
            Action::Cancel => Fault::Cancel,
            Action::Step(_, _, Weather::Before | Weather::After) => Fault::Cut,
            Action::Step(_, _, Weather::Late) => Fault::Late,
            _ => return None,
        })
    }

    /// A good end must be within reach of these alone.
    pub fn is_fair(self) -> bool {
        let delayed = matches!(self, Action::HearOld | Action::TakeOld(_));
        self.fault().is_none() && !delayed
    }
}

impl World {
    pub fn new(scene: &Scene) -> World {
        World {
            log: 0,
            term: 1,
            processes: (0..scene.workers)
                .map(|name| Process::new(name, 0))
                .collect(),
            target: Target::new(),
            old_wanted: vec![None; scene.workers as usize],
            old_report: None,
            decided: [0; PARTITIONS],
            left: scene.budget,
        }
    }

    /// Everything that could happen now; some of it may come to nothing.
    pub fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        actions.clear();
        actions.extend([Action::Tick, Action::HearOld, Action::Resume]);
        for process in &self.processes {
            self.process_actions(process, actions);
        }
        for session in 1..16 {
            if self.target.gone & (1 << session) != 0 {
                actions.extend([Action::Notice(session), Action::Land(session)]);
            }
        }
        actions.extend([Action::ElectLeader, Action::RestartTarget, Action::Cancel]);
        actions.retain(|action| match action.fault() {
            None => true,
            Some(fault) => self.left > 0 && scene.faults.contains(&fault),
        });
    }

    fn process_actions(&self, process: &Process, actions: &mut Vec<Action>) {
        let p = process.name;
        if !process.up {
            actions.extend([Action::Start(p), Action::Lose(p)]);
            return;
        }
        actions.extend([Action::Hear(p), Action::Take(p), Action::TakeOld(p)]);
        actions.extend([Action::TakeAhead(p), Action::LoseAlive(p), Action::Crash(p)]);
        actions.extend([Action::StopAlone(p), Action::DelayWanted(p)]);
        actions.push(Action::DelayReport(p));
        for (u, unit) in (0..).zip(&process.units) {
            if !unit.running || (unit.pc == Pc::Await && !unit.commit && !unit.away) {
                continue;
            }
            let weathers: &[Weather] = match unit.pc {
                // A read, or a statement without which nothing is left behind.
                Pc::Begin | Pc::Reread | Pc::Check | Pc::Load => &[Weather::Fair, Weather::Before],
                _ => &[
                    Weather::Fair,
                    Weather::Before,
                    Weather::After,
                    Weather::Late,
                ],
            };
            actions.extend(weathers.iter().map(|weather| Action::Step(p, u, *weather)));
            actions.push(Action::GiveUp(p, u));
            if unit.pc == Pc::Load && !unit.away {
                actions.push(Action::FailToLoad(p, u, false));
                actions.push(Action::FailToLoad(p, u, true));
            }
        }
    }

    /// What comes of an action; None = nothing.
    pub fn after(&self, scene: &Scene, control: &mut Control, action: Action) -> Option<World> {
        let mut next = self.clone();
        let server = scene.server;
        match action {
            Action::Tick => next.turn(control, &Cause::Tick),
            Action::Hear(p) => {
                let process = &self.processes[p as usize];
                let words = self.words_heard(control, server, process);
                next.turn(control, &Cause::Hear(process.life(), words));
            }
            Action::HearOld => {
                let (life, words) = next.old_report.take()?;
                next.turn(control, &Cause::Hear(life, words));
            }
            Action::Lose(p) | Action::LoseAlive(p) => {
                let life = self.processes[p as usize].life();
                control.worker_of(self.log, life)?;
                next.turn(control, &Cause::Lose(life));
            }
            Action::Resume if control.facts(self.log).phase == common::state::Phase::Failed => {
                next.turn(control, &Cause::Resume);
            }
            Action::Resume => return None,
            Action::Cancel => next.turn(control, &Cause::Cancel),
            Action::Take(p) => next.take(scene, control, p, (self.term, self.log))?,
            Action::TakeOld(p) => {
                let message = next.old_wanted[p as usize].take()?;
                next.take(scene, control, p, message)?;
            }
            Action::TakeAhead(p) => {
                if !server.has(Bug::DecisionNotLogged) {
                    return None;
                }
                let ahead = control.turn(self.log, &Cause::Tick).to;
                next.take(scene, control, p, (self.term, ahead))?;
            }
            Action::Step(p, u, weather) => next.step(server, p, u, weather),
            Action::FailToLoad(p, u, permanent) => {
                let says = match permanent {
                    true => Said::Permanent,
                    false => Said::Transient,
                };
                next.with_unit(server, p, u, Weather::Fair, |unit, around| {
                    Some(unit.fail_to_load(around, says))
                })?;
            }
            Action::GiveUp(p, u) => {
                next.with_unit(server, p, u, Weather::Fair, Unit::give_up)?;
            }
            Action::Notice(session) => next.target.end_session(session),
            Action::Land(session) => {
                if !next.target.land(server, session) {
                    return None;
                }
            }
            other => next.suffer(other),
        }
        if next == *self {
            return None;
        }
        if action.fault().is_some() {
            next.left -= 1;
        }
        next.forget(control);
        Some(next)
    }

    /// Faults that ask nobody, and a process that starts.
    fn suffer(&mut self, action: Action) {
        match action {
            Action::Start(p) => {
                let before = self.processes[p as usize].incarnation;
                self.processes[p as usize] = Process::new(p, before + 1);
            }
            Action::Crash(p) => self.crash(p),
            Action::StopAlone(p) => {
                for unit in &mut self.processes[p as usize].units {
                    unit.away |= unit.running;
                }
            }
            Action::ElectLeader => {
                self.old_wanted.fill(Some((self.term, self.log)));
                self.term += 1;
            }
            Action::RestartTarget => self.target.restart(),
            Action::DelayWanted(p) => self.old_wanted[p as usize] = Some((self.term, self.log)),
            Action::DelayReport(p) => {
                let process = &self.processes[p as usize];
                self.old_report = Some((process.life(), process.words()));
            }
            _ => unreachable!("the others are dealt with in after()"),
        }
    }

    fn turn(&mut self, control: &mut Control, cause: &Cause) {
        let turned = control.turn(self.log, cause);
        self.log = turned.to;
        for no in 0..PARTITIONS {
            self.decided[no] |= turned.decided[no];
        }
    }

    fn words_heard(&self, control: &Control, server: Server, process: &Process) -> Vec<Word> {
        let mut words = process.words();
        if server.has(Bug::EpochIgnored) {
            for word in words.iter_mut().filter(|word| !word.is_task) {
                word.epoch = control.present_epoch(self.log, word.no);
            }
        }
        words
    }

    fn take(
        &mut self,
        scene: &Scene,
        control: &mut Control,
        p: u8,
        (term, state): (u8, u32),
    ) -> Option<()> {
        let process = &mut self.processes[p as usize];
        let wanted = control.wanted(state, process.life())?;
        if term < process.term {
            return None;
        }
        process.term = term;
        process.take(&wanted, !scene.server.has(Bug::LeaseTwice));
        Some(())
    }

    fn step(&mut self, server: Server, p: u8, u: u8, weather: Weather) {
        // A unit that comes to nothing changes nothing.
        self.with_unit(server, p, u, weather, |unit, around| {
            Some(unit.step(around))
        });
    }

    fn with_unit(
        &mut self,
        server: Server,
        p: u8,
        u: u8,
        weather: Weather,
        act: impl FnOnce(&mut Unit, &mut Around<'_>) -> Option<crate::unit::Step>,
    ) -> Option<()> {
        let free = self.free_session();
        let process = &mut self.processes[p as usize];
        let mut around = Around {
            target: &mut self.target,
            server,
            weather,
            free,
        };
        let step = act(&mut process.units[u as usize], &mut around)?;
        process.stepped(u as usize, step);
        Some(())
    }

    /// The first number that nobody remembers.
    fn free_session(&self) -> Sid {
        let mut used = self.target.alive | 1;
        for fence in &self.target.fence {
            used |= 1 << fence.session;
        }
        for unit in self.processes.iter().flat_map(|p| &p.units) {
            used |= 1 << unit.session | 1 << unit.claim;
        }
        for (_, stmt) in &self.target.pending {
            if let crate::target::Stmt::Raise { owner, .. } = stmt {
                used |= 1 << owner;
            }
        }
        let free = used.trailing_ones() as Sid;
        assert!(free < 16, "more than 15 sessions");
        free
    }

    fn crash(&mut self, p: u8) {
        let process = &mut self.processes[p as usize];
        for unit in std::mem::take(&mut process.units) {
            self.target.hang_up(unit.session);
        }
        process.up = false;
        process.term = 0;
    }

    /// Messages that nobody would listen to any more.
    fn forget(&mut self, control: &mut Control) {
        for (process, old) in self.processes.iter().zip(&mut self.old_wanted) {
            if let Some((term, state)) = *old
                && (term < process.term || control.wanted(state, process.life()).is_none())
            {
                // A process that starts again is another one.
                *old = None;
            }
        }
    }
}
