//! Three coordinators in one process: any of them answers, and a leader that goes costs no work.

mod support;

use std::time::{Duration, Instant};

use common::state::Phase;
use common::status::PeersStatus;
use coordinator::{Coordinator, CoordinatorConfig};
use proto::v1;
use support::{
    DEADLINE, FakeWorker, Manner, admin, config, events, spec, submit, uid, wait_status,
};

struct Cluster {
    _dir: tempfile::TempDir,
    members: Vec<Option<Coordinator>>,
    addresses: Vec<String>,
}

impl Cluster {
    async fn start() -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let held: Vec<std::net::TcpListener> = (0..3)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let address = |l: &std::net::TcpListener| l.local_addr().expect("bound").to_string();
        let addresses: Vec<String> = held.iter().map(address).collect();
        drop(held);
        let mut members = Vec::new();
        for (n, address) in addresses.iter().enumerate() {
            let name = format!("c{}", n + 1);
            let config = CoordinatorConfig {
                listen: address.clone(),
                join: addresses.clone(),
                bootstrap_expect: 3,
                ..config(&dir.path().join(&name))
            };
            let started = coordinator::start(CoordinatorConfig { name, ..config }).await;
            members.push(Some(started.expect("it starts")));
        }
        Cluster {
            _dir: dir,
            members,
            addresses,
        }
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Coordinator)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(n, member)| Some((n, member.as_ref()?)))
    }

    /// The one that leads, once every one of them knows it.
    async fn leader(&self) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let known = |(_, c): (usize, &Coordinator)| c.role().borrow().leader.is_some();
            let leads = |(_, c): &(usize, &Coordinator)| c.role().borrow().leading;
            if self.running().all(known)
                && let Some((n, _)) = self.running().find(leads)
            {
                return n;
            }
            assert!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn follower(&self, leader: usize) -> &Coordinator {
        let other = self.running().find(|(n, _)| *n != leader);
        other.expect("a follower runs").1
    }

    async fn stop(mut self) {
        for member in self.members.iter_mut().filter_map(Option::take) {
            member.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_goes_costs_no_copied_partition() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut anyone = admin(cluster.follower(leader)).await;
    submit(&mut anyone, &spec("shop"), &uid(1)).await;
    let manner = Manner {
        buckets: 400,
        ..Manner::new("w1")
    };
    let _worker = FakeWorker::follow(cluster.addresses.clone(), manner);
    wait_status(&mut anyone, "shop", |s| s.partitions.committed > 20).await;

    let peers = anyone.list_peers(v1::Empty {}).await.expect("peers");
    let peers: PeersStatus = proto::from_json("peers", &peers.into_inner().json).expect("peers");
    assert_eq!(peers.peers.len(), 3);
    assert_eq!(
        peers.peers.iter().filter(|p| p.state == "leader").count(),
        1
    );

    let gone = cluster.members[leader].take().expect("it runs");
    let stopping = Instant::now();
    gone.shutdown().await;
    let next = cluster.leader().await;
    println!("stopped and followed in {:?}", stopping.elapsed());
    assert_ne!(next, leader);
    let mut anyone = admin(cluster.follower(next)).await;
    let done = wait_status(&mut anyone, "shop", |s| s.phase.is_ended()).await;
    assert_eq!(done.phase, Phase::Completed, "{done:#?}");
    assert_eq!(done.partitions.redone, 0);
    assert_eq!(done.partitions.committed, done.partitions.total);

    let lines = events(&mut anyone, "").await;
    let joined = lines.iter().filter(|line| line["event"] == "worker_joined");
    assert_eq!(
        joined.count(),
        1,
        "the worker stayed the same to the new leader"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_the_operator_wants_it_and_a_lost_quorum_is_said() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let target = cluster
        .running()
        .find(|(n, _)| *n != leader)
        .expect("a follower")
        .0;
    let mut anyone = admin(cluster.follower(leader)).await;
    let request = v1::PeerRequest {
        name: format!("c{}", target + 1),
    };
    anyone.transfer_leader(request).await.expect("transferred");
    let deadline = Instant::now() + DEADLINE;
    while cluster.leader().await != target {
        assert!(Instant::now() < deadline, "leadership did not move");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stranger = v1::PeerRequest {
        name: "c9".to_owned(),
    };
    let refused = anyone
        .remove_peer(stranger)
        .await
        .expect_err("no such peer");
    assert_eq!(refused.code(), tonic::Code::NotFound);

    let last = (target + 1) % 3;
    for n in (0..3).filter(|n| *n != last) {
        let member = cluster.members[n].take().expect("it runs");
        member.shutdown().await;
    }
    let mut alone = admin(cluster.members[last].as_ref().expect("it runs")).await;
    let refused = alone.list_jobs(v1::Empty {}).await.expect_err("no quorum");
    let failure = proto::failure_of(&refused).expect("a failure");
    assert_eq!(failure.code, common::code::Code::NoLeader);
    alone
        .list_peers(v1::Empty {})
        .await
        .expect("what it knows by itself");
    cluster.stop().await;
}
