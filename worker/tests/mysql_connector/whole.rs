//! A whole database through the connector's traits, in the order of a job: inspect, plan, create,
//! copy by partitions, index, foreign keys, objects, resolve.

use common::epoch::Epoch;
use common::id::{JobUid, TaskNo};
use common::job::{Endpoint, JobSpec};
use common::partition::Split;
use common::plan::{Loaded, PartitionSpec, Plan, TablePlan, plan};
use common::schema::{Catalog, KeyRange};
use common::task::TaskKind;
use common::value::DigestColumn;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, DefineWork, ReadRequest, Recovered, ResolveWork, Role};
use worker::secret::Secrets;

use crate::server::{job, txn};

/// What came of it.
pub struct Copied {
    pub plan: Plan,
    /// More than one partition: tables that were cut by their key.
    pub cut: usize,
}

fn open(endpoint: &Endpoint) -> Mysql {
    Mysql::new(endpoint, &Secrets::default()).expect("a valid URL")
}

/// Copies everything and checks each table's digest at the target.
pub async fn copy(spec: &JobSpec) -> Copied {
    let (source, target) = (open(&spec.source), open(&spec.target));
    let plan = planned(&source, &target, spec).await;
    let job = job();
    define(&target, &job, 0, TaskKind::Create, spec, &plan).await;
    let mut partition = 0;
    let mut cut = 0;
    for (no, table) in (0..).zip(&plan.tables) {
        let classes = table.split.classes(no);
        cut += usize::from(classes.len() > 1);
        let mut whole = common::digest::Digest::default();
        for (class, buckets) in classes {
            let spec = PartitionSpec {
                partition: common::id::PartitionNo(partition),
                table: common::id::TableNo(no),
                class,
                columns: match &table.split {
                    Split::Bucketed { columns, .. } => columns.clone(),
                    Split::Whole => Vec::new(),
                },
                ranges: buckets.iter().map(|b| table.split.range(*b)).collect(),
            };
            whole += copy_partition(&source, &target, &job, table, &spec).await;
            partition += 1;
        }
        let back = read_back(&target, table).await;
        assert_eq!(back, whole, "table {}", table.target.name);
    }
    let mut task = 0;
    for no in (0..).take(plan.tables.len()) {
        task += 1;
        let kind = TaskKind::Index {
            table: common::id::TableNo(no),
        };
        define(&target, &job, task, kind, spec, &plan).await;
    }
    for (no, table) in (0..).zip(&plan.tables) {
        if !table.target.foreign_keys.is_empty() {
            task += 1;
            let kind = TaskKind::ForeignKeys {
                table: common::id::TableNo(no),
            };
            define(&target, &job, task, kind, spec, &plan).await;
        }
    }
    // Twice: a second run must end the same.
    for again in 1..=2 {
        define(&target, &job, task + again, TaskKind::Objects, spec, &plan).await;
    }
    let work = ResolveWork {
        job,
        task: TaskNo(task + 9),
        epoch: Epoch(1),
        units: Vec::new(),
        drop_bookkeeping: true,
    };
    assert_eq!(target.resolve(work).await.expect("resolved"), (0, 0));
    Copied { plan, cut }
}

/// The plan of a job, every table cut into buckets.
pub async fn planned(source: &Mysql, target: &Mysql, spec: &JobSpec) -> Plan {
    let at_source = source.inspect(Role::Source, spec).await.expect("source");
    let at_target = target.inspect(Role::Target, spec).await.expect("target");
    let mut tables = Vec::new();
    let excluded = |name: &String| spec.exclude.contains(name);
    for table in at_source.tables.into_iter().filter(|t| !excluded(&t.name)) {
        let name = table.name.clone();
        let sampled = source.sample(table, 4).await;
        tables.push(sampled.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    let catalog = Catalog {
        source: at_source.facts,
        target: at_target.facts,
        tables,
        objects: at_source.objects,
        mark: at_source.mark,
        log: None,
        there: None,
        notes: at_source.notes,
    };
    plan(catalog, spec, 7, 2).expect("a plan")
}

async fn define(
    target: &Mysql,
    job: &JobUid,
    task: u32,
    kind: TaskKind,
    spec: &JobSpec,
    plan: &Plan,
) {
    let work = DefineWork {
        job: job.clone(),
        task: TaskNo(task),
        epoch: Epoch(1),
        spec: spec.clone(),
        tables: plan.tables.clone(),
        objects: plan.objects.clone(),
        current: worker::connector::Current::always(),
        kind: kind.clone(),
    };
    let defined = target.define(work).await;
    defined.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
}

async fn copy_partition(
    source: &Mysql,
    target: &Mysql,
    job: &JobUid,
    table: &TablePlan,
    spec: &PartitionSpec,
) -> common::digest::Digest {
    let name = &table.source.name;
    let txn = txn(job, spec.partition.0, 1);
    let mut writer = target.writer(txn, table.clone()).await.expect("opened");
    assert_eq!(writer.begin(None).await.expect("begun"), Recovered::Absent);
    let ranges: Vec<KeyRange> = spec.ranges.clone();
    let request = ReadRequest::source(table, spec.columns.clone(), ranges);
    let mut reader = source.read(request).await.expect("opened");
    let columns = digest_columns(table);
    let mut hasher = common::digest::RowHasher::default();
    let mut loaded = Loaded::default();
    while let Some(batch) = reader
        .next()
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
    {
        batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
        loaded.bytes += batch.bytes() as u64;
        let done = writer.load(batch).await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    writer.prepare(loaded).await.expect("prepared");
    writer.commit().await.expect("committed");
    loaded.digest
}

fn digest_columns(table: &TablePlan) -> Vec<DigestColumn> {
    let rows = table.rows().copied_columns();
    rows.map(|column| DigestColumn::new(&column.canonical, table.form))
        .collect()
}

async fn read_back(target: &Mysql, table: &TablePlan) -> common::digest::Digest {
    let columns = digest_columns(table);
    let opened = target.read(ReadRequest::target(table)).await;
    let mut reader = opened.expect("opened");
    let (mut hasher, mut digest) = Default::default();
    while let Some(batch) = reader.next().await.expect("read") {
        batch.digest_into(&columns, &mut hasher, &mut digest);
    }
    digest
}
