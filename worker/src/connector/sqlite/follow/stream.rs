//! The stream: looks whether the file was written to (`PRAGMA data_version`, which costs next to
//! nothing), and delivers what was logged since as one transaction. See `window` for what that is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use common::change::{LogOrder, Position};
use common::code::{Code, ErrorClass};
use common::id::Millis;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::keyless::{InOne, Taker, deliver};
use super::look;
use super::place::Place;
use super::watch::{CHANGES, LOG, Watch};
use super::window::{Filling, Gone, Sink, Span, Touched, keyed, touched};
use super::{cookie, is_logged, last, lost, open, watches};
use crate::connector::changes::{Drift, Event};
use crate::connector::sqlite::is_wide;
use crate::connector::sqlite::session::{Access, Session, args, cell};
use crate::connector::{ChangeStream, Error, Result, StreamRequest};

/// Events between the reading task and the caller.
const EVENTS_WAITING: usize = 2;
/// How often a file is asked, while it is written to and while it isn't.
const PAUSE_MS: u64 = 20;
const PAUSE_IDLE_MS: u64 = 100;
/// How long nothing must have happened for the longer one.
const IDLE_AFTER: Duration = Duration::from_secs(2);
const IDLE_EVERY: Duration = Duration::from_secs(1);
/// How often confirmed entries are removed, how many at once, and how long a writer of the file may
/// have to be waited for.
const REMOVE_EVERY: Duration = Duration::from_millis(500);
const REMOVE_AT_ONCE: u32 = 4_000;
const REMOVE_ROUNDS: u32 = 8;
const REMOVE_WAIT_MS: u64 = 20;

/// See [`ChangeStream`]. The task dies with it.
pub struct Stream {
    path: PathBuf,
    job: String,
    events: mpsc::Receiver<Event>,
    task: Option<AbortOnDropHandle<Result<()>>>,
    cleaner: Option<Session>,
    /// What the target has for good, and how much of it is removed.
    confirmed: u64,
    removed: u64,
    removed_at: Option<Instant>,
}

impl Stream {
    pub async fn start(path: &Path, request: StreamRequest) -> Result<Stream> {
        let place = Place::parse(&request.after.text)?;
        let mut session = open(path, Access::Read).await?;
        let wide = is_wide(&mut session).await?;
        let watches = watches(&request.tables)?;
        let job = request.job.0.clone();
        let follower = Follower {
            path: path.to_owned(),
            inode: inode(path).await?,
            request,
            watches,
            wide,
            place,
            job: 0,
        };
        let (sender, events) = mpsc::channel(EVENTS_WAITING);
        let task = tokio::spawn(follower.run(session, sender));
        Ok(Stream {
            path: path.to_owned(),
            job,
            events,
            task: Some(AbortOnDropHandle::new(task)),
            cleaner: None,
            confirmed: 0,
            removed: 0,
            removed_at: None,
        })
    }

    /// Removes some of what is confirmed, now and then; the rest is removed later.
    async fn tidy(&mut self) -> Result<()> {
        let due = self
            .removed_at
            .is_none_or(|at| at.elapsed() >= REMOVE_EVERY);
        if self.confirmed <= self.removed || !due {
            return Ok(());
        }
        self.removed_at = Some(Instant::now());
        match self.remove(self.confirmed).await {
            // A writer was in the way, or there is no space to write down what is removed.
            Err(error)
                if error.class == ErrorClass::Transient
                    || error.failure.code == Code::TargetFull =>
            {
                self.cleaner = None;
                Ok(())
            }
            done => done,
        }
    }

    /// Removes entries that nobody needs; the last one stays whatever it is.
    async fn remove(&mut self, upto: u64) -> Result<()> {
        if self.cleaner.is_none() {
            let mut session = open(&self.path, Access::Write).await?;
            let sql = format!("PRAGMA busy_timeout = {REMOVE_WAIT_MS}");
            session.rows(&sql, args([])).await?;
            // What a power failure brings back is removed again.
            session
                .rows("PRAGMA synchronous = NORMAL", args([]))
                .await?;
            self.cleaner = Some(session);
        }
        let Some(session) = &mut self.cleaner else {
            return Ok(());
        };
        for _ in 0..REMOVE_ROUNDS {
            session.begin_write(0).await?;
            let sql = format!(
                "DELETE FROM {CHANGES} WHERE id IN (SELECT id FROM {CHANGES} \
                 WHERE job = (SELECT no FROM {LOG} WHERE job = ?) AND id <= {upto} \
                 AND id < (SELECT max(id) FROM {CHANGES}) ORDER BY id LIMIT {REMOVE_AT_ONCE})"
            );
            let removed = session.run(&sql, args([&self.job])).await?;
            if removed > 0 {
                let sql = format!("UPDATE {LOG} SET purged = max(purged, {upto}) WHERE job = ?");
                session.quick(&sql, args([&self.job])).await?;
            }
            session.commit().await?;
            if removed < u64::from(REMOVE_AT_ONCE) {
                self.removed = upto;
                break;
            }
        }
        Ok(())
    }
}

async fn inode(path: &Path) -> Result<u64> {
    match tokio::fs::metadata(path).await {
        Ok(found) => Ok(found.ino()),
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            Err(Error::transient(Code::SourceFailed, what))
        }
    }
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<Event> {
        self.tidy().await?;
        if let Some(event) = self.events.recv().await {
            return Ok(event);
        }
        let ended = match self.task.take() {
            None => Ok(Ok(())),
            Some(task) => task.await,
        };
        match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Err(Error::permanent(Code::Internal, "the stream has ended")),
            Err(error) => {
                let what = format!("the following task ended: {error}");
                Err(Error::permanent(Code::Internal, what))
            }
        }
    }

    async fn confirm(&mut self, position: &Position) -> Result<()> {
        let upto = Place::parse(&position.text)?.id;
        self.confirmed = self.confirmed.max(upto);
        self.tidy().await
    }
}

/// The reading task.
struct Follower {
    path: PathBuf,
    inode: u64,
    request: StreamRequest,
    watches: Vec<Watch>,
    wide: bool,
    place: Place,
    /// The job's number in the log.
    job: i64,
}

/// What a look at the log came to.
enum Looked {
    Delivered,
    Nothing,
    /// Nothing more comes: a drift was told, or nobody listens.
    Ended,
}

impl Follower {
    async fn run(mut self, mut session: Session, out: mpsc::Sender<Event>) -> Result<()> {
        let ended = self.follow(&mut session, &out).await;
        session.close().await;
        ended
    }

    async fn follow(&mut self, session: &mut Session, out: &mpsc::Sender<Event>) -> Result<()> {
        look::check_readable(session, &self.watches).await?;
        let mut version = None;
        let mut told: Option<Instant> = None;
        let mut busy_at = Instant::now();
        loop {
            let now = session.number("PRAGMA data_version", args([])).await?;
            if now != version {
                version = now;
                session.begin_read().await?;
                let looked = self.look(session, out).await?;
                session.commit().await?;
                match looked {
                    Looked::Ended => return Ok(()),
                    Looked::Delivered => {
                        busy_at = Instant::now();
                        told = None;
                        continue;
                    }
                    Looked::Nothing => {}
                }
            }
            if told.is_none_or(|at| at.elapsed() >= IDLE_EVERY) {
                told = Some(Instant::now());
                if inode(&self.path).await? != self.inode {
                    let what = format!("{}: another file took its place", self.path.display());
                    return Err(Error::transient(Code::SourceFailed, what));
                }
                let position = self.place.position();
                if out.send(Event::Idle { position }).await.is_err() {
                    return Ok(());
                }
            }
            if out.is_closed() {
                return Ok(());
            }
            let idle = busy_at.elapsed() >= IDLE_AFTER;
            sleep(Duration::from_millis(if idle {
                PAUSE_IDLE_MS
            } else {
                PAUSE_MS
            }))
            .await;
        }
    }

    /// Delivers what the open transaction sees beyond our place.
    async fn look(&mut self, session: &mut Session, out: &mpsc::Sender<Event>) -> Result<Looked> {
        self.check_log(session).await?;
        let upto = last(session).await?;
        if upto < self.place.id {
            let why = format!("its change log ends at {upto}, before {}", self.place.id);
            return Err(lost(&self.path, &why));
        }
        let cookie = cookie(session).await?;
        if self.place.cookie != Some(cookie)
            && let Some(drift) = self.check_schema(session, cookie).await?
        {
            // Nobody hearing it is no matter: it is found again.
            let _ = out.send(Event::Drift(drift)).await;
            return Ok(Looked::Ended);
        }
        let beyond = Place {
            id: upto,
            cookie: self.place.cookie,
            replay: None,
        };
        if upto == self.place.id {
            self.place = beyond;
            return Ok(Looked::Nothing);
        }
        match self.deliver(session, upto, &beyond, out).await? {
            Ok(true) => Ok(Looked::Delivered),
            Ok(false) => Ok(Looked::Nothing),
            Err(Gone) => Ok(Looked::Ended),
        }
    }

    /// That it is the log we know, and that it still holds what comes next.
    async fn check_log(&mut self, session: &mut Session) -> Result<()> {
        if !is_logged(session).await? {
            return Err(lost(&self.path, "its change table is gone"));
        }
        let sql = format!("SELECT no, identity, purged FROM {LOG} WHERE job = ?");
        let Some(row) = session.row(&sql, args([&self.request.job.0])).await? else {
            return Err(lost(&self.path, "its changes are not logged for this job"));
        };
        let (identity, purged): (String, i64) = (cell(&row, 1)?, cell(&row, 2)?);
        if identity != self.request.identity {
            let what = format!(
                "{} is another file than the one copied",
                self.path.display()
            );
            return Err(Error::permanent(Code::SourceOther, what));
        }
        if purged.unsigned_abs() > self.place.id {
            let (id, path) = (self.place.id, &self.path);
            return Err(lost(
                path,
                &format!("changes from {id} to {purged} were removed"),
            ));
        }
        self.job = cell(&row, 0)?;
        Ok(())
    }

    /// The schema is another than at our place: are the tables?
    async fn check_schema(&mut self, session: &mut Session, cookie: i64) -> Result<Option<Drift>> {
        if let Some((table, statement)) = look::drifted(session, &self.watches).await? {
            // From here on with the tables as they are now: rows that were changed since the
            // statement are delivered with whatever columns the next stream reads.
            let place = Place {
                cookie: Some(cookie),
                ..self.place.clone()
            };
            return Ok(Some(Drift {
                position: place.position(),
                table: Some(table),
                name: self.watches[table.0 as usize].table.name.clone(),
                statement,
            }));
        }
        self.place.cookie = Some(cookie);
        let uid = &self.request.job;
        if !look::triggers_stand(session, &self.watches, &uid.0, self.job).await? {
            let mut writer = open(&self.path, Access::Write).await?;
            let after = self.place.id;
            let renewed = look::renew(&mut writer, &self.watches, uid, self.job, after).await;
            writer.close().await;
            renewed?;
        }
        Ok(None)
    }

    async fn deliver(
        &mut self,
        session: &mut Session,
        upto: u64,
        beyond: &Place,
        out: &mpsc::Sender<Event>,
    ) -> Result<std::result::Result<bool, Gone>> {
        let span = Span {
            job: self.job,
            after: self.place.id,
            upto,
            wide: self.wide,
            replay: self.place.replay.is_some(),
        };
        let touched = touched(session, &span).await?;
        let at = Millis(touched.iter().map(|touched| touched.at).max().unwrap_or(0));
        if let Err(gone) = self.replay(session, &span, &touched, at, out).await? {
            return Ok(Err(gone));
        }
        let mut sink = Sink {
            out,
            order: LogOrder(0, upto),
            begun: false,
        };
        for touched in &touched {
            let no = touched.table as usize;
            let (Some(watch), Some(plan)) = (self.watches.get(no), self.request.tables.get(no))
            else {
                continue;
            };
            let done = match watch.is_keyless() {
                false => keyed(session, &span, watch, plan, touched, &mut sink).await?,
                true if self.place.replay.is_some() => Ok(()),
                true => {
                    let mut taker = InOne(&mut sink);
                    match deliver(session, &span, watch, plan, touched.table, &mut taker).await? {
                        Ok(mut rest) => sink.rows(rest.take()).await,
                        Err(gone) => Err(gone),
                    }
                }
            };
            if let Err(gone) = done {
                return Ok(Err(gone));
            }
        }
        let begun = sink.begun;
        if begun {
            let position = beyond.position();
            if let Err(gone) = sink.say(Event::Commit { position, at }).await {
                return Ok(Err(gone));
            }
        }
        self.place = beyond.clone();
        Ok(Ok(begun))
    }

    /// In the first pass, tables without a key were read in snapshots that lie anywhere in the span,
    /// each its own: so their changes are told one by one, each with its own place in the log.
    async fn replay(
        &mut self,
        session: &mut Session,
        span: &Span,
        touched: &[Touched],
        at: Millis,
        out: &mpsc::Sender<Event>,
    ) -> Result<std::result::Result<(), Gone>> {
        let Some(done) = self.place.replay.clone() else {
            return Ok(Ok(()));
        };
        for touched in touched {
            let table = touched.table;
            let (Some(watch), Some(plan)) = (
                self.watches.get(table as usize),
                self.request.tables.get(table as usize),
            ) else {
                continue;
            };
            if !watch.is_keyless() {
                continue;
            }
            let span = Span {
                after: done.get(&table).copied().unwrap_or(0).max(span.after),
                ..*span
            };
            let mut taker = Singly {
                out,
                place: &mut self.place,
                table,
                at,
            };
            if let Err(gone) = deliver(session, &span, watch, plan, table, &mut taker).await? {
                return Ok(Err(gone));
            }
        }
        Ok(Ok(()))
    }
}

/// Each change in a transaction of its own.
struct Singly<'a> {
    out: &'a mpsc::Sender<Event>,
    place: &'a mut Place,
    table: u32,
    at: Millis,
}

impl Taker for Singly<'_> {
    async fn take(&mut self, id: u64, filling: &mut Filling) -> std::result::Result<(), Gone> {
        self.place
            .replay
            .get_or_insert_default()
            .insert(self.table, id);
        let mut sink = Sink {
            out: self.out,
            order: LogOrder(0, id),
            begun: false,
        };
        sink.rows(filling.take()).await?;
        let commit = Event::Commit {
            position: self.place.position(),
            at: self.at,
        };
        sink.say(commit).await
    }
}
