//! What is on disk: the library's own suite, and what happens when the disk fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::digest::Digest;
use common::epoch::{Epoch, Lease, Unit};
use common::id::{JobId, Millis, PartitionNo};
use common::plan::Loaded;
use common::state::{Command, Entry, State};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use redb::backends::FileBackend;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};
use tempfile::TempDir;

use super::super::disk::{Disk, DiskError, Poison};
use super::super::log_store::LogStore;
use super::super::state_machine::Machine;
use super::super::types::{LogId, SnapshotMeta, StorageError, TypeConfig, decode, encode};
use super::super::{Consensus, Ground, RaftConfig, StartError};
use super::{cluster, leader, log_file, submit, until};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = TempDir::new().expect("temp dir");
        let (log, machine) = stores(&dir);
        Ok((dir, log, machine))
    }
}

fn stores(dir: &TempDir) -> (LogStore, Machine) {
    let (poison, ground) = (Poison::default(), Ground::default());
    let log = LogStore::open(&log_file(dir.path()), poison.clone(), &ground).expect("log");
    let machine = Machine::open(&dir.path().join("snapshot.redb"), poison, &ground);
    (log, machine.expect("snapshot"))
}

#[test]
fn the_librarys_suite_passes() {
    Suite::test_all(Builder).expect("the suite");
}

#[test]
fn state_and_entries_survive_the_encoding() {
    let mut state = State::default();
    let entry = Entry {
        at: Millis(7),
        commands: vec![submit("shop"), super::hello(1)],
    };
    let written: Entry = decode(&encode(&entry)).expect("entry");
    assert_eq!(written, entry);
    for answer in state.apply_entry(entry) {
        answer.expect("accepted");
    }
    let mut read: State = decode(&encode(&state)).expect("state");
    read.reindex();
    assert_eq!(read, state);

    let lease = Lease {
        job: JobId(1),
        unit: Unit::Partition(PartitionNo(3)),
        epoch: Epoch(2),
    };
    let digest = Digest {
        rows: 9,
        sum: u128::MAX - 5,
    };
    let command = Command::RecordPrepared {
        lease,
        loaded: Loaded { bytes: 1, digest },
    };
    let written: Command = decode(&encode(&command)).expect("command");
    assert_eq!(written, command);
}

fn config(dir: &Path) -> RaftConfig {
    RaftConfig {
        name: "c1".to_owned(),
        data_dir: dir.to_owned(),
        advertise: "127.0.0.1:1".to_owned(),
        join: Vec::new(),
        bootstrap_expect: 1,
        snapshot_every: 100,
        ground: Ground::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_one_process_and_one_name() {
    let dir = TempDir::new().expect("temp dir");
    let first = Consensus::start(config(dir.path())).await.expect("start");
    let second = Consensus::start(config(dir.path())).await;
    assert!(matches!(second.err(), Some(StartError::DirBusy(_))));
    first.shutdown().await;
    let mut other = config(dir.path());
    other.name = "c2".to_owned();
    assert!(matches!(
        Consensus::start(other).await.err(),
        Some(StartError::Damaged(_))
    ));
    Consensus::start(config(dir.path()))
        .await
        .expect("again")
        .shutdown()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_record_is_named() {
    let dir = TempDir::new().expect("temp dir");
    let first = Consensus::start(config(dir.path())).await.expect("start");
    let mut role = first.role();
    role.wait_for(|role| role.leading).await.expect("leads");
    first
        .propose(vec![submit("shop")], Millis(1))
        .await
        .expect("proposed")[0]
        .as_ref()
        .expect("submitted");
    first.shutdown().await;
    let table: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
    let database = Database::open(log_file(dir.path())).expect("open");
    let transaction = database.begin_write().expect("begin");
    {
        let mut table = transaction.open_table(table).expect("table");
        let mut record = table
            .get(2)
            .expect("get")
            .expect("entry 2")
            .value()
            .to_vec();
        let last = record.len() - 1;
        record[last] ^= 1;
        table.insert(2, record.as_slice()).expect("insert");
    }
    transaction.commit().expect("commit");
    drop(database);
    match Consensus::start(config(dir.path())).await.err() {
        Some(StartError::Damaged(what)) => assert!(what.contains("log entry 2"), "{what}"),
        other => panic!("{other:?}"),
    }
    std::fs::write(log_file(dir.path()), b"not a database").expect("write");
    assert!(matches!(
        Consensus::start(config(dir.path())).await.err(),
        Some(StartError::Damaged(_))
    ));
}

/// Found by coordinator/tests/turmoil, seed 22: the library purges the log that a leader's snapshot
/// covers before that is installed. A crash in between left neither, and the member never started
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_kept_until_the_snapshot_that_covers_them_is_on_disk() {
    let dir = TempDir::new().expect("temp dir");
    let (mut log, mut machine) = stores(&dir);
    log.keep_until_covered(machine.covered());
    let upto = LogId::new(openraft::CommittedLeaderId::new(1, 1), 7);
    let mut purging = {
        let mut log = log.clone();
        tokio::spawn(async move { log.purge(upto).await })
    };
    let early = tokio::time::timeout(Duration::from_millis(300), &mut purging).await;
    assert!(early.is_err(), "purged without a snapshot");
    let state = log.get_log_state().await.expect("state");
    assert_eq!(state.last_purged_log_id, None);
    let meta = SnapshotMeta {
        last_log_id: Some(upto),
        ..SnapshotMeta::default()
    };
    let data = Box::new(encode(&State::default()));
    let installed = machine.install_snapshot(&meta, data).await;
    installed.expect("installed");
    purging.await.expect("no panic").expect("purged");
    let state = log.get_log_state().await.expect("state");
    assert_eq!(state.last_purged_log_id, Some(upto));
}

/// A disk that can be full.
#[derive(Debug)]
struct Filling(FileBackend, Arc<AtomicBool>);

impl Filling {
    fn check(&self) -> std::io::Result<()> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Filling {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.0.write(offset, data)
    }
}

#[test]
fn a_full_disk_poisons_all_files() {
    let dir = TempDir::new().expect("temp dir");
    let path = log_file(dir.path());
    let full = Arc::new(AtomicBool::new(false));
    let flag = full.clone();
    let ground = Ground {
        open_file: Some(Arc::new(move |path, builder| {
            let mut options = std::fs::File::options();
            options.read(true).write(true).create(true).truncate(false);
            let backend = FileBackend::new(options.open(path).expect("file"))?;
            builder.create_with_backend(Filling(backend, flag.clone()))
        })),
        ..Ground::default()
    };
    let poison = Poison::default();
    let disk = Disk::open(&path, 1 << 20, poison.clone(), &ground).expect("opened");
    let table: TableDefinition<u64, u64> = TableDefinition::new("t");
    let write = |value: u64| {
        disk.write(|transaction| {
            transaction.open_table(table)?.insert(value, value)?;
            Ok(())
        })
    };
    write(1).expect("written");
    full.store(true, Ordering::Relaxed);
    assert!(matches!(write(2), Err(DiskError::Full(_))));
    full.store(false, Ordering::Relaxed);
    assert!(
        matches!(write(3), Err(DiskError::Full(_))),
        "a later success would be a lie"
    );
    assert!(matches!(poison.get(), Some(DiskError::Full(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_disk_ends_the_leadership() {
    let dir = TempDir::new().expect("temp dir");
    let nodes = cluster(&dir, 1, 100).await;
    let node = &nodes[leader(&nodes).await];
    node.consensus
        .inner
        .poison
        .set(&DiskError::Full("no space".to_owned()));
    let error = node
        .consensus
        .propose(vec![submit("shop")], Millis(1))
        .await;
    assert!(
        matches!(error, Err(super::ProposeError::StorageFull(_))),
        "{error:?}"
    );
    until("it no longer leads", async || (!node.leads()).then_some(())).await;
}
