//! What each event of the log does to the transaction at hand.

use common::code::Code;
use mysql_common::binlog::consts::{EventFlags, EventType};
use mysql_common::binlog::events::RotateEvent;
use mysql_common::binlog::events::{Event as Raw, FormatDescriptionEvent, GtidEvent, QueryEvent};

use super::compress::uncompress;
use super::ddl::{Meaning, Xid, meaning};
use super::facts::unusable;
use super::group::{Group, Gtid};
use super::position::Point;
use super::rows::{self, Kind};
use super::stream::{End, Stream};
use crate::connector::{Error, Result};

/// MariaDB's own events.
const MARIADB_GTID: u8 = 162;
const MARIADB_QUERY_COMPRESSED: u8 = 165;
/// Flags of a [`MARIADB_GTID`].
const STANDALONE: u8 = 0x01;
const PREPARED_XA: u8 = 0x40;

fn bad(what: &str) -> Error {
    let what = format!("{what} of the log can't be read");
    Error::permanent(Code::SourceFailed, what)
}

impl Stream {
    /// Takes one event.
    pub(super) async fn take(&mut self, event: &Raw) -> Result<()> {
        let header = event.header();
        let (number, data) = (header.event_type_raw(), event.data());
        let inner = !event.footer().get_checksum_enabled();
        let before = self.here.clone();
        if !inner {
            self.move_to(&header);
        }
        match rows::kind(number) {
            Kind::Map => {
                let ours = self.known.note(&self.names, data)?;
                if let (true, Some(group)) = (ours, &mut self.group) {
                    group.push(number, data);
                }
                return Ok(());
            }
            Kind::Rows if self.known.is_ours(data) => {
                let Some(group) = &mut self.group else {
                    let what = format!("rows before {} belong to no transaction", self.here);
                    return Err(Error::permanent(Code::SourceFailed, what));
                };
                group.push(number, data);
                return self.bound().await;
            }
            Kind::Rows => {
                self.idle(false);
                return Ok(());
            }
            Kind::Partial if self.known.is_ours(data) => {
                let what = format!(
                    "the log holds parts of JSON values only, before {}",
                    self.here
                );
                return Err(unusable(what, "SET GLOBAL binlog_row_value_options = ''"));
            }
            Kind::Partial => return Ok(()),
            Kind::Other => {}
        }
        match number {
            MARIADB_GTID => self.mariadb_gtid(before, data, header.server_id()),
            33 | 34 => self.mysql_gtid(before, data),
            42 => self.tagged_gtid(before, event),
            16 => self.end(End::Commit, header.timestamp()).await,
            38 => {
                let (one_phase, xid) = prepared(data).ok_or_else(|| bad("an XA PREPARE"))?;
                let how = match one_phase {
                    true => End::Commit,
                    false => End::Prepare(xid),
                };
                self.end(how, header.timestamp()).await
            }
            2 | MARIADB_QUERY_COMPRESSED => self.query(event).await,
            _ => self.other(event),
        }
    }

    /// Where the next event begins. The header has 32 bits of it.
    fn move_to(&mut self, header: &mysql_common::binlog::events::BinlogEventHeader) {
        let end = u64::from(header.log_pos());
        let made_up = header.flags().contains(EventFlags::LOG_EVENT_ARTIFICIAL_F);
        let heartbeat = header.event_type_raw() == EventType::HEARTBEAT_EVENT as u8;
        // A heartbeat says where the server reads, which may be far from here: it skips events.
        if end == 0 || (made_up && !heartbeat) {
            return;
        }
        let mut offset = (self.here.offset & !0xffff_ffff) | end;
        if offset < self.here.offset && self.here.offset > 0xffff_0000 {
            offset += 1 << 32;
        }
        self.here.offset = self.here.offset.max(offset);
    }

    fn begin(&mut self, start: Point) -> Result<&mut Group> {
        if self.group.is_some() {
            let what =
                format!("a transaction begins at {start} before the one before it has ended");
            return Err(Error::permanent(Code::SourceFailed, what));
        }
        self.idle(false);
        Ok(self.group.insert(Group::new(start)))
    }

    fn mariadb_gtid(&mut self, start: Point, data: &[u8], server: u32) -> Result<()> {
        let number = data.get(..8).and_then(|n| n.try_into().ok());
        let domain = data.get(8..12).and_then(|n| n.try_into().ok());
        let (Some(number), Some(domain), Some(flags)) = (number, domain, data.get(12)) else {
            return Err(bad("a GTID event"));
        };
        let gtid = Gtid::Mariadb(
            u32::from_le_bytes(domain),
            server,
            u64::from_le_bytes(number),
        );
        let group = self.begin(start)?;
        group.gtid = Some(gtid);
        group.begun = flags & STANDALONE == 0;
        group.prepared = flags & PREPARED_XA != 0;
        Ok(())
    }

    fn mysql_gtid(&mut self, start: Point, data: &[u8]) -> Result<()> {
        let (Some(sid), Some(number)) = (data.get(1..17), data.get(17..25)) else {
            return Err(bad("a GTID event"));
        };
        let number = u64::from_le_bytes(number.try_into().map_err(|_| bad("a GTID event"))?);
        let gtid = (number > 0).then(|| Gtid::Mysql(uuid(sid), number));
        // Type, two numbers of 8 bytes, then the time in microseconds, 55 bits of it.
        let micros = data.get(42..49).map(|bytes| {
            let mut whole = [0; 8];
            whole[..7].copy_from_slice(bytes);
            u64::from_le_bytes(whole) & ((1 << 55) - 1)
        });
        let group = self.begin(start)?;
        group.gtid = gtid;
        group.at_ms = micros
            .filter(|micros| *micros > 0)
            .map(|micros| micros / 1_000);
        Ok(())
    }

    fn tagged_gtid(&mut self, start: Point, event: &Raw) -> Result<()> {
        let parsed: GtidEvent = event.read_event().map_err(|_| bad("a GTID event"))?;
        let mut source = uuid(&parsed.sid());
        if let Some(tag) = parsed.tag() {
            source = format!("{source}:{tag}");
        }
        let micros = parsed.immediate_commit_timestamp();
        let group = self.begin(start)?;
        group.gtid = (parsed.gno() > 0).then(|| Gtid::Mysql(source, parsed.gno()));
        group.at_ms = (micros > 0).then_some(micros / 1_000);
        Ok(())
    }

    async fn query(&mut self, event: &Raw) -> Result<()> {
        let plain;
        let header = event.header();
        let data = match header.event_type_raw() {
            MARIADB_QUERY_COMPRESSED => {
                plain = uncompress(MARIADB_QUERY_COMPRESSED, event.data())?.1;
                &plain
            }
            _ => event.data(),
        };
        let ctx = mysql_common::binlog::BinlogCtx::new(19 + data.len(), event.fde(), 2);
        let parsed = mysql_common::io::ParseBuf(data).parse::<QueryEvent<'_>>(ctx);
        let query = parsed.map_err(|_| bad("a statement"))?;
        let (schema, sql) = (query.schema(), query.query());
        let means = meaning(&self.names, &schema, &sql);
        let seconds = header.timestamp();
        match means {
            Meaning::Begin => {
                if let Some(group) = &mut self.group {
                    group.begun = true;
                    return Ok(());
                }
                // A log without GTID events.
                let here = self.here.clone();
                self.begin(here)?.begun = true;
                Ok(())
            }
            Meaning::Commit => self.end(End::Commit, seconds).await,
            Meaning::Rollback => self.end(End::Rollback, seconds).await,
            Meaning::XaCommit(xid) => self.end_xa(End::XaCommit(xid), seconds).await,
            Meaning::XaRollback(xid) => self.end_xa(End::XaRollback(xid), seconds).await,
            Meaning::Savepoint(name) => {
                if let Some(group) = &mut self.group {
                    group.savepoint(name);
                }
                Ok(())
            }
            Meaning::RollbackTo(name) => match &mut self.group {
                Some(group) => group.rollback_to(&name),
                None => Ok(()),
            },
            meaning if self.group.as_ref().is_some_and(|group| group.begun) => match meaning {
                Meaning::Nothing => Ok(()),
                _ if self.is_old() => Ok(()),
                Meaning::Truncate(table) => {
                    if let Some(group) = &mut self.group {
                        group.push(rows::TRUNCATE, &u64::from(table.0).to_le_bytes());
                    }
                    Ok(())
                }
                Meaning::Statement => self.statement(meaning, &sql, seconds),
                _ => {
                    let words: String = sql.chars().take(200).collect();
                    let what = format!(
                        "a table of the job was made again within a transaction, before {}: {words}",
                        self.here
                    );
                    Err(Error::permanent(Code::SchemaDrift, what))
                }
            },
            meaning => self.statement(meaning, &sql, seconds),
        }
    }

    async fn end_xa(&mut self, how: End, seconds: u32) -> Result<()> {
        if self.group.is_none() {
            let here = self.here.clone();
            self.begin(here)?;
        }
        self.end(how, seconds).await
    }

    fn other(&mut self, event: &Raw) -> Result<()> {
        let header = event.header();
        match header.event_type_raw() {
            // The server began a new file after a restart: what it hadn't finished, it rolled back.
            15 => {
                let parsed = event.read_event::<FormatDescriptionEvent<'_>>();
                let parsed = parsed.map_err(|_| bad("a format description"))?;
                self.fde = Some(parsed.into_owned().with_footer(event.footer()));
                self.known.forget();
                self.group = None;
                Ok(())
            }
            4 => self.rotate(event),
            27 => {
                self.idle(true);
                Ok(())
            }
            26 => {
                let what = format!(
                    "the server says before {} that changes are missing in its log (incident)",
                    self.here
                );
                Err(Error::permanent(Code::LogLost, what))
            }
            // Stop, values for statements, previous GTIDs, text of statements, group replication;
            // MariaDB: the same and its checkpoints, GTID lists, encryption.
            3 | 5 | 13 | 14 | 28 | 29 | 35 | 36 | 37 | 40 | 41 | 160 | 161 | 163 | 164 => Ok(()),
            17 | 18 => {
                let what = format!("the log holds a LOAD DATA statement, before {}", self.here);
                Err(unusable(what, "SET GLOBAL binlog_format = 'ROW'"))
            }
            _ if header.flags().contains(EventFlags::LOG_EVENT_IGNORABLE_F) => Ok(()),
            number => {
                let what = format!(
                    "the log holds an event of type {number} before {}, which isn't known",
                    self.here
                );
                Err(Error::permanent(Code::NotBuilt, what))
            }
        }
    }

    fn rotate(&mut self, event: &Raw) -> Result<()> {
        // The first one names the file that was asked for, with a checksum nobody announced.
        if self.fde.is_none() {
            return Ok(());
        }
        let parsed = event.read_event::<RotateEvent<'_>>();
        let parsed = parsed.map_err(|_| bad("a rotation"))?;
        let file = parsed.name().into_owned();
        if file != self.here.file {
            self.here = Point::new(file, parsed.position());
        }
        Ok(())
    }
}

/// Whether it is committed at once, and the name, of XA_PREPARE.
fn prepared(data: &[u8]) -> Option<(bool, Xid)> {
    let number = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let (gtrid, bqual) = (number(5)? as usize, number(9)? as usize);
    let xid = Xid {
        format: i64::from(number(1)? as i32),
        gtrid: data.get(13..13 + gtrid)?.to_vec(),
        bqual: data.get(13 + gtrid..13 + gtrid + bqual)?.to_vec(),
    };
    Some((*data.first()? != 0, xid))
}

fn uuid(sid: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(36);
    for (at, byte) in sid.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}
