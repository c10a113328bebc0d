//! The events of one transaction until its end is known: rows of our tables and the table maps they
//! need, in memory up to a bound, beyond it in a file that has no name.

use std::io::SeekFrom;

use common::code::Code;
use common::limits;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};

use super::position::Point;
use crate::connector::{Error, Result};

/// Of a frame: the event's type and its length.
const HEAD: usize = 5;

/// See the module.
pub struct Group {
    /// Where its first event begins.
    pub start: Point,
    /// When it was committed, if its first event says so; milliseconds of Unix time.
    pub at_ms: Option<u64>,
    /// What the server counts it as.
    pub gtid: Option<Gtid>,
    /// A BEGIN was seen, or none will come.
    pub begun: bool,
    /// It ends with XA PREPARE.
    pub prepared: bool,
    frames: Vec<u8>,
    spool: Option<Spool>,
    marks: Vec<(String, u64)>,
}

/// A transaction's number at its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtid {
    Mariadb(u32, u32, u64),
    Mysql(String, u64),
}

struct Spool {
    file: File,
    bytes: u64,
}

/// The frames of a group one after another.
pub struct Frames {
    group: Group,
    spool: Option<(BufReader<File>, u64)>,
    at: usize,
    buffer: Vec<u8>,
}

fn failed(error: &std::io::Error) -> Error {
    let what = format!(
        "a large transaction of the source is kept in a file in {}: {error}",
        std::env::temp_dir().display()
    );
    Error::transient(Code::SourceFailed, what)
}

impl Group {
    pub fn new(start: Point) -> Group {
        Group {
            start,
            at_ms: None,
            gtid: None,
            begun: false,
            prepared: false,
            frames: Vec::new(),
            spool: None,
            marks: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.spool.is_none()
    }

    /// Bytes of it in memory.
    pub fn in_memory(&self) -> usize {
        self.frames.len()
    }

    pub fn push(&mut self, kind: u8, data: &[u8]) {
        self.frames.push(kind);
        self.frames
            .extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.frames.extend_from_slice(data);
    }

    /// Moves what is in memory to the file.
    pub async fn spill(&mut self) -> Result<()> {
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => {
                let made = tokio::task::spawn_blocking(tempfile::tempfile).await;
                let made = made.map_err(|error| failed(&std::io::Error::other(error)))?;
                let file = File::from_std(made.map_err(|error| failed(&error))?);
                Spool { file, bytes: 0 }
            }
        };
        let spool = self.spool.insert(spool);
        spool.bytes += self.frames.len() as u64;
        if spool.bytes > limits::SPOOL_BYTES_MAX {
            let what = format!(
                "the transaction that begins at {} has more than {} bytes of row changes",
                self.start,
                limits::SPOOL_BYTES_MAX
            );
            return Err(Error::permanent(Code::SourceFailed, what));
        }
        let written = spool.file.write_all(&self.frames).await;
        written.map_err(|error| failed(&error))?;
        self.frames = Vec::new();
        Ok(())
    }

    fn length(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.bytes) + self.frames.len() as u64
    }

    pub fn savepoint(&mut self, name: String) {
        self.marks.retain(|(known, _)| *known != name);
        self.marks.push((name, self.length()));
    }

    /// Forgets everything after a savepoint.
    pub fn rollback_to(&mut self, name: &str) -> Result<()> {
        let Some(mark) = self.marks.iter().position(|(known, _)| known == name) else {
            let what = format!(
                "the transaction that begins at {} goes back to a savepoint it doesn't have",
                self.start
            );
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        let length = self.marks[mark].1;
        self.marks.truncate(mark + 1);
        let spooled = self.spool.as_ref().map_or(0, |spool| spool.bytes);
        if length < spooled {
            let what = format!(
                "the transaction that begins at {} goes back to a savepoint before more than {} \
                 bytes of it",
                self.start,
                limits::GROUP_BYTES
            );
            return Err(Error::permanent(Code::NotBuilt, what));
        }
        self.frames.truncate((length - spooled) as usize);
        Ok(())
    }

    pub async fn into_frames(mut self) -> Result<Frames> {
        let spool = match self.spool.take() {
            None => None,
            Some(mut spool) => {
                let flushed = spool.file.flush().await;
                flushed.map_err(|error| failed(&error))?;
                let sought = spool.file.seek(SeekFrom::Start(0)).await;
                sought.map_err(|error| failed(&error))?;
                let reader = BufReader::with_capacity(1 << 18, spool.file);
                Some((reader, spool.bytes))
            }
        };
        Ok(Frames {
            group: self,
            spool,
            at: 0,
            buffer: Vec::new(),
        })
    }
}

impl Frames {
    /// The next event's type and data.
    pub async fn next(&mut self) -> Result<Option<(u8, &[u8])>> {
        if let Some((reader, left)) = &mut self.spool
            && *left > 0
        {
            let mut head = [0; HEAD];
            let read = reader.read_exact(&mut head).await;
            read.map_err(|error| failed(&error))?;
            let length = length_of(&head);
            self.buffer.resize(length, 0);
            let read = reader.read_exact(&mut self.buffer).await;
            read.map_err(|error| failed(&error))?;
            *left = left.saturating_sub((HEAD + length) as u64);
            return Ok(Some((head[0], &self.buffer)));
        }
        let rest = self.group.frames.get(self.at..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = length_of(head);
        self.at += HEAD + length;
        Ok(Some((head[0], rest.get(..length).unwrap_or_default())))
    }
}

fn length_of(head: &[u8; HEAD]) -> usize {
    u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(group: Group) -> Vec<(u8, Vec<u8>)> {
        let mut frames = group.into_frames().await.expect("read");
        let mut found = Vec::new();
        while let Some((kind, data)) = frames.next().await.expect("read") {
            found.push((kind, data.to_vec()));
        }
        found
    }

    #[tokio::test]
    async fn frames_come_back_in_order_from_the_file_and_from_memory() {
        let mut group = Group::new(Point::default());
        group.push(19, b"map");
        group.push(30, b"");
        group.spill().await.expect("written");
        group.push(31, b"rows");
        group.spill().await.expect("written");
        group.push(32, &[7; 100_000]);
        let expected = [
            (19, &b"map"[..]),
            (30, b""),
            (31, b"rows"),
            (32, &[7; 100_000]),
        ];
        let expected: Vec<_> = expected.map(|(k, d)| (k, d.to_vec())).into();
        assert_eq!(all(group).await, expected);
    }

    #[tokio::test]
    async fn what_follows_a_savepoint_is_forgotten() {
        let mut group = Group::new(Point::default());
        group.push(30, b"a");
        group.savepoint("one".to_owned());
        group.push(30, b"b");
        group.savepoint("two".to_owned());
        group.rollback_to("one").expect("in memory");
        group.push(30, b"c");
        assert_eq!(all(group).await, [(30, b"a".to_vec()), (30, b"c".to_vec())]);
    }
}
