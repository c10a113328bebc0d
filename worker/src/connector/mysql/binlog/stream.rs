//! Events of the log to whole transactions. What was read up to the position that is resumed from
//! is passed over, but prepared XA groups are kept until they are ended, so reading may have to
//! begin before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use common::change::{LogOrder, Op, Position};
use common::code::Code;
use common::id::Millis;
use common::limits;
use mysql_common::binlog::events::{Event as Raw, FormatDescriptionEvent};

use super::ddl::{Meaning, Names, Xid};
use super::facts::unusable;
use super::group::{Frames, Group, Gtid};
use super::position::{Place, Point};
use super::rows::{Known, Rows};
use super::source::Source;
use crate::connector::changes::{ChangeStream, Drift, Event, Origin};
use crate::connector::{Error, Result};

/// How often a position is said while nothing of ours happens.
const IDLE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Stream {
    pub(super) source: Source,
    pub(super) names: Arc<Names>,
    pub(super) known: Known,
    pub(super) fde: Option<FormatDescriptionEvent<'static>>,
    /// Where the event after the one at hand begins.
    pub(super) here: Point,
    /// What is confirmed by it is not delivered again.
    after: Place,
    /// The state beyond the last transaction that was read.
    place: Place,
    pub(super) group: Option<Group>,
    held: HashMap<Xid, Group>,
    rows: Rows,
    replay: Option<Replay>,
    out: VecDeque<Event>,
    said: Instant,
    said_order: LogOrder,
    ended: bool,
}

/// A committed transaction on its way out.
struct Replay {
    frames: Frames,
    commit: Event,
}

impl Stream {
    pub fn new(names: Arc<Names>, source: Source, rows: Rows, after: Place) -> Stream {
        Stream {
            source,
            names,
            known: Known::default(),
            fde: None,
            here: after.start().clone(),
            place: after.clone(),
            after,
            group: None,
            held: HashMap::new(),
            rows,
            replay: None,
            out: VecDeque::new(),
            said: Instant::now(),
            said_order: LogOrder::default(),
            ended: false,
        }
    }

    /// Whether what ends here was dealt with before.
    pub(super) fn is_old(&self) -> bool {
        self.here.order() <= self.after.point.order()
    }

    /// The group at hand ends with `how`, logged at `seconds`.
    pub(super) async fn end(&mut self, how: End, seconds: u32) -> Result<()> {
        let Some(group) = self.group.take() else {
            let what = format!("a transaction ends at {} that didn't begin", self.here);
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        self.count(group.gtid.as_ref(), seconds);
        match how {
            End::Commit => self.commit(group, seconds).await,
            End::Rollback => Ok(()),
            End::Prepare(xid) => {
                self.held.insert(xid, group);
                self.look_back();
                Ok(())
            }
            End::XaCommit(xid) => match self.held.remove(&xid) {
                Some(mut prepared) => {
                    prepared.at_ms = group.at_ms;
                    self.look_back();
                    self.commit(prepared, seconds).await
                }
                None => self.unknown(&xid),
            },
            End::XaRollback(xid) => {
                self.held.remove(&xid);
                self.look_back();
                Ok(())
            }
        }
    }

    /// Moves the place beyond a transaction.
    fn count(&mut self, gtid: Option<&Gtid>, seconds: u32) {
        if self.is_old() {
            return;
        }
        self.place.point = self.here.clone();
        if seconds > 0 {
            self.place.at = u64::from(seconds);
        }
        match (gtid, &mut self.place.executed) {
            (Some(Gtid::Mariadb(domain, server, number)), Some(executed)) => {
                executed.add_mariadb(*domain, *server, *number);
            }
            (Some(Gtid::Mysql(source, number)), Some(executed)) => {
                executed.add_mysql(source, *number);
            }
            _ => {}
        }
    }

    /// Sets where reading must begin again: at the oldest prepared group that matters.
    fn look_back(&mut self) {
        let matters = |group: &&Group| !group.is_empty() || self.place.given;
        let starts = self.held.values().filter(matters).map(|group| &group.start);
        self.place.from = starts.min_by_key(|start| start.order()).cloned();
    }

    /// All prepared groups since P0 were seen, and those before it were waited out: the rows of one
    /// that wasn't seen are in the copy. Not so where the user says where to begin.
    fn unknown(&self, xid: &Xid) -> Result<()> {
        if !self.place.given || self.is_old() {
            return Ok(());
        }
        let what = format!(
            "the XA transaction {xid} is committed before {}, and was prepared before the position \
             that was given with --from: begin before that",
            self.here
        );
        Err(Error::permanent(Code::LogLost, what))
    }

    async fn commit(&mut self, group: Group, seconds: u32) -> Result<()> {
        if self.is_old() || group.is_empty() {
            return Ok(());
        }
        let at = Millis(group.at_ms.unwrap_or_else(|| logged(seconds)));
        self.out.push_back(Event::Begin(Origin {
            xid: 0,
            order: self.here.order(),
        }));
        let commit = Event::Commit {
            position: self.place.position(),
            at,
        };
        self.said_order = self.here.order();
        self.said = Instant::now();
        let frames = group.into_frames().await?;
        self.replay = Some(Replay { frames, commit });
        self.decode().await
    }

    /// Goes on with the transaction on its way out until something of it can be given.
    async fn decode(&mut self) -> Result<()> {
        let (Some(replay), Some(fde)) = (&mut self.replay, &self.fde) else {
            return Ok(());
        };
        let before = self.out.len();
        while self.out.len() <= before {
            let Some((number, data)) = replay.frames.next().await? else {
                self.out.extend(self.rows.finish().map(Event::Rows));
                self.out
                    .extend(self.replay.take().map(|replay| replay.commit));
                return Ok(());
            };
            let full = self.rows.take(fde, number, data)?;
            self.out.extend(full.map(Event::Rows));
        }
        Ok(())
    }

    /// A statement that stands alone and is about our tables.
    pub(super) fn statement(&mut self, meaning: Meaning, sql: &str, seconds: u32) -> Result<()> {
        let gtid = self.group.take().and_then(|group| group.gtid);
        self.count(gtid.as_ref(), seconds);
        if self.is_old() {
            return Ok(());
        }
        match meaning {
            Meaning::Truncate(table) => {
                let (order, at) = (self.here.order(), Millis(logged(seconds)));
                self.out.push_back(Event::Begin(Origin { xid: 0, order }));
                let mut batch = self.rows.empty(table);
                batch.ops.push(Op::Truncate);
                self.out.push_back(Event::Rows(batch));
                let position = self.place.position();
                self.out.push_back(Event::Commit { position, at });
            }
            Meaning::Drift(table) => {
                self.out.push_back(Event::Drift(Drift {
                    position: self.place.position(),
                    table,
                    name: table.map_or_else(
                        || "several tables".to_owned(),
                        |table| self.rows.name(table),
                    ),
                    statement: sql.to_owned(),
                }));
                self.ended = true;
            }
            Meaning::Statement => {
                let words: String = sql.chars().take(200).collect();
                let what = format!(
                    "the log holds a statement in place of the rows it changed, before {}: {words}",
                    self.here
                );
                return Err(unusable(what, "SET GLOBAL binlog_format = 'ROW'"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Says how far the log was read, when it is time to, or where it ends (`at_end`).
    pub(super) fn idle(&mut self, at_end: bool) {
        if self.group.is_some() || self.here.order() < self.after.point.order() {
            return;
        }
        let moved = self.here.order() > self.said_order;
        if !(at_end && moved) && self.said.elapsed() < IDLE {
            return;
        }
        self.place.point = self.here.clone();
        self.said = Instant::now();
        self.said_order = self.here.order();
        let position = self.place.position();
        self.out.push_back(Event::Idle { position });
    }

    /// Keeps what is in memory within its bound.
    pub(super) async fn bound(&mut self) -> Result<()> {
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        // The others were spilled when they were at hand, if they were large.
        let held: usize = match group.in_memory() > limits::GROUP_BYTES / 8 {
            true => self.held.values().map(Group::in_memory).sum(),
            false => return Ok(()),
        };
        match group.in_memory() + held > limits::GROUP_BYTES {
            true => group.spill().await,
            false => Ok(()),
        }
    }
}

/// How a group ends.
pub(super) enum End {
    Commit,
    Rollback,
    Prepare(Xid),
    XaCommit(Xid),
    XaRollback(Xid),
}

/// The log has seconds: the middle of it, but not what is still to come.
fn logged(seconds: u32) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(u64::MAX, |now| now.as_millis() as u64);
    (u64::from(seconds) * 1_000 + 500).min(now)
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Ok(event);
            }
            if self.replay.is_some() {
                self.decode().await?;
                continue;
            }
            if self.ended {
                let what = "the stream of changes is read beyond a drift";
                return Err(Error::permanent(Code::Internal, what));
            }
            let event: Raw = self.source.next().await?;
            self.take(&event).await?;
        }
    }

    /// The server keeps its log as it likes.
    async fn confirm(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
}
