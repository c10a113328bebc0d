//! One step of a counterexample in words.

use crate::control::{Cause, Control, Word};
use crate::target::Weather;
use crate::unit::{Said, Unit};
use crate::world::{Action, World};

pub fn line(before: &World, after: &World, action: Action, control: &Control) -> String {
    let what = match action {
        Action::Tick => propose("the leader", before, &Cause::Tick, control),
        Action::Hear(p) => {
            let process = &before.processes[p as usize];
            let words = process.words();
            let told = words.iter().map(tell_word).collect::<Vec<_>>().join(", ");
            let who = format!("the leader hears w{p} ({told})");
            propose(&who, before, &Cause::Hear(process.life(), words), control)
        }
        Action::HearOld => "the leader hears a delayed report".to_owned(),
        Action::Lose(p) | Action::LoseAlive(p) => {
            let life = before.processes[p as usize].life();
            let alive = match before.processes[p as usize].up {
                true => "a living",
                false => "the dead",
            };
            let who = format!("{alive} w{p} was not heard for a lease: the leader");
            propose(&who, before, &Cause::Lose(life), control)
        }
        Action::Take(p) => format!("w{p} takes its directives"),
        Action::TakeOld(p) => format!("w{p} takes delayed directives"),
        Action::TakeAhead(p) => format!("w{p} takes directives of what isn't in the log"),
        Action::Step(p, u, weather) => step(before, after, p, u, weather),
        Action::Notice(session) => {
            format!("the target notices that the client of s{session} is gone")
        }
        Action::Land(session) => format!("the target executes a late statement of s{session}"),
        other => format!("{other:?}"),
    };
    match action.fault() {
        Some(fault) => format!("[fault: {fault:?}] {what}"),
        None => what,
    }
}

fn propose(who: &str, before: &World, cause: &Cause, control: &Control) -> String {
    let commands = control.commands(before.log, cause);
    let commands: Vec<String> = commands.iter().map(short).collect();
    format!("{who} logs {}", commands.join(", "))
}

fn short(command: &common::state::Command) -> String {
    use common::state::Command;
    match command {
        Command::AssignPartition {
            partition, worker, ..
        } => format!("assign {partition} to {worker}"),
        Command::AssignTask { task, worker, .. } => format!("assign {task} to {worker}"),
        Command::Decide {
            partition, epoch, ..
        } => format!("decide commit {partition} {epoch}"),
        Command::LoseWorker { worker, .. } => format!("lose {worker}"),
        Command::RegisterWorker(hello) => {
            format!("register {} of life {}", hello.name, hello.incarnation)
        }
        Command::RecordPrepared { lease, .. } => format!("prepared {lease}"),
        Command::RecordCommitted { lease, committed } => {
            format!("committed {committed} by {lease}")
        }
        Command::RecordFailed { lease, class, .. } => format!("failed {lease} {class:?}"),
        Command::Release { lease } => format!("released {lease}"),
        Command::RecordTask { lease, .. } => format!("done {lease}"),
        other => format!("{other:?}"),
    }
}

fn tell_word(word: &Word) -> String {
    format!(
        "{} {:?}",
        name(word.is_task, word.no, word.epoch),
        word.said
    )
}

fn name(is_task: bool, no: u8, epoch: u8) -> String {
    let kind = match is_task {
        true => 't',
        false => 'p',
    };
    format!("{kind}{no}/e{epoch}")
}

fn step(before: &World, after: &World, p: u8, u: u8, weather: Weather) -> String {
    let unit = &before.processes[p as usize].units[u as usize];
    let name = name(unit.is_task, unit.no, unit.epoch);
    let same = |other: &&Unit| {
        (other.is_task, other.no, other.epoch) == (unit.is_task, unit.no, unit.epoch)
    };
    let then = match after.processes[p as usize].units.iter().find(same) {
        Some(unit) if unit.running => format!("then {:?}", unit.pc),
        Some(unit) if unit.said != Said::Nothing => format!("ended, says {:?}", unit.said),
        _ => "ended".to_owned(),
    };
    let weather = match weather {
        Weather::Fair => "",
        Weather::Before => " (the connection breaks before it)",
        Weather::After => " (the connection breaks after it)",
        Weather::Late => " (the connection breaks, it will be executed later)",
    };
    let commit = match unit.commit {
        true => " commit",
        false => "",
    };
    let away = match unit.away {
        true => " away",
        false => "",
    };
    format!("w{p} {name}{commit}{away}: {:?}{weather}, {then}", unit.pc)
}
