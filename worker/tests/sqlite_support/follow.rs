//! A follow task in small: reads a source's changes, nets them without any cleverness, and applies
//! them at a target. It knows the traits and nothing else.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::change::net::NetChanges;
use common::change::{ChangeBatch, Mark, Op, Position, Secured};
use common::epoch::Epoch;
use common::id::{PartitionNo, TableNo, TaskNo};
use common::plan::TablePlan;
use common::schema::CellForm;
use common::task::TaskKind;
use common::value::RowBatch;
use worker::connector::changes::{Event, Marks};
use worker::connector::{
    ApplyWork, ChangeStream, Connector, Current, Error, ReadRequest, Recovered, Result, Role,
    SecureWork, StreamRequest, TargetApplier,
};

use super::*;

type Row = Vec<Option<Vec<u8>>>;

/// A followed pair of files.
pub struct Pair {
    pub source: Box<dyn Connector>,
    pub target: Box<dyn Connector>,
    pub plans: Vec<TablePlan>,
    pub p0: Secured,
}

impl Pair {
    /// Secures the source and copies it. `between` runs after P0, `meanwhile` between two tables.
    pub async fn copied(from: &Path, to: &Path, mut meanwhile: impl FnMut(usize)) -> Pair {
        let (source, target) = (connector(from), connector(to));
        let mut spec = spec(from, &format!("sqlite:{}", to.display()));
        spec.follow = common::change::FollowMode::Live;
        let tables = source
            .inspect(Role::Source, &spec)
            .await
            .expect("a source")
            .tables;
        let plans: Vec<TablePlan> = tables
            .iter()
            .map(|t| plan(t, t, CellForm::Native))
            .collect();
        target
            .define(work(TaskKind::Create, 0, &plans))
            .await
            .expect("created");
        let secure = SecureWork {
            job: uid(),
            tables: plans.clone(),
            current: Current::always(),
        };
        let p0 = source.secure(secure).await.expect("secured");
        for (no, table) in (0u32..).zip(&plans) {
            meanwhile(no as usize);
            let mut request = ReadRequest::source(table, Vec::new(), Vec::new());
            request.pinned = table.change_key().is_empty();
            let mut writer = target
                .writer(txn(no, 1), table.clone())
                .await
                .expect("a writer");
            assert_eq!(writer.begin(None).await.expect("begun"), Recovered::Absent);
            let mut reader = source.read(request).await.expect("a reader");
            let mut loaded = common::plan::Loaded::default();
            let mut hasher = common::digest::RowHasher::default();
            let columns: Vec<_> = { table.source.copied_columns() }
                .map(|c| common::value::DigestColumn::new(&c.canonical, table.form))
                .collect();
            while let Some(batch) = reader.next().await.expect("rows") {
                batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
                writer.load(batch).await.expect("loaded");
            }
            if let Some(snapshot) = reader.snapshot() {
                writer.note_snapshot(snapshot);
            }
            writer.prepare(loaded).await.expect("prepared");
            writer.commit().await.expect("committed");
        }
        Pair {
            source,
            target,
            plans,
            p0,
        }
    }

    pub async fn stream(&self, after: &Position) -> Box<dyn ChangeStream> {
        let request = StreamRequest {
            job: uid(),
            tables: self.plans.clone(),
            after: after.clone(),
            identity: self.p0.identity.clone(),
        };
        self.source.changes(request).await.expect("a stream")
    }

    pub async fn applier(&self, epoch: u32) -> (Box<dyn TargetApplier>, Marks) {
        let work = ApplyWork {
            job: uid(),
            task: TaskNo(100),
            epoch: Epoch(epoch),
            lane: 0,
            tables: self.plans.clone(),
            current: Current::always(),
        };
        let mut applier = self.target.applier(work).await.expect("an applier");
        let marks = applier.begin().await.expect("begun");
        (applier, marks)
    }

    /// Follows from the target's own position to where the log ends now.
    pub async fn catch_up(&self, epoch: u32, strict: bool) -> Result<Position> {
        let end = self.source.log_end().await?;
        let mut follower = Follower::new(self, epoch).await;
        loop {
            if follower.position.order >= end.order {
                return Ok(follower.position);
            }
            follower.step(self, strict).await?;
        }
    }
}

/// Where a follower is.
pub struct Follower {
    pub stream: Box<dyn ChangeStream>,
    pub applier: Box<dyn TargetApplier>,
    pub position: Position,
    marks: Marks,
    pending: Vec<ChangeBatch>,
    origin: worker::connector::Origin,
    pub transactions: u64,
}

impl Follower {
    pub async fn new(pair: &Pair, epoch: u32) -> Follower {
        let (applier, marks) = pair.applier(epoch).await;
        let position = match marks.lanes.get(&0) {
            Some(mark) => serde_json::from_str::<Mark>(mark).expect("a mark").position,
            None => pair.p0.position.clone(),
        };
        Follower {
            stream: pair.stream(&position).await,
            applier,
            position,
            marks,
            pending: Vec::new(),
            origin: Default::default(),
            transactions: 0,
        }
    }

    pub async fn event(&mut self) -> Result<Event> {
        let waited = tokio::time::timeout(Duration::from_secs(30), self.stream.next()).await;
        waited.expect("an event within 30 s")
    }

    /// Takes one event; a commit is applied at once.
    pub async fn step(&mut self, pair: &Pair, strict: bool) -> Result<()> {
        match self.event().await? {
            Event::Begin(origin) => self.origin = origin,
            Event::Rows(batch) => self.pending.push(batch),
            Event::Commit { position, .. } => {
                for changes in net(&pair.plans, self.wanted(pair), strict) {
                    self.applier.apply(changes).await?;
                }
                let mark = Mark {
                    position: position.clone(),
                    ..Mark::default()
                };
                let mark = serde_json::to_string(&mark).expect("JSON");
                self.applier.commit(&[(0, mark)]).await?;
                self.stream.confirm(&position).await?;
                assert!(position.order >= self.position.order, "positions grow");
                self.position = position;
                self.transactions += 1;
            }
            Event::Idle { position } => {
                assert!(self.pending.is_empty());
                self.position = position;
            }
            Event::Drift(drift) => {
                let what = format!("{}: {}", drift.name, drift.statement);
                return Err(Error::permanent(common::code::Code::SchemaDrift, what));
            }
        }
        Ok(())
    }

    /// Without changes that a table's one partition was read with.
    fn wanted(&mut self, pair: &Pair) -> Vec<ChangeBatch> {
        let mut wanted = std::mem::take(&mut self.pending);
        wanted.retain(|batch| {
            let snapshot = self.marks.snapshots.get(&PartitionNo(batch.table.0));
            !snapshot.is_some_and(|snapshot| {
                pair.source
                    .is_in(&self.origin, snapshot)
                    .expect("a snapshot")
            })
        });
        wanted
    }
}

fn rows_of(batch: &RowBatch) -> Vec<Row> {
    let cells: Vec<Option<Vec<u8>>> = batch.cells().map(|c| c.map(<[u8]>::to_vec)).collect();
    cells.chunks(batch.columns()).map(<[_]>::to_vec).collect()
}

fn batch_of<'a>(columns: usize, rows: impl Iterator<Item = &'a Row>) -> RowBatch {
    let mut batch = RowBatch::new(columns);
    for cell in rows.flatten() {
        match cell {
            Some(cell) => batch.push(cell),
            None => batch.push_null(),
        }
    }
    batch
}

/// What whole transactions come to, table by table.
pub fn net(plans: &[TablePlan], batches: Vec<ChangeBatch>, strict: bool) -> Vec<NetChanges> {
    let mut tables: BTreeMap<TableNo, Vec<(Op, Vec<Row>)>> = BTreeMap::new();
    for batch in batches {
        let mut rows = rows_of(&batch.rows).into_iter();
        let ops = tables.entry(batch.table).or_default();
        for op in batch.ops {
            ops.push((op, rows.by_ref().take(op.rows()).collect()));
        }
        assert_eq!(rows.next(), None);
    }
    let net = tables.into_iter().map(|(table, ops)| {
        let plan = &plans[table.0 as usize];
        let names: Vec<&str> = plan
            .source
            .copied_columns()
            .map(|c| c.name.as_str())
            .collect();
        let key = plan.change_key();
        let key: Vec<usize> = { key.iter() }
            .map(|name| names.iter().position(|n| n == name).expect("copied"))
            .collect();
        match key.is_empty() {
            true => multiset(table, names.len(), ops, strict),
            false => by_key(table, names.len(), &key, ops, strict),
        }
    });
    net.collect()
}

fn multiset(table: TableNo, width: usize, ops: Vec<(Op, Vec<Row>)>, strict: bool) -> NetChanges {
    let mut counts: BTreeMap<Row, i64> = BTreeMap::new();
    for (op, rows) in ops {
        let signs: &[i64] = match op {
            Op::Insert => &[1],
            Op::Delete => &[-1],
            Op::Update => &[-1, 1],
            Op::Truncate => panic!("SQLite truncates nothing"),
        };
        for (row, sign) in rows.into_iter().zip(signs) {
            *counts.entry(row).or_default() += sign;
        }
    }
    let times = |sign: i64| {
        let rows = counts.iter().flat_map(move |(row, n)| {
            std::iter::repeat_n(row, usize::try_from(n * sign).unwrap_or(0))
        });
        batch_of(width, rows)
    };
    NetChanges {
        table,
        truncate: false,
        deletes: times(-1),
        inserts: times(1),
        patches: Vec::new(),
        strict,
    }
}

fn by_key(
    table: TableNo,
    width: usize,
    key: &[usize],
    ops: Vec<(Op, Vec<Row>)>,
    strict: bool,
) -> NetChanges {
    // Whether it was there before, and what is there now.
    let mut keys: BTreeMap<Row, (bool, Option<Row>)> = BTreeMap::new();
    let of = |row: &Row| -> Row { key.iter().map(|place| row[*place].clone()).collect() };
    for (op, rows) in ops {
        let mut rows = rows.into_iter();
        if op != Op::Insert {
            let old = rows.next().expect("an old row");
            keys.entry(of(&old)).or_insert((true, None)).1 = None;
        }
        if op != Op::Delete {
            let new = rows.next().expect("a new row");
            let key = of(&new);
            keys.entry(key).or_insert((false, None)).1 = Some(new);
        }
    }
    let gone = keys.iter().filter(|(_, (before, _))| *before || !strict);
    let come = keys.values().filter_map(|(_, now)| now.as_ref());
    NetChanges {
        table,
        truncate: false,
        deletes: batch_of(key.len(), gone.map(|(key, _)| key)),
        inserts: batch_of(width, come),
        patches: Vec::new(),
        strict,
    }
}

/// That both files hold the same rows in every table.
pub async fn assert_equal(from: &Path, to: &Path, plans: &[TablePlan]) {
    for plan in plans {
        let (source, target) = (dump(from, &plan.source).await, dump(to, &plan.source).await);
        let missing: Vec<_> = source
            .iter()
            .filter(|row| !target.contains(row))
            .take(5)
            .collect();
        let extra: Vec<_> = target
            .iter()
            .filter(|row| !source.contains(row))
            .take(5)
            .collect();
        assert!(
            source == target,
            "{}: {} rows and {}; missing {missing:?}, extra {extra:?}",
            plan.source.name,
            source.len(),
            target.len()
        );
    }
}
