//! One redb file: opened by one process at a time, every record with its checksum, every error
//! classified here. After a failed write nothing is written any more: the page cache no longer
//! tells what is on the disk, and a later fsync may report success for pages it lost.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::fault::Fault;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use xxhash_rust::xxh3::xxh3_64;

use super::ground::Ground;
use super::types::{StorageError, StorageIoError};

/// What can go wrong with the data directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("another process works with it")]
    Busy,
    #[error("no space left: {0}")]
    Full(String),
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("{0}")]
    Io(String),
    #[error("it is closed")]
    Closed,
}

impl From<redb::Error> for DiskError {
    fn from(error: redb::Error) -> Self {
        use std::io::ErrorKind;
        match &error {
            redb::Error::DatabaseAlreadyOpen => DiskError::Busy,
            redb::Error::Corrupted(what) => DiskError::Damaged(what.clone()),
            redb::Error::UpgradeRequired(version) => {
                DiskError::Damaged(format!("file format {version} is too old"))
            }
            redb::Error::Io(io) => match io.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    DiskError::Full(io.to_string())
                }
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                    DiskError::Damaged(io.to_string())
                }
                _ => DiskError::Io(io.to_string()),
            },
            other => DiskError::Io(other.to_string()),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ident),*) => { $(
        impl From<redb::$error> for DiskError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )* };
}
through_redb_error!(
    DatabaseError,
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    SetDurabilityError
);

impl DiskError {
    pub(crate) fn damaged(what: impl std::fmt::Display) -> Self {
        DiskError::Damaged(what.to_string())
    }

    /// Names the damaged file.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            DiskError::Damaged(what) => DiskError::Damaged(format!("{}: {what}", path.display())),
            other => other,
        }
    }

    /// As the consensus library wants it; it stops the node on any of these.
    pub(crate) fn storage(self, write: bool) -> StorageError {
        let source = openraft::AnyError::new(&self);
        match write {
            true => StorageIoError::write(source).into(),
            false => StorageIoError::read(source).into(),
        }
    }
}

/// The first error that made this node stop, shared by its files.
#[derive(Clone, Default)]
pub(crate) struct Poison(Arc<OnceLock<DiskError>>);

impl Poison {
    pub(crate) fn set(&self, error: &DiskError) {
        if *error != DiskError::Closed && self.0.set(error.clone()).is_ok() {
            tracing::error!(%error, "the data directory failed; this coordinator stops");
        }
    }

    pub(crate) fn get(&self) -> Option<&DiskError> {
        self.0.get()
    }
}

/// How long durable commits took.
#[derive(Debug, Default)]
pub(crate) struct Fsyncs {
    count: AtomicU64,
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Fsyncs {
    fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Count, sum and maximum in seconds.
    pub(crate) fn figures(&self) -> (u64, f64, f64) {
        let seconds = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64 / 1e6;
        (
            self.count.load(Ordering::Relaxed),
            seconds(&self.sum_us),
            seconds(&self.max_us),
        )
    }
}

/// One file.
pub(crate) struct Disk {
    path: PathBuf,
    /// None once closed. The lock is held for one operation at a time and never across an await.
    database: RwLock<Option<Database>>,
    poison: Poison,
    ground: Ground,
    pub(crate) fsyncs: Fsyncs,
}

/// Makes a new file under a temporary name first: a process that is killed in the middle leaves
/// nothing that could be taken for a damaged file later.
fn make(builder: &redb::Builder, path: &Path) -> Result<Database, DiskError> {
    let unfinished = path.with_extension("new");
    match std::fs::File::open(&unfinished).map(|file| file.try_lock()) {
        Ok(Err(std::fs::TryLockError::WouldBlock)) => return Err(DiskError::Busy),
        Ok(_) => std::fs::remove_file(&unfinished).map_err(redb::Error::Io)?,
        Err(_) => {}
    }
    let database = builder.create(&unfinished)?;
    std::fs::rename(&unfinished, path).map_err(redb::Error::Io)?;
    if let Some(folder) = path.parent() {
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(redb::Error::Io)?;
    }
    Ok(database)
}

/// After a crash the store believes the bit that says which of two commits is the last. That bit has
/// no checksum. If the other commit is newer, the store is told to look for itself: it takes the
/// newer one if every page of it is whole (nobody was told of it, or the bit was damaged), and the
/// older one otherwise (the crash came while the newer was written).
fn trust_the_newer_commit(path: &Path) -> std::io::Result<()> {
    const FLAGS: usize = 9;
    const PRIMARY: u8 = 1;
    const RECOVERY: u8 = 2;
    const TWO_PHASE: u8 = 4;
    const SLOT: usize = 64;
    const SLOT_BYTES: usize = 128;
    const TRANSACTION: usize = 104;
    let mut file = std::fs::File::options().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        // Another process works with it; the store will say so.
        return Ok(());
    }
    let mut header = [0; SLOT + 2 * SLOT_BYTES];
    if file.read_exact(&mut header).is_err() {
        return Ok(());
    }
    let commit = |slot: usize| {
        let at = SLOT + slot * SLOT_BYTES + TRANSACTION;
        header[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
    };
    let flags = header[FLAGS];
    let primary = usize::from(flags & PRIMARY != 0);
    let unsure = flags & (RECOVERY | TWO_PHASE) == RECOVERY | TWO_PHASE;
    if unsure && commit(primary ^ 1) > commit(primary) {
        file.seek(std::io::SeekFrom::Start(FLAGS as u64))?;
        file.write_all(&[flags & !TWO_PHASE])?;
        file.sync_data()?;
    }
    Ok(())
}

impl Disk {
    pub(crate) fn open(
        path: &Path,
        cache_bytes: usize,
        poison: Poison,
        ground: &Ground,
    ) -> Result<Disk, DiskError> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        // Every page, every time: a page that isn't what was written must not be believed later.
        builder.set_check_integrity_on_open(true);
        let opened = caught(|| match &ground.open_file {
            Some(open) => Ok(open(path, &builder)?),
            None if path.exists() => {
                trust_the_newer_commit(path).map_err(redb::Error::Io)?;
                Ok(builder.open(path)?)
            }
            None => make(&builder, path),
        });
        let database = opened.map_err(|error| error.in_file(path))?;
        Ok(Disk {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            poison,
            ground: ground.clone(),
            fsyncs: Fsyncs::default(),
        })
    }

    /// Blocks; call through [`blocking`].
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let done = caught(|| self.try_read(read)).map_err(|error| error.in_file(&self.path));
        if let Err(error) = &done {
            self.poison.set(error);
        }
        done
    }

    fn try_read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(DiskError::Closed)?;
        read(&database.begin_read()?)
    }

    /// One transaction, durable when this returns. Blocks; call through [`blocking`].
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        if let Some(error) = self.poison.get() {
            return Err(error.clone());
        }
        let done = caught(|| self.try_write(write)).map_err(|error| error.in_file(&self.path));
        if let Err(error) = &done {
            self.poison.set(error);
        }
        done
    }

    fn try_write<T>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(DiskError::Closed)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // A second fsync. With one, a crash leaves it open whether the last commit is torn or was
        // damaged later, and the store would go back to the one before: a vote or an acknowledged
        // entry less, without a word (coordinator/tests/disk).
        transaction.set_two_phase_commit(true);
        let value = write(&transaction)?;
        let started = Instant::now();
        transaction.commit()?;
        self.fsyncs.took(started.elapsed());
        Ok(value)
    }

    /// Why nothing is read or written any more.
    pub(crate) fn failure(&self) -> Option<DiskError> {
        self.poison.get().cloned()
    }

    /// Passes through a fault point of this file. An answer that is lost there is a failed disk:
    /// whoever asked can't know what was written.
    pub(crate) async fn pass(&self, fault: Fault) -> Result<(), DiskError> {
        if !self.ground.point(fault).await {
            return Ok(());
        }
        let lost = DiskError::Io(format!("the disk's answer was lost (fault point {fault})"));
        self.poison.set(&lost);
        Err(lost)
    }

    /// The file, as errors name it.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Waits for running operations, then lets the file go.
    pub(crate) fn close(&self) {
        let mut guard = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        drop(guard.take());
    }
}

/// The store ends in a panic at some damage that its own check didn't see.
fn caught<T>(work: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or(panic.downcast_ref::<&str>().copied());
        Err(DiskError::Damaged(format!(
            "the store gave up: {}",
            what.unwrap_or("no reason given")
        )))
    })
}

/// Runs disk work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, DiskError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(DiskError::Io(format!("the disk's thread ended: {error}"))),
    }
}

/// A record with its checksum in front.
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(body.len() + 8);
    record.extend_from_slice(&xxh3_64(body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The body of a sealed record; `what` names it if it is torn.
pub(crate) fn unseal<'a>(what: &str, record: &'a [u8]) -> Result<&'a [u8], DiskError> {
    match record.split_first_chunk::<8>() {
        Some((sum, body)) if u64::from_le_bytes(*sum) == xxh3_64(body) => Ok(body),
        _ => Err(DiskError::Damaged(format!(
            "{what} does not match its checksum"
        ))),
    }
}
