//! Every row of the torture database, in both forms, cut by its keys.

use std::collections::BTreeMap;

use common::epoch::Epoch;
use common::id::{JobUid, TaskNo};
use common::job::JobSpec;
use common::plan::TablePlan;
use common::schema::{CellForm, InspectedTable, KeyRange, Member, SchemaObject, TableSchema};
use common::task::TaskKind;
use worker::connector::postgres::Postgres;
use worker::connector::{Connector, DefineWork, ReadRequest, Role};

use crate::postgres::Server;
use crate::support::{connector, digest, digest_columns, endpoint, job, plan, txn};

const TORTURE: &str = include_str!("../../../tests/torture/pg_torture.sql");

/// A fingerprint of every table's own rows, by name.
fn fingerprints(server: &Server, database: &str) -> BTreeMap<String, String> {
    let tables = server.sql(
        database,
        "SELECT format('SELECT %L, count(*), md5(coalesce(string_agg(md5(t::text), '''' ORDER BY \
         md5(t::text)), '''')) FROM ONLY %I.%I t;', n.nspname || '.' || c.relname, n.nspname, \
         c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind \
         IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sterna') \
         AND c.relpersistence <> 't'",
    );
    let script = format!("SET TimeZone = 'UTC';\n{tables}");
    let rows = server.sql(database, &script);
    rows.lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

async fn create(target: &Postgres, job: &JobUid, plans: &[TablePlan], objects: &[SchemaObject]) {
    let nowhere = endpoint("postgres://u@h/d");
    let work = DefineWork {
        job: job.clone(),
        task: TaskNo(0),
        epoch: Epoch(1),
        kind: TaskKind::Create,
        spec: JobSpec::new("torture", nowhere.clone(), nowhere),
        tables: plans.to_vec(),
        objects: objects.to_vec(),
        current: worker::connector::Current::always(),
    };
    target.define(work).await.expect("created");
}

/// The ranges between the sampled bounds.
fn ranges(sampled: &InspectedTable) -> Vec<KeyRange> {
    let bounds = sampled.key.bounds.iter().cloned().map(Some);
    let from = [None].into_iter().chain(bounds.clone());
    let until = bounds.chain([None]);
    from.zip(until)
        .map(|(from, until)| KeyRange { from, until })
        .collect()
}

async fn copy_all(source: &Postgres, target: &Postgres, job: &JobUid, plans: &[TablePlan]) {
    for (partition, plan) in (0..).zip(plans) {
        let name = plan.source.full_name();
        let sampled = source
            .sample(plan.source.clone(), 5)
            .await
            .expect("sampled");
        let (key, ranges) = (sampled.key.columns.clone(), ranges(&sampled));
        let request = ReadRequest::source(plan, key, ranges);
        let columns = digest_columns(&request);
        let writer = target.writer(txn(job, partition, 1), plan.clone());
        let mut writer = writer.await.expect("opened");
        writer.begin(None).await.expect("begun");
        let mut reader = source.read(request).await.expect("opened");
        let mut hasher = common::digest::RowHasher::default();
        let mut loaded = common::plan::Loaded::default();
        while let Some(batch) = reader
            .next()
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"))
        {
            batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
            writer
                .load(batch)
                .await
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        writer.prepare(loaded).await.expect("prepared");
        writer.commit().await.expect("committed");
        let read = digest(target, ReadRequest::target(plan)).await;
        assert_eq!(read, loaded.digest, "{name}");
    }
}

fn form(schema: &TableSchema, wanted: CellForm) -> CellForm {
    // Read whole in canonical form, beside its leaves it would give every row twice.
    match schema.member {
        Some(Member::Root) => CellForm::Native,
        _ => wanted,
    }
}

async fn same_rows(wanted: CellForm) {
    let server = Server::start(&[]);
    server.create("s");
    server.create("t");
    server.sql("s", TORTURE);
    let source = connector(&server.url("s"));
    let target = connector(&server.url("t"));
    let [from, to] = ["s", "t"].map(|database| endpoint(&server.url(database)));
    let spec = JobSpec::new("torture", from, to);
    let inspection = source
        .inspect(Role::Source, &spec)
        .await
        .expect("inspected");
    let plans: Vec<TablePlan> = inspection
        .tables
        .iter()
        .map(|schema| plan(schema, form(schema, wanted)))
        .collect();
    let job = job();
    create(&target, &job, &plans, &inspection.objects).await;
    copy_all(&source, &target, &job, &plans).await;
    let (expected, found) = (fingerprints(&server, "s"), fingerprints(&server, "t"));
    assert!(expected.len() > 60, "{}", expected.len());
    for (name, rows) in &expected {
        assert_eq!(found.get(name), Some(rows), "{name}");
    }
}

#[tokio::test]
async fn every_row_natively() {
    same_rows(CellForm::Native).await;
}

#[tokio::test]
async fn every_row_canonically() {
    same_rows(CellForm::Canonical).await;
}
