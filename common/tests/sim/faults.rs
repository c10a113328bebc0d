//! What may go wrong, how it begins and how it ends.

use common::state::Intent;

use crate::world::World;

macro_rules! faults {
    ($( $name:ident $text:literal; )*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($name),* }
        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$name),*];
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text),* }
            }
        }
    };
}

faults! {
    KillWorker "kill -9 of a worker";
    StopWorker "SIGTERM of a worker";
    PauseWorker "SIGSTOP of a worker beyond its lease";
    KillLeader "kill -9 of the leader";
    PauseLeader "SIGSTOP of the leader";
    KillCoordinators "kill -9 of every coordinator";
    LeaderAlone "leader cut off from its followers";
    LeaderMute "one way: followers don't hear the leader";
    LeaderDeaf "one way: leader doesn't hear followers";
    CutPair "two coordinators cut off from each other";
    CutWorker "worker cut off from coordinators";
    CutReports "one way: reports are lost";
    CutDirectives "one way: directives are lost";
    Loss "a third of all messages lost";
    Duplicates "messages twice";
    Delays "messages late and out of order";
    CutTarget "worker cut off from the target";
    LostAnswers "answers of the target lost";
    HalfOpen "broken connections noticed late";
    FailingStatements "statements fail";
    Warnings "rows dropped with a warning";
    SlowRollback "rolling back takes long";
    TargetCrash "kill -9 of the target";
    TargetFull "target full";
    SourceCrash "source down";
    ClockForward "clock jumps an hour ahead";
    ClockBack "clock jumps an hour back";
    ClockDrift "clocks drift";
    SlowDisk "slow disk under the log";
    FullDisk "no space for the log";
    WipedNode "a coordinator loses its disk";
    RemoveNode "a coordinator leaves and comes back";
    AddNode "a coordinator joins";
    ReplaceNode "a coordinator replaced by an empty one";
    AddWorker "a worker joins";
    PauseJob "the user pauses and resumes the job";
    CancelJob "the user cancels the job";
}

/// Begins a fault; what it hit, to undo that and nothing else. None: there was nothing to hit.
pub fn begin(world: &mut World, fault: Fault) -> Option<usize> {
    let worker = pick_worker(world);
    let node = world.rng.below(world.cluster.nodes.len() as u64) as usize;
    let leader = world.cluster.leader;
    match fault {
        Fault::KillWorker if !world.processes[worker].up => return None,
        Fault::StopWorker if !world.processes[worker].up => return None,
        Fault::KillWorker => world.kill_worker(worker),
        Fault::StopWorker => {
            let now = world.now;
            world.processes[worker].stopping.get_or_insert(now);
        }
        Fault::PauseWorker => world.processes[worker].paused = true,
        Fault::CutWorker => {
            world.links.reports_cut.insert(worker);
            world.links.directives_cut.insert(worker);
        }
        Fault::CutReports => drop(world.links.reports_cut.insert(worker)),
        Fault::CutDirectives => drop(world.links.directives_cut.insert(worker)),
        Fault::Loss => world.links.lost = 333,
        Fault::Duplicates => world.links.doubled = 500,
        Fault::Delays => world.links.late_ms = 2_500,
        Fault::AddWorker => return world.add_worker(),
        Fault::ClockDrift => {
            for process in &mut world.processes {
                process.rate = 300 + world.rng.below(3_000);
            }
        }
        Fault::PauseJob => world.intent(Intent::Pause),
        Fault::CancelJob => {
            world.cancelled = true;
            world.intent(Intent::Cancel);
        }
        Fault::ClockForward => world.cluster.nodes[node].offset_ms += 3_600_000,
        Fault::ClockBack => world.cluster.nodes[node].offset_ms -= 3_600_000,
        Fault::KillCoordinators => {
            (0..world.cluster.nodes.len()).for_each(|node| world.kill_node(node));
        }
        Fault::CutPair => {
            let other = (node + 1) % world.cluster.nodes.len();
            world.cluster.cuts.extend([(node, other), (other, node)]);
        }
        Fault::WipedNode => {
            world.kill_node(node);
            world.restore_from_snapshot();
        }
        Fault::AddNode => return world.add_node(),
        Fault::RemoveNode => return world.remove_node(node),
        Fault::ReplaceNode => {
            world.remove_node(node)?;
            world.kill_node(node);
            world.cluster.nodes[node].gone = true;
            return world.add_node();
        }
        Fault::KillLeader
        | Fault::PauseLeader
        | Fault::LeaderAlone
        | Fault::LeaderMute
        | Fault::LeaderDeaf
        | Fault::SlowDisk
        | Fault::FullDisk => return at_leader(world, fault, leader?),
        _ => at_ends(world, fault, worker),
    }
    let at_node = [
        Fault::ClockForward,
        Fault::ClockBack,
        Fault::CutPair,
        Fault::WipedNode,
    ];
    Some(if at_node.contains(&fault) {
        node
    } else {
        worker
    })
}

/// Mostly one that works on something.
fn pick_worker(world: &mut World) -> usize {
    let works = |at: &usize| world.processes[*at].units.values().any(|unit| unit.running);
    let busy: Vec<usize> = (0..world.processes.len()).filter(works).collect();
    match world.rng.chance(800) {
        true if !busy.is_empty() => busy[world.rng.below(busy.len() as u64) as usize],
        _ => world.rng.below(world.processes.len() as u64) as usize,
    }
}

fn at_leader(world: &mut World, fault: Fault, leader: usize) -> Option<usize> {
    match fault {
        Fault::KillLeader => world.kill_node(leader),
        Fault::PauseLeader => world.cluster.nodes[leader].paused = true,
        Fault::LeaderAlone => world.cluster.isolate(leader, false, false),
        Fault::LeaderMute => world.cluster.isolate(leader, true, false),
        Fault::LeaderDeaf => world.cluster.isolate(leader, false, true),
        Fault::SlowDisk => world.cluster.nodes[leader].disk_ms = 1_200,
        _ => world.cluster.nodes[leader].full = true,
    }
    Some(leader)
}

/// Source, target, and the way to them.
fn at_ends(world: &mut World, fault: Fault, worker: usize) {
    let weather = &mut world.weather;
    match fault {
        Fault::CutTarget => weather[worker].cut = true,
        Fault::LostAnswers => weather.iter_mut().for_each(|weather| {
            weather.lost_after = 120;
            weather.lost_before = 60;
        }),
        Fault::HalfOpen => weather.iter_mut().for_each(|weather| {
            weather.half_open_ms = 8_000;
            weather.lost_before = 40;
        }),
        Fault::FailingStatements => weather.iter_mut().for_each(|w| w.statement_fails = 300),
        Fault::Warnings => weather.iter_mut().for_each(|w| w.statement_warns = 300),
        Fault::SlowRollback => world.target.rollback_factor = 10,
        Fault::TargetCrash => world.target.crash(),
        Fault::TargetFull => world.target.full = true,
        Fault::SourceCrash => world.source_up = false,
        other => unreachable!("{other:?} is not about an endpoint"),
    }
}

/// Ends what `begin` began.
pub fn end(world: &mut World, fault: Fault, hit: usize) {
    match fault {
        Fault::KillWorker => world.start_worker(hit),
        Fault::StopWorker => world.start_again(hit),
        Fault::PauseWorker => world.resume_worker(hit),
        Fault::KillLeader | Fault::WipedNode => world.start_node(hit),
        Fault::PauseLeader => world.cluster.nodes[hit].paused = false,
        Fault::KillCoordinators => {
            (0..world.cluster.nodes.len()).for_each(|node| world.start_node(node));
        }
        Fault::LeaderAlone | Fault::LeaderMute | Fault::LeaderDeaf | Fault::CutPair => {
            let others = |(from, to): &(usize, usize)| *from != hit && *to != hit;
            world.cluster.cuts.retain(others);
        }
        Fault::CutWorker => {
            world.links.reports_cut.remove(&hit);
            world.links.directives_cut.remove(&hit);
        }
        Fault::CutReports => drop(world.links.reports_cut.remove(&hit)),
        Fault::CutDirectives => drop(world.links.directives_cut.remove(&hit)),
        Fault::Loss => world.links.lost = 0,
        Fault::Duplicates => world.links.doubled = 0,
        Fault::Delays => world.links.late_ms = 0,
        Fault::CutTarget => world.weather[hit].cut = false,
        Fault::LostAnswers | Fault::HalfOpen | Fault::FailingStatements | Fault::Warnings => {
            for weather in &mut world.weather {
                *weather = crate::wire::Weather {
                    cut: weather.cut,
                    ..Default::default()
                };
            }
        }
        Fault::SlowRollback => world.target.rollback_factor = 1,
        Fault::TargetCrash => {
            if !world.target.up {
                world.target.restart();
            }
        }
        Fault::TargetFull => world.target.full = false,
        Fault::SourceCrash => world.source_up = true,
        Fault::ClockForward | Fault::ClockBack => world.cluster.nodes[hit].offset_ms = 0,
        Fault::ClockDrift => world
            .processes
            .iter_mut()
            .for_each(|process| process.rate = 1_000),
        Fault::SlowDisk => world.cluster.nodes[hit].disk_ms = 4,
        Fault::FullDisk => world.cluster.nodes[hit].full = false,
        Fault::RemoveNode => {
            world.restore_from_snapshot();
            world.cluster.nodes[hit].member = true;
        }
        Fault::AddWorker | Fault::AddNode | Fault::ReplaceNode => {}
        Fault::CancelJob => world.intent(Intent::Cancel),
        Fault::PauseJob => world.intent(Intent::Run),
    }
}
