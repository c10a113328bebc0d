//! What befalls the cluster, one after the other.

use std::time::Duration;

use common::fault::Fault;

use crate::member::Trap;
use crate::run::Run;

macro_rules! scenarios {
    ($($name:ident = $play:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Scenario { $($name),* }

        impl Scenario {
            pub const ALL: &'static [Scenario] = &[$(Scenario::$name),*];

            pub fn play(self, run: &mut Run) {
                match self { $(Scenario::$name => $play(run)),* }
            }
        }
    };
}

scenarios! {
    LeaderCrash = leader_crash;
    EveryoneCrashes = everyone_crashes;
    LeaderAlone = leader_alone;
    LeaderMute = leader_mute;
    LeaderDeaf = leader_deaf;
    FollowerAlone = follower_alone;
    LateMessages = late_messages;
    DiskStalls = disk_stalls;
    AnswerLost = answer_lost;
    CrashAtPoint = crash_at_point;
    SyncFails = sync_fails;
    Lag = lag;
    InstallFails = install_fails;
    Wipe = wipe;
    AddAndRemove = add_and_remove;
    Replace = replace;
}

pub const POINTS: [Fault; 10] = [
    Fault::RaftBeforeVote,
    Fault::RaftAfterVote,
    Fault::RaftBeforeAppend,
    Fault::RaftAfterAppend,
    Fault::RaftBeforeApply,
    Fault::RaftBeforeSnapshot,
    Fault::RaftAfterSnapshot,
    Fault::RaftBeforeInstall,
    Fault::RaftAfterInstall,
    Fault::RaftBeforePurge,
];

fn wait(run: &mut Run, from_ms: u64, until_ms: u64) {
    let time = run.rng.ms(from_ms, until_ms);
    run.pass(time);
}

fn leader_crash(run: &mut Run) {
    let leader = run.leader();
    run.crash(&leader);
    run.restart_later(&leader, 100, 4_000);
    wait(run, 1_000, 4_000);
}

fn everyone_crashes(run: &mut Run) {
    for host in run.hosts.clone() {
        run.crash(&host);
        run.restart_later(&host, 50, 2_500);
    }
    wait(run, 2_500, 4_500);
}

fn leader_alone(run: &mut Run) {
    let leader = run.leader();
    run.cut(&leader);
    wait(run, 1_500, 5_000);
    run.mend_network();
}

fn leader_mute(run: &mut Run) {
    let leader = run.leader();
    run.mute(&leader);
    wait(run, 1_500, 5_000);
    run.mend_network();
}

fn leader_deaf(run: &mut Run) {
    let leader = run.leader();
    run.deafen(&leader);
    wait(run, 1_500, 5_000);
    run.mend_network();
}

fn follower_alone(run: &mut Run) {
    let follower = run.follower();
    run.cut(&follower);
    wait(run, 1_000, 5_000);
    run.mend_network();
}

fn late_messages(run: &mut Run) {
    let someone = match run.rng.below(3) {
        0 => run.follower(),
        _ => run.leader(),
    };
    run.hold(&someone);
    wait(run, 500, 4_000);
    run.release(&someone);
    wait(run, 200, 1_000);
}

/// The leader's disk stands still, for longer than the others are patient.
fn disk_stalls(run: &mut Run) {
    let leader = run.leader();
    for _ in 0..3 {
        let points = [
            Fault::RaftBeforeAppend,
            Fault::RaftAfterAppend,
            Fault::RaftBeforeApply,
        ];
        let point = *run.rng.pick(&points).expect("there are points");
        let ms = 200 + run.rng.below(3_500);
        run.trap(&leader, point, Trap::Stall(ms));
        wait(run, 100, 1_500);
    }
    wait(run, 1_000, 3_000);
}

/// A point of the store, at someone who passes it.
fn at_a_point(run: &mut Run, trap: Trap) {
    let point = *run.rng.pick(&POINTS).expect("there are points");
    let votes = matches!(point, Fault::RaftBeforeVote | Fault::RaftAfterVote);
    if matches!(point, Fault::RaftBeforeInstall | Fault::RaftAfterInstall) {
        return install(run, point, trap);
    }
    let someone = match votes {
        true => run.follower(),
        false => run.anyone(),
    };
    run.trap(&someone, point, trap);
    if votes {
        let leader = run.leader();
        run.crash(&leader);
        run.restart_later(&leader, 100, 3_000);
    }
    wait(run, 2_000, 5_000);
}

fn answer_lost(run: &mut Run) {
    at_a_point(run, Trap::LoseAnswer);
}

fn crash_at_point(run: &mut Run) {
    at_a_point(run, Trap::Crash);
}

fn sync_fails(run: &mut Run) {
    let someone = match run.rng.below(2) {
        0 => run.follower(),
        _ => run.leader(),
    };
    run.world.disks.fail_next_sync(&run.world.dir(&someone));
    wait(run, 1_500, 3_000);
}

/// Away until its place in the log is gone: it needs a snapshot.
fn fall_behind(run: &mut Run) -> String {
    let follower = run.follower();
    run.crash(&follower);
    wait(run, 5_000, 7_000);
    follower
}

fn lag(run: &mut Run) {
    let follower = fall_behind(run);
    run.restart(&follower);
    wait(run, 1_000, 3_000);
}

fn install(run: &mut Run, point: Fault, trap: Trap) {
    let follower = fall_behind(run);
    run.trap(&follower, point, trap);
    run.restart(&follower);
    wait(run, 2_000, 4_000);
}

fn install_fails(run: &mut Run) {
    let points = [Fault::RaftBeforeInstall, Fault::RaftAfterInstall];
    let traps = [Trap::Stall(2_500), Trap::LoseAnswer, Trap::Crash];
    let point = *run.rng.pick(&points).expect("there are points");
    let trap = *run.rng.pick(&traps).expect("there are traps");
    install(run, point, trap);
}

/// A member's disk is replaced; it is away meanwhile, shortly or long.
fn wipe(run: &mut Run) {
    let follower = run.follower();
    run.crash(&follower);
    wait(run, 100, 4_000);
    run.wipe(&follower);
    run.restart(&follower);
    if run.rng.below(2) == 0 {
        wait(run, 10, 800);
        run.crash(&follower);
        run.restart_later(&follower, 50, 500);
    }
    wait(run, 1_000, 4_000);
}

fn newcomer(run: &mut Run) -> String {
    let name = crate::run::name(run.hosts.len() + 1);
    run.add_host(&name);
    run.pass(Duration::from_millis(200));
    name
}

fn must(run: &mut Run, done: bool, what: &str) {
    if !done {
        run.world
            .violation(format!("the membership can't be changed: {what}"));
    }
}

fn add_and_remove(run: &mut Run) {
    let new = newcomer(run);
    if run.rng.below(2) == 0 {
        leader_crash(run);
    }
    let added = run.change(Some(&new), None);
    must(run, added, "add");
    wait(run, 500, 1_500);
    let gone = run.follower();
    let removed = run.change(None, Some(&gone));
    must(run, removed, "remove");
    wait(run, 500, 1_500);
}

/// One that will not come back gives its place to another.
fn replace(run: &mut Run) {
    let dead = run.follower();
    run.crash(&dead);
    let new = newcomer(run);
    let added = run.change(Some(&new), None);
    must(run, added, "add");
    let removed = run.change(None, Some(&dead));
    must(run, removed, "remove");
    wait(run, 500, 2_000);
}
