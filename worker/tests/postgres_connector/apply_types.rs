//! Every type of the torture database into PostgreSQL as a target of changes.

use common::schema::{CellForm, Member};
use common::value::RowBatch;
use worker::connector::{Connector, ReadRequest, Role, TargetApplier};

use crate::apply::{Case, read, spec};
use crate::net::{Row, none, push};
use crate::support::{connector, database, job, plan, server};

const TORTURE: &str = include_str!("../../../tests/torture/pg_torture.sql");

/// Every table of the torture database, in `form`, all of whose rows come, go by key, come again,
/// are patched, go as whole rows.
async fn every_type(form: CellForm) {
    let name = format!("ap_types_{form:?}").to_lowercase();
    database(server(), &name);
    server().sql(&name, TORTURE);
    let source = connector(&server().url(&name));
    let inspected = source.inspect(Role::Source, &spec()).await;
    let inspected = inspected.expect("inspected");
    let (mut done, mut skipped) = (0, Vec::new());
    for table in &inspected.tables {
        let plan = plan(table, form);
        let all = read(&source, ReadRequest::source(&plan, Vec::new(), Vec::new())).await;
        let is_root = table.member == Some(Member::Root);
        let Ok(all) = all else {
            skipped.push(table.name.clone());
            continue;
        };
        // Its row is older than the check that it violates: no change can bring it again.
        if is_root || table.name == "fk_notvalid" {
            continue;
        }
        // Some of a long table's rows: every type is in the short ones.
        let all = &all[..all.len().min(150)];
        // Types and functions come with a copy of everything; here rows alone do.
        let case = Case {
            name: name.clone(),
            job: job(),
            source: source.clone(),
            target: source.clone(),
            plans: vec![plan.clone()],
        };
        crate::support::books(server(), &name, &case.job);
        server().sql(
            &name,
            "CREATE TABLE IF NOT EXISTS sterna.follow (job text, lane bigint, mark text NOT NULL, \
             PRIMARY KEY (job, lane)); ALTER TABLE sterna.ledger ADD COLUMN IF NOT EXISTS \
             snapshot text",
        );
        check_table(&case, all).await;
        done += 1;
    }
    eprintln!("{form:?}: {done} tables, not {skipped:?}");
    assert!(done > 30 && skipped.len() < 8, "{skipped:?}");
}

/// The table itself is the target: its rows are known by now.
fn empty(case: &Case) {
    let table = &case.plans[0].target;
    let schema = table.schema.as_deref().unwrap_or("public");
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let name = format!("{}.{}", quote(schema), quote(&table.name));
    let script = format!("SET session_replication_role = replica; DELETE FROM ONLY {name}");
    server().sql(&case.name, &script);
}

async fn check_table(case: &Case, all: &[Row]) {
    let plan = &case.plans[0];
    let (name, width) = (&plan.source.name, plan.source.copied_columns().count());
    let key = plan.change_key();
    let place = |name: &String| plan.source.copied_columns().position(|c| c.name == *name);
    let places: Vec<usize> = key.iter().filter_map(place).collect();
    let has_unique = plan.source.indexes.iter().any(|index| index.unique);
    let there = || async {
        let there = read(&case.target, ReadRequest::target(plan)).await;
        there.expect("read")
    };
    empty(case);
    for keyed in [true, false] {
        if keyed && key.is_empty() {
            continue;
        }
        let mut case_plan = plan.clone();
        if !keyed {
            case_plan.source.primary_key.clear();
            case_plan.source.indexes.clear();
        }
        let mut work = case.work(1, u32::from(keyed));
        work.tables = vec![case_plan];
        let mut applier = case.target.applier(work).await.expect("opened");
        applier.begin().await.expect("begun");
        for few in [false, true] {
            // Few rows come by INSERT, many by COPY.
            let size = if few { 50 } else { 5_000 };
            for part in all.chunks(size) {
                let mut net = none(0, width, places.len());
                net.deletes = RowBatch::new(if keyed { places.len() } else { width });
                part.iter().for_each(|row| push(&mut net.inserts, row));
                let applied = applier.apply(net).await;
                applied.unwrap_or_else(|e| panic!("{name} {keyed} {few}: {e}"));
            }
            applier.commit(&[]).await.expect("committed");
            assert!(there().await == all, "{name}: rows that came");
            for part in all.chunks(300) {
                let mut net = none(0, width, places.len());
                net.deletes = RowBatch::new(if keyed { places.len() } else { width });
                for row in part {
                    match keyed {
                        true => {
                            let key: Row = places.iter().map(|at| row[*at].clone()).collect();
                            push(&mut net.deletes, &key);
                            net.patches.extend(None);
                        }
                        false => push(&mut net.deletes, row),
                    }
                }
                let applied = applier.apply(net).await;
                applied.unwrap_or_else(|e| panic!("{name} {keyed} {few}: {e}"));
            }
            applier.commit(&[]).await.expect("committed");
            assert!(there().await.is_empty(), "{name}: rows that went");
        }
        // Patching begins with another row's cells, which a unique index refuses.
        if keyed && !has_unique {
            let some = &all[..all.len().min(60)];
            patch_all(applier.as_mut(), some, (width, &places), name).await;
            assert!(there().await == some, "{name}: patched rows");
            let mut net = none(0, width, places.len());
            net.truncate = true;
            applier.apply(net).await.expect("emptied");
            applier.commit(&[]).await.expect("committed");
            assert!(there().await.is_empty(), "{name}: emptied");
        }
    }
}

/// Every row comes with its keys alone that are real (the rest is another row's), then is patched.
async fn patch_all(
    applier: &mut dyn TargetApplier,
    all: &[Row],
    (width, places): (usize, &[usize]),
    name: &str,
) {
    for (at, row) in all.iter().enumerate() {
        let other = &all[(at + 1) % all.len()];
        let mut first = other.clone();
        places.iter().for_each(|at| first[*at] = row[*at].clone());
        let mut net = none(0, width, places.len());
        push(&mut net.inserts, &first);
        net.patches.push(common::change::net::Patch {
            key: places.iter().filter_map(|at| row[*at].clone()).collect(),
            cells: (0..width)
                .filter(|at| !places.contains(at))
                .map(|at| (at as u32, row[at].clone()))
                .collect(),
        });
        let applied = applier.apply(net).await;
        applied.unwrap_or_else(|error| panic!("{name}: patch {at}: {error}"));
    }
    applier.commit(&[]).await.expect("committed");
}

#[tokio::test]
async fn every_type_in_native_form() {
    {
        every_type(CellForm::Native).await;
    }
}

#[tokio::test]
async fn every_type_in_canonical_form() {
    {
        every_type(CellForm::Canonical).await;
    }
}
