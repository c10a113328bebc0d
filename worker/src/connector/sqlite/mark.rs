//! Where an SQLite file stands: its change counter, and what the write-ahead log looks like. Equal
//! marks mean that nothing was committed in between; different ones may mean nothing (a checkpoint
//! moves rows without changing any).

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use common::code::Code;
use common::schema::SourceMark;

use crate::connector::{Error, Result};

/// Files whose header was read, by device and inode. They stay open until the process ends:
/// closing one would drop all POSIX locks the process holds on the file, so that another program
/// could write in the middle of our transaction. One descriptor per file, so the number is small.
static HEADERS: Mutex<BTreeMap<(u64, u64), File>> = Mutex::new(BTreeMap::new());

/// A file's clock has ticks of some milliseconds: a write in the same tick as the one before leaves
/// the same time, so a time that young isn't trusted yet.
const TICK: Duration = Duration::from_millis(50);
/// A source that never rests that long is marked all the same.
const ATTEMPTS: u32 = 10;

/// The mark of the file at `path`.
pub async fn mark(path: &Path) -> Result<SourceMark> {
    let path = path.to_owned();
    let shown = path.display().to_string();
    let looked = tokio::task::spawn_blocking(move || settle(&path)).await;
    let failed = |error: &dyn std::fmt::Display| {
        Error::transient(Code::SourceFailed, format!("{shown}: {error}"))
    };
    match looked {
        Ok(Ok(text)) => Ok(SourceMark(text)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

fn settle(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    for _ in 0..ATTEMPTS {
        let (seen, newest) = observe(path)?;
        let age = SystemTime::now().duration_since(newest).unwrap_or(TICK);
        if age >= TICK {
            return Ok(seen);
        }
        text = seen;
        std::thread::sleep(TICK - age);
    }
    Ok(text)
}

fn observe(path: &Path) -> io::Result<(String, SystemTime)> {
    let main = std::fs::metadata(path)?;
    let header = header_of(path, &main)?;
    let mut newest = main.modified()?;
    let mut wal_path = PathBuf::from(path).into_os_string();
    wal_path.push("-wal");
    // An empty log is as good as none: merely reading a file in WAL mode may make one.
    let wal = match std::fs::metadata(&wal_path) {
        Ok(wal) if wal.len() > 0 => {
            newest = newest.max(wal.modified()?);
            // SQLite keeps its locks elsewhere (-shm), so this file may be opened and closed.
            let mut salts = [0; 32];
            let read = File::open(&wal_path).and_then(|file| file.read_at(&mut salts, 0))?;
            format!("{} {}", times(&wal), hex(&salts[..read]))
        }
        Ok(_) => "none".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "none".to_owned(),
        Err(error) => return Err(error),
    };
    // Bytes 24..28: change counter; 40..44: schema cookie.
    let counters = match header.len() {
        100 => format!("{} {}", hex(&header[24..28]), hex(&header[40..44])),
        _ => "empty".to_owned(),
    };
    Ok((format!("{counters} {} wal {wal}", times(&main)), newest))
}

fn header_of(path: &Path, known: &Metadata) -> io::Result<Vec<u8>> {
    let mut headers = HEADERS.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match headers.entry((known.dev(), known.ino())) {
        std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::btree_map::Entry::Vacant(entry) => entry.insert(File::open(path)?),
    };
    let mut header = vec![0; 100];
    let read = file.read_at(&mut header, 0)?;
    header.truncate(read);
    Ok(header)
}

fn times(metadata: &Metadata) -> String {
    format!(
        "ino {} size {} mtime {}.{:09}",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
