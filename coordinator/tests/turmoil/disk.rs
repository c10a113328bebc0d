//! Files that forget what was not synced: a crash keeps a random part of the writes since the last
//! sync, some of them torn at a sector. What a dead process still writes goes nowhere.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::rng::Rng;

const SECTOR: usize = 512;

#[derive(Default)]
pub struct Disks {
    files: Mutex<BTreeMap<PathBuf, Arc<Mutex<File>>>>,
}

#[derive(Default, Debug)]
struct File {
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// What the process sees.
    seen: Vec<u8>,
    unsynced: Vec<Op>,
    /// Counts the lives of the process.
    life: u64,
    /// The next sync fails, and by the rules of fsync nobody knows what it wrote.
    sync_fails: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Op {
    fn onto(&self, bytes: &mut Vec<u8>) {
        match self {
            Op::Length(length) => bytes.resize(*length, 0),
            Op::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disks {
    pub fn open(
        &self,
        path: &Path,
        builder: &Builder,
    ) -> std::result::Result<Database, DatabaseError> {
        let file = lock(&self.files)
            .entry(path.to_owned())
            .or_default()
            .clone();
        let life = lock(&file).life;
        builder.create_with_backend(Handle { file, life })
    }

    fn of(&self, dir: &Path) -> Vec<Arc<Mutex<File>>> {
        let files = lock(&self.files);
        let here = files.iter().filter(|(path, _)| path.starts_with(dir));
        here.map(|(_, file)| file.clone()).collect()
    }

    /// The process that had these files open is no more.
    pub fn crash(&self, dir: &Path, rng: &mut Rng) {
        for file in self.of(dir) {
            let mut file = lock(&file);
            for op in std::mem::take(&mut file.unsynced) {
                match (rng.below(4), op) {
                    (0, _) => {}
                    (1, Op::Write(offset, data)) => {
                        let sectors = rng.below(data.len().div_ceil(SECTOR) as u64 + 1);
                        let kept = data.len().min(sectors as usize * SECTOR);
                        Op::Write(offset, data[..kept].to_vec()).onto(&mut file.durable);
                    }
                    (_, op) => op.onto(&mut file.durable),
                }
            }
            file.seen = file.durable.clone();
            file.life += 1;
            file.sync_fails = false;
        }
    }

    /// The disk was replaced by an empty one.
    pub fn wipe(&self, dir: &Path) {
        lock(&self.files).retain(|path, _| !path.starts_with(dir));
    }

    pub fn fail_next_sync(&self, dir: &Path) {
        for file in self.of(dir) {
            lock(&file).sync_fails = true;
        }
    }
}

#[derive(Debug)]
struct Handle {
    file: Arc<Mutex<File>>,
    life: u64,
}

impl Handle {
    fn file(&self) -> Result<MutexGuard<'_, File>> {
        let file = lock(&self.file);
        match file.life == self.life {
            true => Ok(file),
            false => Err(Error::new(ErrorKind::BrokenPipe, "this process is dead")),
        }
    }

    fn put(&self, op: Op) -> Result<()> {
        let mut file = self.file()?;
        op.onto(&mut file.seen);
        file.unsynced.push(op);
        Ok(())
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64> {
        Ok(self.file()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let file = self.file()?;
        let from = offset as usize;
        let bytes = file.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.put(Op::Length(len as usize))
    }

    fn sync_data(&self) -> Result<()> {
        let mut file = self.file()?;
        if std::mem::take(&mut file.sync_fails) {
            return Err(Error::other("the disk reports an I/O error"));
        }
        for op in std::mem::take(&mut file.unsynced) {
            op.onto(&mut file.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.put(Op::Write(offset as usize, data.to_vec()))
    }
}
