//! The replicated state in memory, and its snapshots on disk.
//!
//! Nothing is written per entry: after a restart the last snapshot is loaded and the log replayed
//! from there. A snapshot, its place in the log and its membership are one redb transaction.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use common::fault::Fault;
use common::limits::SNAPSHOT_CHUNK_BYTES;
use common::state::State;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::disk::{Disk, DiskError, Poison, blocking, seal, unseal};
use super::ground::Ground;
use super::types::{
    Answers, LogEntry, LogId, Result, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, decode,
    encode,
};

/// Row 0 is the header, the others are pieces of the image.
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
const CACHE_BYTES: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    meta: SnapshotMeta,
    bytes: u64,
}

/// The applied state and where it stands.
#[derive(Default)]
struct Image {
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

/// Cloning shares it.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
}

struct Shared {
    /// Never held across an await.
    image: RwLock<Image>,
    applied: watch::Sender<u64>,
    /// Index of the last entry that the snapshot on disk covers.
    covered: watch::Sender<u64>,
    disk: Disk,
    snapshot_bytes: AtomicU64,
}

impl Machine {
    /// Loads the last snapshot. Blocks: only used before the node runs.
    pub(crate) fn open(path: &Path, poison: Poison, ground: &Ground) -> Result<Machine, DiskError> {
        let disk = Disk::open(path, CACHE_BYTES, poison, ground)?;
        disk.write(|transaction| {
            transaction.open_table(SNAPSHOT)?;
            Ok(())
        })?;
        let machine = Machine {
            shared: Arc::new(Shared {
                image: RwLock::default(),
                applied: watch::Sender::new(0),
                covered: watch::Sender::new(0),
                disk,
                snapshot_bytes: AtomicU64::new(0),
            }),
        };
        if let Some((meta, data)) = machine.load()? {
            machine
                .shared
                .snapshot_bytes
                .store(data.len() as u64, Ordering::Relaxed);
            machine.cover(&meta);
            let state = parse(&data).map_err(|error| error.in_file(path))?;
            machine.show(&meta, state);
        }
        Ok(machine)
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.shared.disk
    }

    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.shared.snapshot_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Index of the last applied entry and a digest of the state it left: the same on every
    /// member that has applied as much.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let image = self
            .shared
            .image
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let index = image.last_applied.map_or(0, |id| id.index);
        (index, xxhash_rust::xxh3::xxh3_64(&encode(&image.state)))
    }

    pub(crate) fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        let image = self
            .shared
            .image
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        read(&image.state)
    }

    /// Replaces what is applied.
    fn show(&self, meta: &SnapshotMeta, state: State) {
        let mut image = self
            .shared
            .image
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *image = Image {
            state,
            last_applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        drop(image);
        self.tell(meta.last_log_id);
    }

    /// The last entry of the loaded snapshot or applied since.
    pub(crate) fn last_applied(&self) -> Option<LogId> {
        let image = self
            .shared
            .image
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        image.last_applied
    }

    pub(crate) fn covered(&self) -> watch::Receiver<u64> {
        self.shared.covered.subscribe()
    }

    fn cover(&self, meta: &SnapshotMeta) {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.shared.covered.send_if_modified(|covered| {
            let more = index > *covered;
            *covered = index.max(*covered);
            more
        });
    }

    fn tell(&self, last_applied: Option<LogId>) {
        if let Some(id) = last_applied {
            self.shared.applied.send_replace(id.index);
        }
    }

    fn apply_all(&self, entries: Vec<LogEntry>) -> Vec<Answers> {
        let mut image = self
            .shared
            .image
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            image.last_applied = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(entry) => image.state.apply_entry(entry),
                EntryPayload::Membership(membership) => {
                    image.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            });
        }
        let last_applied = image.last_applied;
        drop(image);
        self.tell(last_applied);
        answers
    }

    /// Writes down the applied state. Entries wait while it is serialized, readers don't.
    fn build(&self) -> Result<(SnapshotMeta, Vec<u8>), DiskError> {
        let image = self
            .shared
            .image
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let data = encode(&image.state);
        let (last_log_id, last_membership) = (image.last_applied, image.membership.clone());
        drop(image);
        let index = last_log_id.map_or(0, |id| id.index);
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
            snapshot_id: format!("{index}-{}", uuid::Uuid::now_v7().simple()),
        };
        self.save(&meta, &data)?;
        Ok((meta, data))
    }

    fn save(&self, meta: &SnapshotMeta, data: &[u8]) -> Result<(), DiskError> {
        let bytes = data.len() as u64;
        let header = Header {
            meta: meta.clone(),
            bytes,
        };
        self.shared.disk.write(|transaction| {
            let mut table = transaction.open_table(SNAPSHOT)?;
            // One may have been received while this one was built.
            let held = table
                .get(0)?
                .map(|header| read_header(header.value()))
                .transpose()?;
            if held.is_some_and(|held| held.meta.last_log_id > meta.last_log_id) {
                return Ok(());
            }
            table.retain(|_, _| false)?;
            table.insert(0, seal(&encode(&header)).as_slice())?;
            for (no, piece) in (1u64..).zip(data.chunks(SNAPSHOT_CHUNK_BYTES)) {
                table.insert(no, seal(piece).as_slice())?;
            }
            Ok(())
        })?;
        self.shared.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.cover(meta);
        Ok(())
    }

    fn load(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, DiskError> {
        self.shared.disk.read(|transaction| {
            let table = transaction.open_table(SNAPSHOT)?;
            let Some(header) = table.get(0)? else {
                return Ok(None);
            };
            let header = read_header(header.value())?;
            let mut data = Vec::with_capacity(usize::try_from(header.bytes).unwrap_or(0));
            for row in table.range(1..)? {
                let (no, piece) = row?;
                let what = format!("the snapshot's piece {}", no.value());
                data.extend_from_slice(unseal(&what, piece.value())?);
            }
            if data.len() as u64 != header.bytes {
                return Err(DiskError::damaged("the snapshot is not whole"));
            }
            Ok(Some((header.meta, data)))
        })
    }
}

fn read_header(record: &[u8]) -> Result<Header, DiskError> {
    let body = unseal("the snapshot's header", record)?;
    decode(body).map_err(|error| DiskError::Damaged(format!("the snapshot's header: {error}")))
}

fn parse(data: &[u8]) -> Result<State, DiskError> {
    let mut state: State =
        decode(data).map_err(|error| DiskError::Damaged(format!("the snapshot: {error}")))?;
    state.reindex();
    Ok(state)
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership)> {
        let image = self
            .shared
            .image
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok((image.last_applied, image.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (machine, entries): (_, Vec<_>) = (self.clone(), entries.into_iter().collect());
        let applied = async {
            self.disk().pass(Fault::RaftBeforeApply).await?;
            blocking(move || Ok(machine.apply_all(entries))).await
        };
        applied.await.map_err(|error| error.storage(true))
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Box<Vec<u8>>) -> Result<()> {
        let (machine, meta) = (self.clone(), meta.clone());
        let installed = async {
            self.disk().pass(Fault::RaftBeforeInstall).await?;
            let installed = blocking(move || {
                let state = parse(&data)?;
                machine.save(&meta, &data)?;
                machine.show(&meta, state);
                Ok(())
            });
            installed.await?;
            self.disk().pass(Fault::RaftAfterInstall).await
        };
        installed.await.map_err(|error| error.storage(true))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>> {
        let machine = self.clone();
        let loaded = blocking(move || machine.load()).await;
        let loaded = loaded.map_err(|error| error.storage(false))?;
        Ok(loaded.map(|(meta, data)| Snapshot {
            meta,
            snapshot: Box::new(data),
        }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot> {
        let machine = self.clone();
        let built = async {
            self.disk().pass(Fault::RaftBeforeSnapshot).await?;
            let built = blocking(move || machine.build()).await?;
            self.disk().pass(Fault::RaftAfterSnapshot).await?;
            Ok(built)
        };
        let (meta, data) = built
            .await
            .map_err(|error: DiskError| error.storage(true))?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(data),
        })
    }
}
