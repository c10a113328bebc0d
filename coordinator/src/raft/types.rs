//! The types this crate gives the consensus library, and how they are written down.

use std::fmt;

use common::state::{Applied, Entry, Rejected};
use openraft::storage::RaftStateMachine;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Answers of one log entry: one per command, in order.
pub(crate) type Answers = Vec<Result<Applied, Rejected>>;

/// A coordinator: its name and where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    /// `host:port`.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

openraft::declare_raft_types!(
    /// What the log carries.
    pub(crate) TypeConfig:
        D = Entry,
        R = Answers,
        NodeId = u64,
        Node = Peer,
        SnapshotData = Vec<u8>,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type LogEntry = openraft::Entry<TypeConfig>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Peer>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Peer>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StorageIoError = openraft::StorageIOError<u64>;
pub(crate) type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Names are unique in a cluster, so a member's number follows from its name: nobody has to hand
/// numbers out before there is a leader. 0 means "none".
pub(crate) fn id_of(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes()).max(1)
}

/// Named fields, so that a newer binary reads what an older one wrote.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value)
        .expect("types of the log have no map keys MessagePack can't hold")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

/// How many bytes [`encode`] would make.
pub(crate) fn encoded_bytes<T: Serialize>(value: &T) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    rmp_serde::encode::write_named(&mut counter, value)
        .expect("types of the log have no map keys MessagePack can't hold");
    counter.0
}

/// Proof at compile time that the state machine fits the configuration.
const _: fn() = || {
    fn fits<T: RaftStateMachine<TypeConfig>>() {}
    fits::<super::state_machine::Machine>();
};
