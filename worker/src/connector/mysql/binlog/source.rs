//! One session that receives a server's log, event by event; knows nothing of what is in them.

use std::time::Duration;

use common::code::{Code, ErrorClass};
use common::id::JobUid;
use common::limits;
use futures::{FutureExt, StreamExt};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use mysql_common::binlog::consts::{BinlogChecksumAlg, EventFlags, EventType};
use mysql_common::binlog::events::Event;
use tokio::time::timeout;

use super::log::{self, replica_id, replica_uuid};
use super::position::Point;
use crate::connector::mysql::error::classify;
use crate::connector::mysql::session::Session;
use crate::connector::{Error, Result, Role};

/// See the module. Dropping it closes the connection; the server notices at its next heartbeat.
pub struct Source {
    stream: BinlogStream,
    name: String,
}

impl Source {
    /// Asks for everything from `start` on.
    pub async fn open(session: Session, name: &str, job: &JobUid, start: &Point) -> Result<Source> {
        if start.offset > u64::from(u32::MAX) {
            let what = format!(
                "{start} is beyond 4 GiB of its file, where the protocol can't resume: a single \
                 transaction made it that long"
            );
            return Err(Error::permanent(Code::LogLost, what));
        }
        let mut conn = session.into_conn()?;
        let heartbeat = limits::LOG_HEARTBEAT_MS * 1_000_000;
        let uuid = replica_uuid(job);
        // Old and new names: which one is read depends on the server. Without capability 4 MariaDB
        // rewrites its events for a replica that knows less, and fails at that (measured).
        let settings = format!(
            "SET @mariadb_slave_capability = 4, @master_heartbeat_period = {heartbeat}, \
             @source_heartbeat_period = {heartbeat}, @slave_uuid = '{uuid}', \
             @replica_uuid = '{uuid}', @source_binlog_checksum = 'ALL'"
        );
        let request = BinlogStreamRequest::new(replica_id(job))
            .with_hostname(b"sterna")
            .with_filename(start.file.as_bytes())
            .with_pos(start.offset);
        let opened = timeout(
            Duration::from_millis(limits::STATEMENT_DEADLINE_MS),
            async {
                conn.query_drop(settings).await?;
                conn.get_binlog_stream(request).await
            },
        )
        .await;
        match opened {
            Ok(Ok(stream)) => Ok(Source {
                stream,
                name: name.to_owned(),
            }),
            Ok(Err(error)) => Err(classify(&error, name, Role::Source).error),
            Err(_) => {
                let what = format!("{name}: no answer in time to the request for its binary log");
                Err(Error::transient(Code::Unreachable, what))
            }
        }
    }

    /// The next event, checked against its checksum.
    pub async fn next(&mut self) -> Result<Event> {
        // Most events are there already: no timer for them.
        let event = match self.stream.next().now_or_never() {
            Some(event) => event,
            None => {
                let silence = Duration::from_millis(limits::LOG_SILENCE_MS);
                let Ok(event) = timeout(silence, self.stream.next()).await else {
                    let what = format!("{}: its binary log is silent", self.name);
                    return Err(Error::transient(Code::Unreachable, what));
                };
                event
            }
        };
        match event {
            Some(Ok(event)) => {
                self.verify(&event)?;
                Ok(event)
            }
            Some(Err(error)) => Err(self.failed(&error)),
            None => {
                let what = format!("{}: the server ended the stream of its log", self.name);
                Err(Error::transient(Code::Unreachable, what))
            }
        }
    }

    fn failed(&self, error: &mysql_async::Error) -> Error {
        let failed = classify(error, &self.name, Role::Source);
        let mysql_async::Error::Server(server) = error else {
            return failed.error;
        };
        match log::refused(server.code, &server.message) {
            Some(mut failure) => {
                failure.what = format!("{}: {}", self.name, failure.what);
                // A server that is going down, or another session of this job.
                let passing = ["slave with the same", "replica with the same", "shutdown"];
                let class = match passing.iter().any(|words| server.message.contains(words)) {
                    true => ErrorClass::Transient,
                    false => ErrorClass::Permanent,
                };
                Error { class, failure }
            }
            None => failed.error,
        }
    }

    fn verify(&self, event: &Event) -> Result<()> {
        let (header, footer) = (event.header(), event.footer());
        let made_up = header.flags().contains(EventFlags::LOG_EVENT_ARTIFICIAL_F);
        // Events inside a compressed transaction have none; a format description has one of its own.
        if made_up
            || !footer.get_checksum_enabled()
            || header.event_type_raw() == EventType::FORMAT_DESCRIPTION_EVENT as u8
            || header.event_type_raw() == EventType::HEARTBEAT_EVENT as u8
        {
            return Ok(());
        }
        let crc = BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32;
        if footer.get_checksum_alg().ok().flatten() != Some(crc) {
            return Ok(());
        }
        let found = event.calc_checksum(crc).to_le_bytes();
        if event.checksum().is_some_and(|checksum| checksum != found) {
            let what = format!(
                "{}: an event that ends at {} of its log file doesn't match its checksum",
                self.name,
                header.log_pos()
            );
            return Err(Error::transient(Code::SourceFailed, what));
        }
        Ok(())
    }
}
