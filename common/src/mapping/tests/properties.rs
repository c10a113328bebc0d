//! Whatever is mapped, rows fit: the target's copied columns correspond to the source's one to one,
//! in order, each with its verdict.

use proptest::prelude::*;

use super::*;
use crate::mapping::{as_read, catalogue};
use crate::schema::Generated;

const ENGINES: [Engine; 3] = [Engine::Sqlite, Engine::Mysql, Engine::Postgres];

fn tables(from: Engine) -> impl Strategy<Value = Vec<TableSchema>> {
    let entries = catalogue::of(from);
    let count = entries.len();
    let parts = (
        prop::collection::vec((0..count, any::<bool>(), any::<bool>()), 1..12),
        prop::collection::vec(0usize..12, 0..3),
        any::<bool>(),
    );
    let one = parts.prop_map(move |(columns, key, unique)| {
        let mut made = table("t", Vec::new(), &[]);
        for (no, (entry, generated, auto)) in columns.into_iter().enumerate() {
            let entry = &entries[entry];
            let mut column = column(&format!("c{no}"), entry.native, entry.canonical.clone());
            column.auto_increment = auto;
            column.generated = generated.then(|| Generated {
                expression: "1".into(),
                stored: true,
            });
            made.columns.push(column);
        }
        let names: Vec<String> = made.columns.iter().map(|c| c.name.clone()).collect();
        let mut key: Vec<&str> = key
            .iter()
            .filter_map(|no| names.get(*no))
            .map(String::as_str)
            .collect();
        key.sort_unstable();
        key.dedup();
        if unique && !key.is_empty() {
            made.indexes = vec![index("u", true, &key)];
        } else {
            made.primary_key = key.into_iter().map(str::to_owned).collect();
        }
        made
    });
    prop::collection::vec(one, 1..4).prop_map(|mut tables| {
        for (no, table) in tables.iter_mut().enumerate() {
            table.name = format!("t{no}");
        }
        tables
    })
}

fn job_of_any_pair() -> impl Strategy<Value = (Engine, Engine, Vec<TableSchema>)> {
    (0usize..3, 0usize..3).prop_flat_map(|(from, to)| {
        let (from, to) = (ENGINES[from], ENGINES[to]);
        tables(from).prop_map(move |tables| (from, to, tables))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn columns_correspond_one_to_one((from, to, mut sources) in job_of_any_pair()) {
        let spec = job(from, to);
        for table in &mut sources {
            as_read(table, &spec, from, to);
        }
        let tables: Vec<&TableSchema> = sources.iter().collect();
        match map_with(&tables, from, to, |_| {}) {
            Ok(mapped) => {
                prop_assert_eq!(mapped.tables.len(), sources.len());
                for (source, (target, verdicts)) in sources.iter().zip(&mapped.tables) {
                    let names = |table: &TableSchema| -> Vec<String> {
                        table.copied_columns().map(|column| column.name.clone()).collect()
                    };
                    prop_assert_eq!(names(source), names(target));
                    let judged: Vec<String> = verdicts.iter().map(|v| v.column.clone()).collect();
                    prop_assert_eq!(names(target), judged);
                    prop_assert!(target.columns.iter().all(|column| !column.native_type.is_empty() || from == to));
                }
            }
            // Only what has no type at all is refused.
            Err(failure) => {
                prop_assert_eq!(failure.code, Code::UnsupportedType);
                let mut all = sources.iter().flat_map(|table| &table.columns);
                prop_assert!(all.any(|column| column.canonical == CanonicalType::Any));
            }
        }
    }
}
