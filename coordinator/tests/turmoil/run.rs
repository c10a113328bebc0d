//! One run: a cluster, its clients, a supervisor that starts again what ended, and the passing of
//! simulated time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::fault::Fault;
use coordinator::raft::{Peer, ProposeError};
use futures::FutureExt;
use turmoil::{Builder, Sim};

use crate::check::{self, Checker};
use crate::client::{self, History};
use crate::member::{self, Member, PORT, Trap, World, lock};
use crate::rng::Rng;

const TICK: Duration = Duration::from_millis(2);
const CLIENTS: u64 = 4;
/// After a heal: leader leases, elections, keepalives of dead connections and a snapshot.
const HEAL_DEADLINE: Duration = Duration::from_secs(40);

pub struct Run {
    sim: Sim<'static>,
    pub world: Arc<World>,
    pub history: Arc<History>,
    pub rng: Rng,
    checker: Checker,
    /// Every host there is.
    pub hosts: Vec<String>,
    /// Crashed ones, and when they start again (None: when told).
    down: BTreeMap<String, Option<Duration>>,
    steps: u64,
    pub restarts: u64,
    _dir: tempfile::TempDir,
}

pub fn name(no: usize) -> String {
    format!("c{no}")
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let dir = tempfile::tempdir().expect("a directory");
        let mut rng = Rng(seed);
        let founders: Vec<String> = (1..=3).map(name).collect();
        let sim = Builder::new()
            .rng_seed(rng.next())
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .tcp_capacity(1 << 16)
            .build();
        let world = Arc::new(World {
            dir: dir.path().to_owned(),
            founders: founders.clone(),
            disks: Default::default(),
            running: Default::default(),
            traps: Default::default(),
            doomed: Default::default(),
            passed: Default::default(),
            struck: Default::default(),
            wrong: Default::default(),
        });
        let mut run = Run {
            sim,
            world,
            history: Arc::default(),
            rng,
            checker: Checker::default(),
            hosts: Vec::new(),
            down: BTreeMap::new(),
            steps: 0,
            restarts: 0,
            _dir: dir,
        };
        for founder in founders {
            run.add_host(&founder);
        }
        for no in 0..CLIENTS {
            let (world, history) = (run.world.clone(), run.history.clone());
            let rng = Rng(run.rng.next());
            run.sim.client(format!("client{no}"), async move {
                client::run(world, history, rng).await;
                Ok(())
            });
        }
        run
    }

    pub fn add_host(&mut self, name: &str) {
        let (world, own) = (self.world.clone(), name.to_owned());
        self.sim
            .host(name, move || member::run(world.clone(), own.clone()));
        self.hosts.push(name.to_owned());
    }

    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Lets time pass. Returns whether all clients have ended.
    pub fn pass(&mut self, time: Duration) -> bool {
        let until = self.now() + time;
        let mut ended = false;
        while self.now() < until {
            ended = self.sim.step().expect("no host fails by itself");
            self.steps += 1;
            if self.steps.is_multiple_of(5) {
                self.checker.look(&self.world);
                self.supervise();
            }
            if self.steps.is_multiple_of(100) {
                self.checker.compare(&self.world);
            }
        }
        ended
    }

    /// Lets time pass until something is so.
    pub fn pass_until(
        &mut self,
        deadline: Duration,
        mut look: impl FnMut(&mut Run) -> bool,
    ) -> bool {
        let until = self.now() + deadline;
        while self.now() < until {
            if look(self) {
                return true;
            }
            self.pass(Duration::from_millis(20));
        }
        look(self)
    }

    /// Ends who is doomed or has failed, and starts whoever's time has come.
    fn supervise(&mut self) {
        let doomed = std::mem::take(&mut *lock(&self.world.doomed));
        let failed = self.world.members().into_iter();
        let failed = failed.filter(|(_, member)| member.consensus.check_running().is_err());
        let ended: Vec<String> = doomed
            .into_iter()
            .chain(failed.map(|(name, _)| name))
            .collect();
        for name in ended {
            self.crash(&name);
            let again = self.now() + self.rng.ms(100, 1_500);
            self.down.insert(name, Some(again));
        }
        let now = self.now();
        let due = self.down.iter();
        let due = due.filter(|(_, at)| at.is_some_and(|at| at <= now));
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            self.restart(&name);
        }
    }

    /// As by kill -9 and, for what wasn't synced, a power failure.
    pub fn crash(&mut self, name: &str) {
        if self.down.contains_key(name) {
            return;
        }
        let dir = self.world.dir(name);
        self.world.disks.crash(&dir, &mut self.rng);
        let gone = lock(&self.world.running).remove(name);
        self.sim.crash(name);
        drop(gone);
        self.checker.forget(name);
        lock(&self.world.traps).retain(|(member, _, _)| member != name);
        self.down.insert(name.to_owned(), None);
    }

    pub fn restart(&mut self, name: &str) {
        if self.down.remove(name).is_some() {
            self.restarts += 1;
            self.sim.bounce(name);
        }
    }

    pub fn restart_later(&mut self, name: &str, from_ms: u64, until_ms: u64) {
        let at = self.now() + self.rng.ms(from_ms, until_ms);
        if let Some(due) = self.down.get_mut(name) {
            *due = Some(at);
        }
    }

    /// Its disk is replaced by an empty one. Only of a crashed member.
    pub fn wipe(&mut self, name: &str) {
        assert!(self.down.contains_key(name), "{name} runs");
        self.world.disks.wipe(&self.world.dir(name));
    }

    pub fn trap(&self, name: &str, fault: Fault, trap: Trap) {
        lock(&self.world.traps).push((name.to_owned(), fault, trap));
    }

    pub fn others(&self, name: &str) -> Vec<String> {
        let all = self.hosts.iter();
        all.filter(|host| *host != name).cloned().collect()
    }

    /// Between one and all others: nothing gets through, either way.
    pub fn cut(&mut self, name: &str) {
        for other in self.others(name) {
            self.sim.partition(name, other.as_str());
        }
    }

    /// Nobody hears it.
    pub fn mute(&mut self, name: &str) {
        for other in self.others(name) {
            self.sim.partition_oneway(name, other.as_str());
        }
    }

    /// It hears nobody.
    pub fn deafen(&mut self, name: &str) {
        for other in self.others(name) {
            self.sim.partition_oneway(other.as_str(), name);
        }
    }

    /// Messages wait, and arrive late.
    pub fn hold(&mut self, name: &str) {
        for other in self.others(name) {
            self.sim.hold(name, other.as_str());
        }
    }

    pub fn release(&mut self, name: &str) {
        for other in self.others(name) {
            self.sim.release(name, other.as_str());
        }
    }

    pub fn mend_network(&mut self) {
        for host in self.hosts.clone() {
            for other in self.others(&host) {
                self.sim.repair(host.as_str(), other.as_str());
            }
        }
    }

    /// The name of the one that leads, or of anybody if nobody comes to.
    pub fn leader(&mut self) -> String {
        self.pass_until(Duration::from_secs(8), |run| run.world.leading().is_some());
        match self.world.leading() {
            Some((name, _)) => name,
            None => self.anyone(),
        }
    }

    pub fn anyone(&mut self) -> String {
        let hosts = self.hosts.clone();
        self.rng.pick(&hosts).cloned().expect("there are hosts")
    }

    pub fn follower(&mut self) -> String {
        let leader = self.leader();
        let others = self.others(&leader);
        self.rng.pick(&others).cloned().expect("there are others")
    }

    /// Asks the leader for a change of the membership until it is done, for a while.
    pub fn change(&mut self, add: Option<&str>, remove: Option<&str>) -> bool {
        let until = self.now() + Duration::from_secs(15);
        while self.now() < until {
            let leader = self.leader();
            let Some(member) = lock(&self.world.running).get(&leader).cloned() else {
                continue;
            };
            let peer = add.map(|name| Peer {
                name: name.to_owned(),
                address: format!("{name}:{PORT}"),
            });
            let (remove, consensus) = (remove.map(str::to_owned), member.consensus.clone());
            let mut asking = member.handle.spawn(async move {
                match (peer, remove) {
                    (Some(peer), _) => Box::pin(consensus.add_peer(peer, false)).await,
                    (None, Some(name)) => Box::pin(consensus.remove_peer(&name)).await,
                    (None, None) => Ok(()),
                }
            });
            drop(member);
            let mut answer = None;
            self.pass_until(Duration::from_secs(15), |_| {
                answer = (&mut asking).now_or_never();
                answer.is_some()
            });
            match answer {
                Some(Ok(Ok(()))) => return true,
                Some(Ok(Err(ProposeError::Refused(why)))) if why.contains("no member") => {
                    return true;
                }
                _ => {}
            }
            self.pass(Duration::from_millis(100));
        }
        false
    }

    /// Everybody who belongs to the cluster, as its leader knows it.
    fn belonging(&mut self) -> Option<Vec<(String, Member)>> {
        let (_, leader) = self.world.leading()?;
        let consensus = leader.consensus.clone();
        let asking = leader.handle.spawn(async move { consensus.peers().await });
        drop(leader);
        let mut asking = Box::pin(asking);
        let mut peers = None;
        self.pass_until(Duration::from_secs(3), |_| {
            peers = (&mut asking).now_or_never();
            peers.is_some()
        });
        let peers = peers?.ok()?;
        let running = lock(&self.world.running);
        let members = peers.into_iter().map(|peer| {
            let member = running.get(&peer.name)?.clone();
            Some((peer.name, member))
        });
        members.collect()
    }

    /// Mends everything and waits until every member has what the leader has: no more than one disk
    /// of three may be lost at a time.
    pub fn settle(&mut self) -> bool {
        self.mend_network();
        for name in self.down.keys().cloned().collect::<Vec<_>>() {
            self.restart(&name);
        }
        let leader = self.leader();
        let of = |member: &Member| *member.consensus.applied().borrow();
        let target = lock(&self.world.running).get(&leader).map_or(0, of);
        self.pass_until(HEAL_DEADLINE, |run| {
            let members = run.belonging().unwrap_or_default();
            !members.is_empty() && members.iter().all(|(_, member)| of(member) >= target)
        })
    }

    /// Faults end; everything must go on, come to the same, and have lost nothing.
    pub fn heal(&mut self) {
        lock(&self.world.traps).clear();
        for host in self.hosts.clone() {
            self.release(&host);
        }
        self.mend_network();
        for name in self.down.keys().cloned().collect::<Vec<_>>() {
            self.restart(&name);
        }
        let acks = lock(&self.history.acks).len();
        let goes_on = |run: &mut Run| lock(&run.history.acks).len() > acks + 5;
        if !self.pass_until(HEAL_DEADLINE, goes_on) {
            self.world
                .violation("nothing is accepted after the heal".to_owned());
        }
        self.history.stop.store(true, Ordering::Relaxed);
        if !self.pass_until(HEAL_DEADLINE, |run| run.pass(TICK)) {
            self.world.violation("a client waits for ever".to_owned());
        }
        let mut members = Vec::new();
        let same = self.pass_until(HEAL_DEADLINE, |run| {
            members = run.belonging().unwrap_or_default();
            !members.is_empty() && check::converged(&members, &run.history)
        });
        if !same {
            let names: Vec<&String> = members.iter().map(|(name, _)| name).collect();
            self.world
                .violation(format!("{names:?} do not come to the same"));
        }
        let acks = lock(&self.history.acks).clone();
        for (name, member) in &members {
            let wrong = member
                .consensus
                .with_state(|state| check::acknowledged(name, state, &acks));
            lock(&self.world.wrong).extend(wrong);
        }
    }

    pub fn leaders(&self) -> usize {
        self.checker.leaders()
    }
}
