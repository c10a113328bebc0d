//! A state directory with everything in it, and what a coordinator makes of a copy.

use std::path::{Path, PathBuf};

use common::id::Millis;
use common::state::{Command, WorkerHello};
use coordinator::raft::{Consensus, Ground, RaftConfig, StartError};

use crate::START_DEADLINE;

const ENTRIES: u64 = 70;
const SNAPSHOT_EVERY: u64 = 25;

/// What was acknowledged, and where it is.
pub struct Original {
    pub kind: &'static str,
    pub dir: PathBuf,
    /// The same directory in the middle of its life.
    pub older: PathBuf,
    names: Vec<String>,
    _held: tempfile::TempDir,
}

#[derive(Debug)]
pub enum Outcome {
    Refused(String),
    Equal,
    Wrong(String),
}

pub fn rng(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn config(dir: &Path) -> RaftConfig {
    RaftConfig {
        name: "c1".to_owned(),
        data_dir: dir.to_owned(),
        advertise: "127.0.0.1:1".to_owned(),
        join: Vec::new(),
        bootstrap_expect: 1,
        snapshot_every: SNAPSHOT_EVERY,
        ground: Ground::default(),
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("readable") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

async fn register(consensus: &Consensus, number: u64) -> String {
    let name = format!("a-worker-with-a-name-{number}");
    let hello = WorkerHello {
        name: name.clone(),
        incarnation: 1,
        slots: 1,
        version: "1".to_owned(),
    };
    let command = Command::RegisterWorker(hello);
    let done = consensus.propose(vec![command], Millis(number)).await;
    done.expect("proposed")[0].as_ref().expect("registered");
    name
}

impl Original {
    /// As an orderly stop leaves it.
    pub async fn stopped() -> Original {
        let (consensus, mut original) = Original::fill().await;
        consensus.shutdown().await;
        original.kind = "stopped";
        original
    }

    /// As a crash leaves it.
    pub async fn running() -> Original {
        let (consensus, mut original) = Original::fill().await;
        let image = original._held.path().join("image");
        copy(&original.dir, &image);
        consensus.shutdown().await;
        original.kind = "crashed";
        original.dir = image;
        original
    }

    async fn fill() -> (Consensus, Original) {
        let held = tempfile::tempdir().expect("a directory");
        let (dir, older) = (held.path().join("state"), held.path().join("older"));
        let consensus = Consensus::start(config(&dir)).await.expect("it starts");
        let mut role = consensus.role();
        role.wait_for(|role| role.leading).await.expect("it leads");
        let mut names = Vec::new();
        for number in 0..ENTRIES {
            names.push(register(&consensus, number).await);
            if number == ENTRIES / 2 {
                copy(&dir, &older);
            }
        }
        let original = Original {
            kind: "",
            dir,
            older,
            names,
            _held: held,
        };
        (consensus, original)
    }
}

/// What a coordinator makes of that directory.
pub async fn classify(original: &Original, dir: &Path) -> Outcome {
    let started = tokio::time::timeout(START_DEADLINE, Consensus::start(config(dir))).await;
    let consensus = match started {
        Err(_) => return Outcome::Wrong("it neither starts nor refuses".to_owned()),
        Ok(Ok(consensus)) => consensus,
        Ok(Err(StartError::Damaged(what))) => {
            let error = StartError::Damaged(what);
            return match FILES_NAMED.iter().any(|f| error.to_string().contains(f)) {
                true => Outcome::Refused(error.to_string()),
                false => Outcome::Wrong(format!("no file is named: {error}")),
            };
        }
        Ok(Err(other)) => return Outcome::Wrong(format!("not called damage: {other}")),
    };
    let mut role = consensus.role();
    let leads = role.wait_for(|role| role.leading);
    let led = matches!(tokio::time::timeout(START_DEADLINE, leads).await, Ok(Ok(_)));
    let outcome = match (led, consensus.check_running()) {
        // Found later, and nothing was served before.
        (_, Err(error)) if error.to_string().contains(".redb") => {
            Outcome::Refused(error.to_string())
        }
        (_, Err(error)) => Outcome::Wrong(format!("it stopped: {error}")),
        (false, Ok(())) => Outcome::Wrong("it neither leads nor refuses".to_owned()),
        (true, Ok(())) => compare(original, &consensus),
    };
    consensus.shutdown().await;
    outcome
}

const FILES_NAMED: [&str; 2] = ["log.redb", "snapshot.redb"];

fn compare(original: &Original, consensus: &Consensus) -> Outcome {
    let names: Vec<String> = consensus.with_state(|state| {
        let workers = state.workers();
        workers
            .map(|(_, worker)| worker.hello.name.clone())
            .collect()
    });
    match names == original.names {
        true => Outcome::Equal,
        false => Outcome::Wrong(format!(
            "{} of {} entries are served",
            names.len(),
            original.names.len()
        )),
    }
}
