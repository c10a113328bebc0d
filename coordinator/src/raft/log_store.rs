//! The Raft log, the vote and what else must survive a crash before it is spoken of.
//!
//! Vote and entries are durable before the answer. The commit index isn't worth an fsync: it rides
//! along with the next append, and what it misses is committed again after a restart.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use std::time::Duration;

use common::fault::Fault;
use common::limits::SNAPSHOT_CHUNK_BYTES;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use tokio::sync::watch;

use super::disk::{Disk, DiskError, Poison, blocking, seal, unseal};
use super::ground::Ground;
use super::recent::Recent;
use super::types::{LogEntry, LogId, Result, StorageError, TypeConfig, Vote, decode, encode};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
/// The cluster this directory belongs to.
pub(crate) const CLUSTER: &str = "cluster";
/// Set while a member whose directory was empty gets everything again: it may not vote.
pub(crate) const REJOINING: &str = "rejoining";
/// Between two looks at whether the disk has failed while a snapshot is awaited.
const COVERED_LOOK: Duration = Duration::from_millis(200);
const CACHE_BYTES: usize = 16 << 20;

/// The log's file. Cloning shares it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Disk,
    /// What was said to be committed, and what of that is on disk.
    committed: Mutex<Option<LogId>>,
    recent: Mutex<Recent>,
    entries: AtomicU64,
    /// Up to which entry the snapshot on disk reaches. Not set: whoever purges knows.
    covered: OnceLock<watch::Receiver<u64>>,
    /// Bytes appended since the last purge: a log of few, large entries is compacted by this.
    grown_bytes: AtomicU64,
}

impl LogStore {
    /// Blocks: only used before the node runs.
    pub(crate) fn open(
        path: &Path,
        poison: Poison,
        ground: &Ground,
    ) -> Result<LogStore, DiskError> {
        let disk = Disk::open(path, CACHE_BYTES, poison, ground)?;
        let entries = disk.write(|transaction| {
            transaction.open_table(META)?;
            Ok(transaction.open_table(LOG)?.len()?)
        })?;
        let store = LogStore {
            shared: Arc::new(Shared {
                disk,
                committed: Mutex::new(None),
                recent: Mutex::default(),
                entries: AtomicU64::new(entries),
                covered: OnceLock::new(),
                grown_bytes: AtomicU64::new(0),
            }),
        };
        *store.committed() = store.meta(COMMITTED)?;
        Ok(store)
    }

    /// From now on entries are kept until a snapshot on disk covers them.
    pub(crate) fn keep_until_covered(&self, covered: watch::Receiver<u64>) {
        self.shared.covered.get_or_init(|| covered);
    }

    /// The library purges what a leader's snapshot covers while that is still being installed: a
    /// crash in between would leave neither the entries nor the snapshot.
    async fn covered(&self, upto: u64) -> Result<(), DiskError> {
        let Some(mut covered) = self.shared.covered.get().cloned() else {
            return Ok(());
        };
        loop {
            if *covered.borrow_and_update() >= upto {
                return Ok(());
            }
            if let Some(error) = self.disk().failure() {
                return Err(error);
            }
            let changed = tokio::time::timeout(COVERED_LOOK, covered.changed()).await;
            if let Ok(Err(_)) = changed {
                return Err(DiskError::Closed);
            }
        }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.shared.disk
    }

    pub(crate) fn entries(&self) -> u64 {
        self.shared.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn grown_bytes(&self) -> u64 {
        self.shared.grown_bytes.load(Ordering::Relaxed)
    }

    /// A compaction was asked for: the next one is due after as many bytes again.
    pub(crate) fn forget_growth(&self) {
        self.shared.grown_bytes.store(0, Ordering::Relaxed);
    }

    /// The last entry, purged or not. Blocks.
    pub(crate) fn last(&self) -> Result<Option<LogId>, DiskError> {
        Ok(self.log_state()?.last_log_id)
    }

    pub(crate) fn commit_index(&self) -> u64 {
        self.committed().map_or(0, |id| id.index)
    }

    fn committed(&self) -> std::sync::MutexGuard<'_, Option<LogId>> {
        self.shared
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.shared
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a value of the meta table. Blocks.
    pub(crate) fn meta<T: DeserializeOwned>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, DiskError> {
        self.shared.disk.read(|transaction| {
            let table = transaction.open_table(META)?;
            let Some(record) = table.get(key)? else {
                return Ok(None);
            };
            let body = unseal(key, record.value())?;
            decode(body).map(Some).map_err(DiskError::damaged)
        })
    }

    /// Writes a value of the meta table, durably.
    pub(crate) async fn set_meta<T: Serialize>(
        &self,
        key: &'static str,
        value: &T,
    ) -> Result<(), DiskError> {
        let (shared, body) = (self.shared.clone(), encode(value));
        blocking(move || {
            shared
                .disk
                .write(|transaction| put(transaction, key, &body))
        })
        .await
    }

    async fn get_meta<T: DeserializeOwned + Send + 'static>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>> {
        let store = self.clone();
        blocking(move || store.meta(key))
            .await
            .map_err(|error| error.storage(false))
    }

    fn append_all(&self, entries: Vec<LogEntry>) -> Result<(), DiskError> {
        let committed = *self.committed();
        let records = entries.iter().map(encode).collect::<Vec<_>>();
        self.shared.disk.write(|transaction| {
            let mut table = transaction.open_table(LOG)?;
            for (entry, body) in entries.iter().zip(&records) {
                table.insert(entry.log_id.index, seal(body).as_slice())?;
            }
            self.shared.entries.store(table.len()?, Ordering::Relaxed);
            drop(table);
            match committed {
                Some(committed) => put(transaction, COMMITTED, &encode(&committed)),
                None => Ok(()),
            }
        })?;
        let bytes: usize = records.iter().map(Vec::len).sum();
        self.shared
            .grown_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let mut recent = self.recent();
        for (entry, record) in entries.into_iter().zip(&records) {
            recent.push(entry, record.len());
        }
        Ok(())
    }

    /// Removes entries by index, and says how far the log begins.
    fn remove(&self, range: impl RangeBounds<u64>, purged: Option<LogId>) -> Result<(), DiskError> {
        self.recent().clear();
        self.shared.disk.write(|transaction| {
            let mut table = transaction.open_table(LOG)?;
            table.retain_in(range, |_, _| false)?;
            self.shared.entries.store(table.len()?, Ordering::Relaxed);
            drop(table);
            match purged {
                Some(purged) => put(transaction, PURGED, &encode(&purged)),
                None => Ok(()),
            }
        })
    }

    /// Entries of the range, in order, until `bytes_max` is passed.
    fn entries_in(
        &self,
        range: (Bound<u64>, Bound<u64>),
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, DiskError> {
        if let Some(entries) = self.recent().get(range, bytes_max) {
            return Ok(entries);
        }
        self.shared.disk.read(|transaction| {
            let table = transaction.open_table(LOG)?;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for row in table.range(range)? {
                let (index, record) = row?;
                entries.push(entry(index.value(), record.value())?);
                bytes += record.value().len();
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(entries)
        })
    }

    fn log_state(&self) -> Result<LogState<TypeConfig>, DiskError> {
        let last = self.shared.disk.read(|transaction| {
            let table = transaction.open_table(LOG)?;
            let Some((index, record)) = table.last()? else {
                return Ok(None);
            };
            Ok(Some(entry(index.value(), record.value())?.log_id))
        })?;
        let last_purged_log_id: Option<LogId> = self.meta(PURGED)?;
        Ok(LogState {
            last_purged_log_id,
            last_log_id: last.or(last_purged_log_id),
        })
    }
}

fn put(transaction: &WriteTransaction, key: &str, body: &[u8]) -> Result<(), DiskError> {
    transaction
        .open_table(META)?
        .insert(key, seal(body).as_slice())?;
    Ok(())
}

fn entry(index: u64, record: &[u8]) -> Result<LogEntry, DiskError> {
    let body = unseal(&format!("log entry {index}"), record)?;
    let entry: LogEntry =
        decode(body).map_err(|error| DiskError::Damaged(format!("log entry {index}: {error}")))?;
    match entry.log_id.index == index {
        true => Ok(entry),
        false => Err(DiskError::Damaged(format!(
            "entry {} stands in the place of log entry {index}",
            entry.log_id.index
        ))),
    }
}

/// Reads the whole log once: every record is whole and none is missing, and what stands beside the
/// log fits it. `snapshot`: up to where the state on disk reaches. Blocks.
pub(crate) fn check(log: &LogStore, snapshot: Option<LogId>) -> Result<(), DiskError> {
    let damaged = |what: String| Err(DiskError::Damaged(format!("{}: {what}", log.disk().name())));
    let (purged, vote): (Option<LogId>, Option<Vote>) = (log.meta(PURGED)?, log.meta(VOTE)?);
    let mut last = purged;
    log.disk().read(|transaction| {
        for row in transaction.open_table(LOG)?.iter()? {
            let (index, record) = row?;
            let next = last.map_or(0, |last| last.index + 1);
            if index.value() != next {
                return Err(DiskError::Damaged(format!("log entry {next} is missing")));
            }
            last = Some(entry(index.value(), record.value())?.log_id);
        }
        Ok(())
    })?;
    if purged > snapshot {
        let (from, upto) = (
            purged.map_or(0, |id| id.index),
            snapshot.map_or(0, |id| id.index),
        );
        return damaged(format!(
            "entries up to {from} are gone, and the snapshot beside it reaches to {upto}"
        ));
    }
    // A member that gets everything again has its snapshot before its first entry.
    let begins_anew = log.meta(REJOINING)? == Some(true);
    if last.is_none() && snapshot.is_some() && !begins_anew {
        return damaged("it is empty, and the snapshot beside it is not".to_owned());
    }
    let Some(last) = last else { return Ok(()) };
    let term = vote.map_or(0, |vote| vote.leader_id().get_term());
    if term < last.leader_id.get_term() {
        return damaged(format!("a vote of term {term} is older than entry {last}"));
    }
    let cluster: Option<String> = log.meta(CLUSTER)?;
    match cluster {
        Some(_) => Ok(()),
        None => damaged("it has entries, and belongs to no cluster".to_owned()),
    }
}

/// The range as owned bounds, so that it can go to another thread.
fn owned(range: &impl RangeBounds<u64>) -> (Bound<u64>, Bound<u64>) {
    (range.start_bound().cloned(), range.end_bound().cloned())
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>> {
        let (store, range) = (self.clone(), owned(&range));
        let read = blocking(move || store.entries_in(range, usize::MAX)).await;
        read.map_err(|error| error.storage(false))
    }

    /// What is replicated in one message: about a piece, so that a heartbeat isn't kept waiting.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>> {
        let store = self.clone();
        let read =
            blocking(move || store.entries_in(owned(&(start..end)), SNAPSHOT_CHUNK_BYTES)).await;
        read.map_err(|error| error.storage(false))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>> {
        let store = self.clone();
        blocking(move || store.log_state())
            .await
            .map_err(|error| error.storage(false))
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<()> {
        let saved = async {
            self.disk().pass(Fault::RaftBeforeVote).await?;
            self.set_meta(VOTE, vote).await?;
            self.disk().pass(Fault::RaftAfterVote).await
        };
        saved.await.map_err(|error| error.storage(true))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>> {
        self.get_meta(VOTE).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<()> {
        *self.committed() = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>> {
        Ok(*self.committed())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<TypeConfig>) -> Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let store = self.clone();
        let appended = async {
            self.disk().pass(Fault::RaftBeforeAppend).await?;
            blocking(move || store.append_all(entries)).await?;
            self.disk().pass(Fault::RaftAfterAppend).await
        };
        appended
            .await
            .map_err(|error| -> StorageError { error.storage(true) })?;
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<()> {
        let store = self.clone();
        let done = blocking(move || store.remove(from.index.., None)).await;
        done.map_err(|error| error.storage(true))
    }

    async fn purge(&mut self, upto: LogId) -> Result<()> {
        let store = self.clone();
        let purged = async {
            self.disk().pass(Fault::RaftBeforePurge).await?;
            self.covered(upto.index).await?;
            blocking(move || store.remove(..=upto.index, Some(upto))).await
        };
        purged
            .await
            .map_err(|error| -> StorageError { error.storage(true) })?;
        self.shared.grown_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}
