//! PostgreSQL's changes: a publication and a slot ([`slot`]), the replication connection ([`feed`]),
//! its messages ([`message`]) as rows of the plan's tables ([`table`], [`cell`], [`gather`]).
//!
//! The server sends transactions whole, in the order of their commits, each when it has committed;
//! prepared ones when that is decided. Only the end of a transaction is a position.

pub mod catalog;
pub mod cell;
pub mod facts;
mod feed;
pub mod fetch;
mod gather;
mod message;
pub mod place;
pub mod slot;
pub mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use common::change::{ChangeBatch, LogOrder, Position};
use common::code::Code;
use common::id::{Millis, TableNo};
use common::limits;
use common::plan::TablePlan;
use common::schema::{CellForm, Member};
use pgwire_replication::client::ReplicationEvent;
use tokio::time::Instant;

use self::catalog::{Catalog, Name};
use self::feed::{Feed, Start};
use self::gather::Gather;
use self::message::{Message, Relation};
use self::place::Identity;
use self::table::{Mismatch, Table};
use super::session::Host;
use crate::connector::changes::{Drift, Event};
use crate::connector::{ChangeStream, Error, Origin, Result, StreamRequest};

/// PostgreSQL counts microseconds from the year 2000.
const EPOCH_MS: i64 = 946_684_800_000;
/// How often a quiet stream says that it is.
const QUIET: Duration = Duration::from_secs(1);
/// How long the stream waits for more before it says that it reached the log's end.
const AT_END: Duration = Duration::from_millis(2);
/// A silent server is asked whether it still has us after this time.
const SILENCE: Duration = Duration::from_secs(30);

/// See [`ChangeStream`].
pub struct Stream {
    feed: Feed,
    catalog: Catalog,
    default_schema: String,
    tables: Vec<TablePlan>,
    slot: String,
    money_digits: u8,
    relations: BTreeMap<u32, Known>,
    open: Option<Open>,
    gather: Gather,
    ready: VecDeque<Event>,
    /// Everything before it was delivered or is nothing of ours.
    position: u64,
    /// It moved since it was last told.
    is_news: bool,
    after: u64,
    heard: Instant,
    /// When the last event was passed on.
    told: Instant,
}

/// What a relation of the log is to us.
#[derive(Debug)]
enum Known {
    Table(Box<Table>),
    /// Rows of it can't be passed on.
    Drifted {
        table: Option<TableNo>,
        name: String,
        statement: String,
    },
    Refused(Error),
}

/// The transaction whose messages come.
#[derive(Debug)]
struct Open {
    origin: Origin,
    /// It is in the target.
    is_old: bool,
    /// Its beginning was passed on.
    is_begun: bool,
}

/// See [`crate::connector::Connector::changes`].
pub async fn open(host: &Host, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
    let wanted = Identity::parse(&request.identity)?;
    let mut session = catalog::open(host).await?;
    let found = slot::identity(&mut session, host, &wanted.slot).await?;
    wanted.check(&found, &host.name)?;
    let LogOrder(_, after) = request.after.order;
    slot::check(&mut session, &wanted.slot, after).await?;
    let names = request.tables.iter().map(|plan| {
        let schema = host.schema_of(plan.source.schema.as_deref());
        super::quote::qualified(schema, &plan.source.name)
    });
    let names: Vec<String> = names.collect();
    slot::check_publication(&mut session, &wanted.slot, &names).await?;
    let native = |plan: &TablePlan| plan.form == CellForm::Native;
    let start = Start {
        host,
        identity: &wanted,
        publication: &wanted.slot,
        from: after,
    };
    let feed = Feed::open(start, &mut session).await?;
    let mut catalog = Catalog::new(host, session);
    let money_digits = match request.tables.iter().all(native) {
        true => 2,
        false => catalog.money_digits().await?,
    };
    Ok(Box::new(Stream {
        feed,
        catalog,
        default_schema: host.schema.clone(),
        tables: request.tables,
        slot: wanted.slot,
        money_digits,
        relations: BTreeMap::new(),
        open: None,
        gather: Gather::default(),
        ready: VecDeque::new(),
        position: after,
        is_news: false,
        after,
        heard: Instant::now(),
        told: Instant::now(),
    }))
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.told = Instant::now();
                return Ok(event);
            }
            // Keepalives of a server that waits to hear more from us come more often than that.
            if self.open.is_none() && self.told.elapsed() >= QUIET {
                return Ok(self.idle());
            }
            let wait = match self.is_news && self.open.is_none() {
                true => AT_END,
                false => QUIET,
            };
            match self.feed.next(wait).await? {
                Some(event) => {
                    self.heard = Instant::now();
                    self.take(event).await?;
                }
                None => {
                    self.is_there().await?;
                    if self.open.is_none() {
                        return Ok(self.idle());
                    }
                }
            }
        }
    }

    async fn confirm(&mut self, position: &Position) -> Result<()> {
        self.feed.confirm(position.order.1);
        Ok(())
    }
}

impl Stream {
    async fn take(&mut self, event: ReplicationEvent) -> Result<()> {
        match event {
            ReplicationEvent::Begin { final_lsn, xid, .. } => {
                let commit = final_lsn.as_u64();
                self.open = Some(Open {
                    origin: Origin {
                        xid: u64::from(xid),
                        order: LogOrder(0, commit),
                    },
                    // It begins before the place where it ends.
                    is_old: commit < self.after,
                    is_begun: false,
                });
            }
            ReplicationEvent::XLogData { data, .. } => self.change(&data).await?,
            ReplicationEvent::Commit {
                end_lsn,
                commit_time_micros,
                ..
            } => self.commit(end_lsn.as_u64(), commit_time_micros),
            // Within a transaction it may be beyond its beginning.
            ReplicationEvent::KeepAlive { wal_end, .. } if self.open.is_none() => {
                self.moved(wal_end.as_u64());
            }
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self) -> Event {
        self.is_news = false;
        self.told = Instant::now();
        let position = place::position(self.position);
        Event::Idle { position }
    }

    fn moved(&mut self, to: u64) {
        if to > self.position {
            self.position = to;
            self.is_news = true;
        }
    }

    fn commit(&mut self, end: u64, micros: i64) {
        let Some(open) = self.open.take() else { return };
        for batch in self.gather.finish() {
            self.ready.push_back(Event::Rows(batch));
        }
        self.moved(end);
        if open.is_begun {
            let ms = micros.div_euclid(1_000).saturating_add(EPOCH_MS);
            self.ready.push_back(Event::Commit {
                position: place::position(end),
                at: Millis(u64::try_from(ms).unwrap_or(0)),
            });
            self.is_news = false;
        }
    }

    async fn change(&mut self, data: &[u8]) -> Result<()> {
        let oid = match message::parse(data)? {
            // It comes once, whosever transaction it is in.
            Message::Relation(relation) => {
                let known = self.know(&relation).await?;
                self.relations.insert(relation.oid, known);
                return Ok(());
            }
            Message::Other => return Ok(()),
            Message::Insert { relation, .. }
            | Message::Update { relation, .. }
            | Message::Delete { relation, .. } => relation,
            Message::Truncate { relations } => return self.truncate(&relations).await,
        };
        if self.open.as_ref().is_some_and(|open| open.is_old) {
            return Ok(());
        }
        self.begin(oid)?;
        let Some(Known::Table(table)) = self.relations.get(&oid) else {
            return Ok(());
        };
        match message::parse(data)? {
            Message::Insert { new, .. } => self.gather.insert(table, new)?,
            Message::Update { old, tuples, .. } => self.gather.update(table, old, tuples)?,
            Message::Delete { old, tuple, .. } => self.gather.delete(table, old, tuple)?,
            _ => {}
        }
        let full: Vec<ChangeBatch> = self.gather.full().collect();
        self.ready.extend(full.into_iter().map(Event::Rows));
        Ok(())
    }

    /// Passes the transaction's beginning on, before the first change of a relation that can be.
    fn begin(&mut self, oid: u32) -> Result<()> {
        let Some(open) = &mut self.open else {
            let what = "the replication stream has a change outside of a transaction";
            return Err(Error::permanent(Code::SourceFailed, what));
        };
        match self.relations.get(&oid) {
            Some(Known::Table(_)) => {}
            Some(Known::Refused(error)) => return Err(error.clone()),
            Some(Known::Drifted {
                table,
                name,
                statement,
            }) => {
                if open.is_begun {
                    let what = format!(
                        "{name} was changed in a transaction that changed rows as well: {statement}"
                    );
                    return Err(Error::permanent(Code::SchemaDrift, what));
                }
                self.ready.push_back(Event::Drift(Drift {
                    position: place::position(self.position),
                    table: *table,
                    name: name.clone(),
                    statement: statement.clone(),
                }));
            }
            None => {
                let what = format!("the replication stream doesn't say what relation {oid} is");
                return Err(Error::permanent(Code::SourceFailed, what));
            }
        }
        if !open.is_begun && matches!(self.relations.get(&oid), Some(Known::Table(_))) {
            open.is_begun = true;
            self.ready.push_back(Event::Begin(open.origin.clone()));
        }
        Ok(())
    }

    async fn truncate(&mut self, oids: &[u32]) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.is_old) {
            return Ok(());
        }
        let mut roots = BTreeSet::new();
        for oid in oids {
            self.begin(*oid)?;
            match self.relations.get(oid) {
                Some(Known::Table(table)) if table.is_part => {
                    roots.insert((table.no, table.columns()));
                }
                Some(Known::Table(table)) => self.gather.truncate(table.no, table.columns()),
                _ => {}
            }
        }
        for (no, columns) in roots {
            let Some(plan) = self.tables.get(no.0 as usize) else {
                continue;
            };
            let root = Name {
                schema: (plan.source.schema.clone()).unwrap_or(self.default_schema.clone()),
                name: plan.source.name.clone(),
            };
            let leaves = self.catalog.leaves(&root).await?;
            if !leaves.iter().all(|leaf| oids.contains(leaf)) {
                let what = format!(
                    "TRUNCATE of some partitions of {}: which rows went isn't in the log",
                    plan.source.full_name()
                );
                return Err(Error::permanent(Code::LogUnusable, what));
            }
            self.gather.truncate(no, columns);
        }
        Ok(())
    }

    /// What the relation is to us, as it is at this place of the log.
    async fn know(&mut self, relation: &Relation) -> Result<Known> {
        let mut is_part = false;
        let mut at = table::by_name(&self.tables, &self.default_schema, relation);
        if at.is_none() {
            let above = self.catalog.roots(relation.oid).await?;
            at = self.root(&above);
            is_part = at.is_some();
        }
        let name = format!("{}.{}", relation.schema, relation.name);
        let Some((at, plan)) = at.and_then(|at| Some((at, self.tables.get(at)?))) else {
            return Ok(Known::Drifted {
                table: None,
                name,
                statement: "it is no table of the job: made, renamed or attached since".to_owned(),
            });
        };
        let types = self.catalog.types(relation).await?;
        let no = TableNo(at as u32);
        let digits = self.money_digits;
        Ok(
            match Table::new(no, plan, relation, &types, is_part, digits) {
                Ok(table) => Known::Table(Box::new(table)),
                Err(Mismatch::Drift(statement)) => Known::Drifted {
                    table: Some(no),
                    name: plan.source.full_name(),
                    statement,
                },
                Err(Mismatch::Refused(error)) => Known::Refused(error),
            },
        )
    }

    /// The plan's table among `above` that is read with all its partitions.
    fn root(&self, above: &[Name]) -> Option<usize> {
        self.tables.iter().position(|plan| {
            let schema = plan.source.schema.as_ref();
            let name = Name {
                schema: schema.unwrap_or(&self.default_schema).clone(),
                name: plan.source.name.clone(),
            };
            let whole =
                plan.form == CellForm::Canonical && plan.source.member == Some(Member::Root);
            whole && above.contains(&name)
        })
    }

    /// Nothing came for long: either nothing happened, or nobody is there.
    async fn is_there(&mut self) -> Result<()> {
        if self.heard.elapsed() < SILENCE {
            return Ok(());
        }
        let sql = format!(
            "SELECT active::text FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            super::quote::text(&self.slot)
        );
        let active = self.catalog.session().await?.cell(&sql).await?;
        if active.as_deref() != Some("true") {
            let what = format!("slot {} isn't read by us any more", self.slot);
            return Err(Error::transient(Code::Unreachable, what));
        }
        let within = Duration::from_millis(limits::TRANSFER_DEADLINE_MS);
        if self.open.is_some() && self.heard.elapsed() > within {
            let what = "the source stopped in the middle of a transaction";
            return Err(Error::transient(Code::Unreachable, what));
        }
        Ok(())
    }
}
