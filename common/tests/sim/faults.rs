//! What may go wrong, how it begins and how it ends; and the phases in which it must have happened.

use common::state::{Phase, Stage, State};

use crate::cluster::NODES;
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
    PauseWorker "SIGSTOP of a worker beyond its lease";
    KillLeader "kill -9 of the leader";
    PauseLeader "SIGSTOP of the leader";
    KillCoordinators "kill -9 of every coordinator";
    LeaderAlone "leader cut off from its followers";
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
    TargetCrash "kill -9 of the target";
    TargetFull "target full";
    SourceCrash "source down";
    ClockForward "clock jumps an hour ahead";
    ClockBack "clock jumps an hour back";
    ClockDrift "clocks drift";
    SlowDisk "slow disk under the log";
    FullDisk "no space for the log";
    WipedNode "a coordinator loses its disk";
    AddWorker "a worker joins";
    PauseJob "the user pauses and resumes the job";
}

/// Where a job is, finer than its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    Checking,
    Planning,
    Creating,
    Copying,
    /// A transaction is prepared, undecided.
    Prepared,
    /// A decision is in the log, not carried out.
    Committing,
    Indexing,
    Verifying,
    Ending,
}

impl Moment {
    pub const ALL: [Moment; 9] = [
        Moment::Checking,
        Moment::Planning,
        Moment::Creating,
        Moment::Copying,
        Moment::Prepared,
        Moment::Committing,
        Moment::Indexing,
        Moment::Verifying,
        Moment::Ending,
    ];

    /// Every moment the state is in now.
    pub fn of(state: &State) -> Vec<Moment> {
        let Some((_, job)) = state.jobs().next() else {
            return Vec::new();
        };
        if job.ending.is_some() {
            return vec![Moment::Ending];
        }
        let mut moments = Vec::new();
        match job.phase {
            Phase::Checking => moments.push(Moment::Checking),
            Phase::Planning => moments.push(Moment::Planning),
            Phase::Creating => moments.push(Moment::Creating),
            Phase::Copying => moments.push(Moment::Copying),
            Phase::Indexing => moments.push(Moment::Indexing),
            Phase::Verifying => moments.push(Moment::Verifying),
            _ => {}
        }
        for partition in job.partitions() {
            match partition.stage {
                Stage::Prepared { .. } => moments.push(Moment::Prepared),
                Stage::Committing { .. } => moments.push(Moment::Committing),
                _ => {}
            }
        }
        moments
    }
}

/// Begins a fault; what it hit, to undo that and nothing else.
pub fn begin(world: &mut World, fault: Fault) -> usize {
    let now = world.now;
    let worker = world.rng.below(world.processes.len() as u64) as usize;
    let node = match fault {
        Fault::KillLeader
        | Fault::PauseLeader
        | Fault::LeaderAlone
        | Fault::SlowDisk
        | Fault::FullDisk => world.cluster.leader.unwrap_or(0),
        _ => world.rng.below(NODES as u64) as usize,
    };
    match fault {
        Fault::KillWorker => world.kill_worker(worker),
        Fault::PauseWorker => world.processes[worker].paused = true,
        Fault::KillLeader => world.kill_node(node),
        Fault::PauseLeader => world.cluster.nodes[node].paused = true,
        Fault::KillCoordinators => (0..NODES).for_each(|node| world.kill_node(node)),
        Fault::LeaderAlone => world.cluster.nodes[node].alone = true,
        Fault::CutWorker => {
            world.links.reports_cut.insert(worker);
            world.links.directives_cut.insert(worker);
        }
        Fault::CutReports => drop(world.links.reports_cut.insert(worker)),
        Fault::CutDirectives => drop(world.links.directives_cut.insert(worker)),
        Fault::Loss => world.links.lost = 333,
        Fault::Duplicates => world.links.doubled = 500,
        Fault::Delays => world.links.late_ms = 2_500,
        Fault::CutTarget => world.weather[worker].cut = true,
        Fault::LostAnswers => {
            for weather in &mut world.weather {
                weather.lost_after = 120;
                weather.lost_before = 60;
            }
        }
        Fault::HalfOpen => {
            for weather in &mut world.weather {
                weather.half_open_ms = 8_000;
                weather.lost_before = 40;
            }
        }
        Fault::FailingStatements => world
            .weather
            .iter_mut()
            .for_each(|w| w.statement_fails = 300),
        Fault::TargetCrash => world.target.crash(),
        Fault::TargetFull => world.target.full = true,
        Fault::SourceCrash => world.source_up = false,
        Fault::ClockForward => world.cluster.nodes[node].offset_ms += 3_600_000,
        Fault::ClockBack => world.cluster.nodes[node].offset_ms -= 3_600_000,
        Fault::ClockDrift => {
            for process in &mut world.processes {
                process.rate = 300 + world.rng.below(3_000);
            }
        }
        Fault::SlowDisk => world.cluster.nodes[node].disk_ms = 1_200,
        Fault::FullDisk => world.cluster.nodes[node].full = true,
        Fault::WipedNode => {
            world.kill_node(node);
            world.restore_from_snapshot();
        }
        Fault::AddWorker => world.add_worker(),
        Fault::PauseJob => world.intent(common::state::Intent::Pause),
    }
    let _ = now;
    match fault {
        Fault::KillLeader
        | Fault::PauseLeader
        | Fault::LeaderAlone
        | Fault::SlowDisk
        | Fault::FullDisk
        | Fault::WipedNode => node,
        Fault::ClockForward | Fault::ClockBack => node,
        _ => worker,
    }
}

/// Ends what `begin` began.
pub fn end(world: &mut World, fault: Fault, hit: usize) {
    match fault {
        Fault::KillWorker => world.start_worker(hit),
        Fault::PauseWorker => world.resume_worker(hit),
        Fault::KillLeader | Fault::WipedNode => world.cluster.nodes[hit].up = true,
        Fault::PauseLeader => world.cluster.nodes[hit].paused = false,
        Fault::KillCoordinators => world
            .cluster
            .nodes
            .iter_mut()
            .for_each(|node| node.up = true),
        Fault::LeaderAlone => world.cluster.nodes[hit].alone = false,
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
        Fault::LostAnswers | Fault::HalfOpen | Fault::FailingStatements => {
            for weather in &mut world.weather {
                *weather = crate::wire::Weather {
                    cut: weather.cut,
                    ..Default::default()
                };
            }
        }
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
        Fault::AddWorker => {}
        Fault::PauseJob => world.intent(common::state::Intent::Run),
    }
}
