//! SQLite to another engine: what a column really holds decides what it is, what isn't of its type
//! stops the job by name or becomes what the user has accepted, and nothing is changed silently.

mod sqlite_support;

use common::code::Code;
use common::fidelity::{Loss, PossibleLoss};
use common::schema::{
    CanonicalType, Catalog, CellForm, EndpointFacts, Engine, InspectedTable, KeySample, TableSchema,
};
use sqlite_support::*;
use worker::connector::{Connector, ReadRequest, Result};

const ELSEWHERE: &str = "postgres://u@h/d";

fn table<'a>(tables: &'a [TableSchema], name: &str) -> &'a TableSchema {
    let mut tables = tables.iter();
    tables.find(|table| table.name == name).expect("there")
}

/// Every row as text, NULL as `-`, as a job reads it that accepts `accepted` for every column.
async fn read(
    source: &dyn Connector,
    table: &TableSchema,
    accepted: &[Loss],
) -> Result<Vec<String>> {
    let mut plan = plan(table, table, CellForm::Canonical);
    let losses = accepted.iter().map(|loss| PossibleLoss {
        loss: *loss,
        accepted: true,
    });
    let losses: Vec<PossibleLoss> = losses.collect();
    for column in table.copied_columns() {
        plan.columns.push(common::fidelity::ColumnVerdict {
            column: column.name.clone(),
            from: String::new(),
            to: String::new(),
            verdict: common::fidelity::Verdict::Guarded,
            losses: losses.clone(),
            why: String::new(),
        });
    }
    let request = ReadRequest::source(&plan, Vec::new(), Vec::new());
    let mut reader = source.read(request).await?;
    let mut rows = Vec::new();
    while let Some(batch) = reader.next().await? {
        let cells: Vec<String> = batch
            .cells()
            .map(|cell| match cell {
                Some(cell) => String::from_utf8_lossy(cell).into_owned(),
                None => "-".to_owned(),
            })
            .collect();
        rows.extend(cells.chunks(batch.columns()).map(|row| row.join("|")));
    }
    Ok(rows)
}

async fn refused(source: &dyn Connector, table: &TableSchema, accepted: &[Loss]) -> String {
    let error = read(source, table, accepted).await.expect_err("a stray");
    assert_eq!(error.failure.code, Code::NotRepresentable);
    format!("{} {}", error.failure.what, error.failure.fixes.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_in_three_forms_stay_what_they_are() {
    let (_keep, from, _) = files();
    script(
        &from,
        "CREATE TABLE d (id INTEGER PRIMARY KEY, iso DATETIME, day DATE, zone TIMESTAMP, t DATETIME,
           unix DATETIME, julian DATE, mixed TIMESTAMP, none DATETIME, flag BOOLEAN, word BOOLEAN);
         INSERT INTO d VALUES
           (1, '2024-02-29 23:59:59.5', '2024-02-29', '2024-02-29T12:00:00+05:30', '2024-01-01T00:00:00',
            1709164800, 2460370.5, '2024-02-29 00:00:00', NULL, 1, 't'),
           (2, '2024-02-29 00:00:00', NULL, '2024-02-29T00:00:00Z', '2024-01-01T00:00:00.5',
            0, 2460371, 1709164800, NULL, 0, 'f');",
    )
    .await;
    let inspection = inspect_for(&from, ELSEWHERE).await;
    let d = table(&inspection.tables, "d");
    let kinds: Vec<&CanonicalType> = d.columns.iter().map(|column| &column.canonical).collect();
    let text = CanonicalType::Text { max_chars: None };
    let int = CanonicalType::Int {
        bits: 64,
        unsigned: false,
    };
    let datetime = CanonicalType::DateTime { fraction: 6 };
    assert_eq!(
        kinds,
        [
            &int,
            &datetime,
            &CanonicalType::Date,
            &text,
            &text,
            &int,
            &CanonicalType::Float64,
            &text,
            &datetime,
            &CanonicalType::Bool,
            &text
        ]
    );
    for column in ["zone", "t", "unix", "julian", "mixed", "word"] {
        let said = format!("d.{column} holds ");
        let found = inspection.notes.iter().any(|note| note.starts_with(&said));
        assert!(found, "{column}: {:?}", inspection.notes);
    }
    let source = connector(&from);
    assert_eq!(
        read(&*source, d, &[]).await.expect("read"),
        [
            "1|2024-02-29 23:59:59.5|2024-02-29|2024-02-29T12:00:00+05:30|2024-01-01T00:00:00\
             |1709164800|2460370.5|2024-02-29 00:00:00|-|1|t",
            "2|2024-02-29 00:00:00|-|2024-02-29T00:00:00Z|2024-01-01T00:00:00.5\
             |0|2460371|1709164800|-|0|f"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_stops_the_job_by_name_unless_it_is_accepted() {
    let (_keep, from, _) = files();
    script(
        &from,
        "CREATE TABLE s (k TEXT PRIMARY KEY, i INTEGER, r REAL, b BLOB) WITHOUT ROWID;
         INSERT INTO s VALUES ('it''s', 1, 1.5, x'00'), ('x', 'abc', 'y', 'text');
         CREATE TABLE keyless (t TEXT);
         INSERT INTO keyless VALUES ('ok'), (x'c328'), (CAST(x'c328' AS TEXT));
         CREATE TABLE late (id INTEGER PRIMARY KEY, v VARCHAR(3), p DECIMAL(5,2), at DATETIME(3));
         INSERT INTO late VALUES (1, 'abc', 1.25, '2024-01-01 00:00:00.125');",
    )
    .await;
    let inspection = inspect_for(&from, ELSEWHERE).await;
    let source = connector(&from);
    let s = table(&inspection.tables, "s");
    let said = refused(&*source, s, &[]).await;
    for part in [
        "s.i holds a TEXT (\"abc\") in the row k = \"x\"",
        "(INTEGER)",
        "--accept 'storage-class:s.i'",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(
        read(&*source, s, &[Loss::StorageClass])
            .await
            .expect("read"),
        ["it's|1|1.5|\0", "x|0|0.0|text"]
    );
    let keyless = table(&inspection.tables, "keyless");
    let said = refused(&*source, keyless, &[]).await;
    assert!(
        said.contains("a BLOB (x'c328') in the row rowid = 2"),
        "{said}"
    );
    let said = refused(&*source, keyless, &[Loss::StorageClass]).await;
    assert!(said.contains("--accept 'invalid-text:keyless.t'"), "{said}");
    let both = [Loss::StorageClass, Loss::InvalidText];
    assert_eq!(
        read(&*source, keyless, &both).await.expect("read"),
        ["ok", "\u{fffd}(", "\u{fffd}("]
    );
    // Rows that came after the look: a bound that SQLite doesn't keep is kept here.
    let late = table(&inspection.tables, "late");
    assert!(read(&*source, late, &[]).await.is_ok());
    for (set, part) in [
        ("v = 'abcd'", "4 characters where 3"),
        ("v = 'abc', p = 1.255", "1.255 where DECIMAL(5,2)"),
        ("p = 1, at = '2024-01-01 00:00:00.1255'", "fraction of 3"),
        ("at = '2024-01-01 23:59:60'", "23:59:60"),
    ] {
        script(&from, &format!("UPDATE late SET {set};")).await;
        let said = refused(&*source, late, &[]).await;
        assert!(said.contains(part) && said.contains("row id = 1"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_bounds_give_way_to_the_values() {
    let (_keep, from, _) = files();
    script(
        &from,
        "CREATE TABLE b (id INTEGER PRIMARY KEY, v VARCHAR(3), p DECIMAL(5,2), n NUMERIC, x, y, u UNKNOWN);
         INSERT INTO b VALUES (1, 'abcdef', 1.255, 1.5, 'text', x'00', 'a'), (2, '', 2, 7, 'x', x'', 5);
         CREATE TABLE nokey (k TEXT PRIMARY KEY, a INT, b INT, UNIQUE (a, b));
         INSERT INTO nokey VALUES (NULL, 1, NULL), (NULL, 1, NULL), ('x', NULL, NULL);
         CREATE TABLE gen (id INTEGER PRIMARY KEY, a INT, g TEXT AS (a || '-x'));
         INSERT INTO gen (id, a) VALUES (1, 2);",
    )
    .await;
    let inspection = inspect_for(&from, ELSEWHERE).await;
    let b = table(&inspection.tables, "b");
    let kinds: Vec<&CanonicalType> = b.columns.iter().map(|column| &column.canonical).collect();
    let text = CanonicalType::Text { max_chars: None };
    assert_eq!(
        kinds[1..],
        [
            &text,
            &CanonicalType::Numeric,
            &CanonicalType::Numeric,
            &text,
            &CanonicalType::Bytes { max_len: None },
            &text
        ]
    );
    let source = connector(&from);
    assert_eq!(
        read(&*source, b, &[]).await.expect("read"),
        ["1|abcdef|1.255|1.5|text|\0|a", "2||2|7|x||5"]
    );
    let nokey = table(&inspection.tables, "nokey");
    assert!(nokey.primary_key.is_empty());
    let made = nokey.indexes.last().expect("the key as an index");
    assert!(made.unique && made.columns[0].name == "k");
    assert!(read(&*source, nokey, &[]).await.is_ok());
    // A generated column is an ordinary one to another engine: its values are there to be read.
    let mut plain = table(&inspection.tables, "gen").clone();
    plain.columns[2].generated = None;
    assert_eq!(
        read(&*source, &plain, &[]).await.expect("read"),
        ["1|2|2-x"]
    );
}

/// The hostile database to both other engines: a plan can be made of it, and every value has a
/// canonical cell once the losses that the plan names are accepted.
#[tokio::test(flavor = "multi_thread")]
async fn the_torture_database_can_be_read_by_other_engines() {
    let (_keep, from, _) = files();
    script(
        &from,
        include_str!("../../tests/torture/sqlite_torture.sql"),
    )
    .await;
    let source = connector(&from);
    for (target, engine) in [
        ("postgres://u@h/d", Engine::Postgres),
        ("mysql://u@h/d", Engine::Mysql),
    ] {
        let inspection = inspect_for(&from, target).await;
        let mut job = spec(&from, target);
        // A column without a name, and a table's name with a quote, are nobody else's.
        job.exclude = vec!["we*".into()];
        let wanted = |table: &&TableSchema| !table.name.starts_with("we");
        let tables: Vec<&TableSchema> = inspection.tables.iter().filter(wanted).collect();
        let catalog = Catalog {
            source: inspection.facts.clone(),
            target: EndpointFacts {
                engine,
                version: "10.11.19-MariaDB".into(),
                durable_prepare: true,
                writers_max: 4,
            },
            tables: { tables.iter() }
                .map(|table| InspectedTable {
                    schema: (*table).clone(),
                    key: KeySample::default(),
                })
                .collect(),
            objects: inspection.objects.clone(),
            mark: None,
            log: None,
            there: None,
            notes: Vec::new(),
        };
        let plan = common::plan::plan(catalog, &job, 7, 1).expect("a plan");
        assert!(plan.notes.iter().any(|note| note.contains("v_broken")));
        let all = [Loss::StorageClass, Loss::InvalidText, Loss::NumberRange];
        for table in &plan.tables {
            let strict = read(&*source, &table.source, &[]).await;
            let strays = matches!(
                table.source.name.as_str(),
                "strict_t"
                    | "affinity"
                    | "texty"
                    | "wr_comp"
                    | "mixedkey"
                    | "intpk_desc"
                    | "gen"
                    | "dates"
            );
            assert_eq!(strict.is_err(), strays, "{}: {strict:?}", table.source.name);
            let read = read(&*source, &table.source, &all).await;
            let count = format!("SELECT count(*) || '' FROM \"{}\"", table.source.name);
            let count = texts(&from, &count).await.remove(0);
            let rows = read.map(|rows| rows.len().to_string());
            assert_eq!(rows.ok(), Some(count), "{}", table.source.name);
        }
    }
}
