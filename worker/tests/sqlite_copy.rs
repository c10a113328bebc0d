//! SQLite to SQLite: every value in every affinity, every kind of table, and what is said about
//! what is not copied.

mod sqlite_support;

use common::code::Code;
use common::schema::{CanonicalType, CellForm, TableRef};
use sqlite_support::*;
use worker::connector::{Occupied, Role};

const SHOP: &str = r#"
CREATE TABLE [Artist] ([ArtistId] INTEGER NOT NULL, [Name] NVARCHAR(120), CONSTRAINT [PK_Artist] PRIMARY KEY ([ArtistId]));
CREATE TABLE [Album] ([AlbumId] INTEGER PRIMARY KEY AUTOINCREMENT, [Title] NVARCHAR(160) NOT NULL DEFAULT 'it''s',
  [ArtistId] INTEGER NOT NULL REFERENCES Artist ON DELETE CASCADE, [Price] NUMERIC(10,2) NOT NULL CHECK (Price >= 0),
  [At] DATETIME DEFAULT CURRENT_TIMESTAMP, UNIQUE ([Title], [ArtistId]));
CREATE INDEX [IFK_AlbumArtistId] ON [Album] ([ArtistId] DESC);
CREATE UNIQUE INDEX part ON Album (lower(Title)) WHERE Price > 1;
CREATE TABLE wr (k TEXT COLLATE NOCASE, n INTEGER, v, PRIMARY KEY (n DESC, k)) WITHOUT ROWID;
CREATE TABLE strict_t (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, a ANY) STRICT;
CREATE TABLE gen (id INTEGER PRIMARY KEY, a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL, s TEXT AS (a || '-x') STORED);
CREATE TABLE keyless (a, b);
CREATE TABLE "we""ird; --" ("id ""1""" INTEGER PRIMARY KEY, "select" INT, [br ack] INT, "" INT, "?" INT);
CREATE TABLE repl (id INTEGER PRIMARY KEY, u TEXT, UNIQUE (u) ON CONFLICT REPLACE);
CREATE TABLE zero (id INTEGER PRIMARY KEY);
CREATE VIEW everything AS SELECT * FROM Album;
CREATE TRIGGER watch AFTER INSERT ON Album BEGIN INSERT INTO keyless VALUES (1, 2); END;
INSERT INTO Artist VALUES (1, 'AC/DC'), (2, NULL), (3, 'Ünïcöde 😀');
INSERT INTO Album (AlbumId, Title, ArtistId, Price, At) VALUES (1, 'a', 1, 0.99, '2009-01-01 00:00:00'), (7, 'b', 2, 1, NULL), (50, 'z', 1, 2, NULL);
DELETE FROM Album WHERE AlbumId = 50;
INSERT INTO wr VALUES ('a', 1, 1), ('A', 2, x'00'), ('', 3, NULL), (char(0) || 'x', 4, 'v');
INSERT INTO strict_t VALUES (1, 1, 1, '1', x'01', '1'), (2, -9223372036854775808, 1e308, '', x'', 1), (3, NULL, NULL, NULL, NULL, x'00');
INSERT INTO gen (id, a) VALUES (1, 1), (2, NULL), (3, 'abc');
INSERT INTO keyless VALUES (1, 'd'), (1, 'd'), (NULL, NULL), (NULL, NULL), ('1', 'd');
INSERT INTO "we""ird; --" VALUES (1, 2, 3, 4, 5);
INSERT INTO repl VALUES (1, 'x'), (2, 'y'), (3, NULL), (4, NULL);
PRAGMA user_version = 7;
"#;

const AFFINITIES: &str = "CREATE TABLE affinity (id INTEGER PRIMARY KEY, i INTEGER, t TEXT, r REAL, \
    n NUMERIC, b BLOB, x, vc VARCHAR(3), dt DATETIME, bo BOOLEAN, dc DECIMAL(10,5), st STRING);";

/// Each value in each column: SQLite converts some on the way in, and what it made of them is what
/// must arrive.
fn affinity_script() -> String {
    let values = [
        "1",
        "'abc'",
        "NULL",
        "x'00ff'",
        "x''",
        "1.5",
        "'007'",
        "'1e3'",
        "''",
        "9223372036854775807",
        "-9223372036854775808",
        "'99999999999999999999'",
        "9e999",
        "-9e999",
        "-0.0",
        "5e-324",
        "0.1 + 0.2",
        "9007199254740993",
        "'a' || char(0) || 'b'",
        "CAST(x'C328FF' AS TEXT)",
        "CAST(x'EDA080' AS TEXT)",
        "char(0xFEFF) || 'bom'",
        "'😀é'",
        "zeroblob(70000)",
        "'''\"`;--/*' || char(9, 10, 13, 26)",
    ];
    let mut script = AFFINITIES.to_owned();
    for (id, value) in values.iter().enumerate() {
        let row = [*value; 11].join(", ");
        script.push_str(&format!("INSERT INTO affinity VALUES ({id}, {row});"));
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_file_arrives_exactly() {
    let (_keep, from, to) = files();
    script(&from, SHOP).await;
    script(&from, &affinity_script()).await;
    let inspection = copy(&from, &to).await.expect("copied");
    assert_eq!(inspection.tables.len(), 10);
    for table in &inspection.tables {
        assert_eq!(
            dump(&from, table).await,
            dump(&to, table).await,
            "{}",
            table.name
        );
    }
    assert_eq!(schema(&from).await, schema(&to).await);
    let sequence = "SELECT name || seq FROM sqlite_sequence ORDER BY 1";
    assert_eq!(texts(&from, sequence).await, texts(&to, sequence).await);
    assert_eq!(texts(&to, "PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(
        texts(&to, "SELECT \"table\" FROM pragma_foreign_key_check")
            .await
            .len(),
        0
    );
    let objects: Vec<&str> = inspection
        .objects
        .iter()
        .map(|object| object.name.as_str())
        .collect();
    assert_eq!(
        objects,
        ["everything", "watch on Album", "user_version = 7"]
    );
    assert_eq!(
        texts(&to, "SELECT user_version || '' FROM pragma_user_version").await,
        ["7"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_says_what_the_file_holds() {
    let (_keep, from, _) = files();
    script(&from, SHOP).await;
    let inspection = connector(&from)
        .inspect(Role::Source, &any_spec())
        .await
        .expect("a source");
    let table = |name: &str| {
        let mut tables = inspection.tables.iter();
        tables.find(|table| table.name == name).expect("there")
    };
    let album = table("Album");
    assert_eq!(album.primary_key, ["AlbumId"]);
    assert_eq!(album.auto_increment, Some(51));
    assert!(album.columns[0].auto_increment);
    assert_eq!(album.rows_estimate, 2);
    let key = &album.foreign_keys[0];
    assert_eq!(
        (key.references_table.as_str(), key.on_delete.as_str()),
        ("Artist", "CASCADE")
    );
    assert_eq!(key.references_columns, ["ArtistId"]);
    let mut indexes: Vec<_> = album
        .indexes
        .iter()
        .map(|index| {
            (
                index.name.as_str(),
                index.unique,
                index.columns.len(),
                index.native.is_some(),
            )
        })
        .collect();
    indexes.sort();
    assert_eq!(
        indexes,
        [
            ("IFK_AlbumArtistId", false, 1, true),
            ("part", true, 0, true),
            ("sqlite_autoindex_Album_1", true, 2, false)
        ]
    );
    assert_eq!(table("wr").native_options, "WITHOUT ROWID");
    assert_eq!(table("wr").primary_key, ["n", "k"]);
    assert_eq!(table("strict_t").native_options, "STRICT");
    let generated = table("gen")
        .columns
        .iter()
        .filter(|column| column.generated.is_some());
    assert_eq!(generated.count(), 2);
    assert_eq!(table("keyless").columns[0].canonical, CanonicalType::Any);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_write_ahead_mode_is_read_too() {
    let (_keep, from, to) = files();
    script(&from, "PRAGMA journal_mode = WAL;").await;
    // The connection stays open, so that the rows are in the log alone.
    let mut writer = connect(&from).await;
    for sql in ["CREATE TABLE t (a)", "INSERT INTO t VALUES (1), (2)"] {
        sqlx::query(sql)
            .execute(&mut writer)
            .await
            .expect("written");
    }
    copy(&from, &to).await.expect("copied");
    assert_eq!(texts(&to, "SELECT count(*) || '' FROM t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_moves_with_every_write_and_with_nothing_else() {
    for mode in ["DELETE", "WAL"] {
        let (_keep, from, _) = files();
        script(
            &from,
            &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a);"),
        )
        .await;
        let mut writer = connect(&from).await;
        let source = connector(&from);
        let mut last = source.mark().await.expect("a mark");
        for _ in 0..3 {
            source
                .inspect(Role::Source, &any_spec())
                .await
                .expect("a source");
            assert_eq!(
                source.mark().await.expect("a mark"),
                last,
                "{mode}: only read"
            );
            let sql = "INSERT INTO t VALUES (1)";
            sqlx::query(sql)
                .execute(&mut writer)
                .await
                .expect("written");
            let now = source.mark().await.expect("a mark");
            assert_ne!(now, last, "{mode}: written");
            last = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_give_one_clear_error() {
    let (keep, from, _) = files();
    let code = async |path: &std::path::Path, role| {
        let found = connector(path).inspect(role, &any_spec()).await;
        found.expect_err("refused").failure.code
    };
    assert_eq!(code(&from, Role::Source).await, Code::NoSuchDatabase);
    assert_eq!(code(keep.path(), Role::Source).await, Code::NoSuchDatabase);
    assert_eq!(code(keep.path(), Role::Target).await, Code::NoSuchDatabase);
    let nowhere = keep.path().join("no/such/dir.db");
    assert_eq!(code(&nowhere, Role::Target).await, Code::NoSuchDatabase);
    let text = keep.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database, but it is long enough to look like one. ".repeat(20),
    )
    .expect("written");
    assert_eq!(code(&text, Role::Source).await, Code::NoSuchDatabase);
    assert_eq!(code(&text, Role::Target).await, Code::NoSuchDatabase);
    let sealed = keep.path().join("sealed.db");
    script(&sealed, "CREATE TABLE t (a)").await;
    let mut permissions = std::fs::metadata(&sealed).expect("there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&sealed, permissions).expect("ours");
    assert_eq!(code(&sealed, Role::Target).await, Code::TargetReadOnly);
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_a_target_leaves_no_trace() {
    let (keep, _, to) = files();
    let target = connector(&to);
    let inspection = target
        .inspect(Role::Target, &any_spec())
        .await
        .expect("a target");
    assert!(!inspection.facts.durable_prepare && inspection.facts.writers_max == 1);
    let tables = ["full", "empty", "absent"].map(|name| TableRef {
        schema: None,
        name: name.to_owned(),
    });
    assert_eq!(
        target.occupied(&tables).await.expect("asked"),
        [Occupied::Absent; 3]
    );
    assert_eq!(std::fs::read_dir(keep.path()).expect("there").count(), 0);
    script(
        &to,
        "CREATE TABLE full (a); INSERT INTO full VALUES (1); CREATE TABLE EMPTY (a);",
    )
    .await;
    assert_eq!(
        target.occupied(&tables).await.expect("asked"),
        [Occupied::HoldsRows, Occupied::Empty, Occupied::Absent]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn canonical_cells_are_exact_or_named() {
    let (_keep, from, _) = files();
    script(
        &from,
        "CREATE TABLE ok (id INTEGER PRIMARY KEY, p NUMERIC(10,2), d DATE, t VARCHAR(9));
         INSERT INTO ok VALUES (1, 0.99, '2024-02-29', 'x'), (2, 100, NULL, '');
         CREATE TABLE bad (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO bad VALUES (1, '2024-01-01 00:00:00'), (2, 1709164800);",
    )
    .await;
    let source = connector(&from);
    let tables = source
        .inspect(Role::Source, &any_spec())
        .await
        .expect("a source")
        .tables;
    let (bad, ok) = (&tables[0], &tables[1]);
    let mut reader = source
        .read(whole(ok, CellForm::Canonical))
        .await
        .expect("read");
    let batch = reader.next().await.expect("read").expect("two rows");
    let cells: Vec<_> = batch
        .cells()
        .map(|cell| cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        cells,
        [
            some("1"),
            some("0.99"),
            some("2024-02-29"),
            some("x"),
            some("2"),
            some("100"),
            None,
            some("")
        ]
    );
    assert!(reader.next().await.expect("the end").is_none());
    let refused = digest(&*source, whole(bad, CellForm::Canonical)).await;
    let failure = refused.expect_err("not a date").failure;
    assert_eq!(failure.code, Code::NotRepresentable);
    assert!(failure.what.contains("bad.at"), "{failure}");
}

/// The hostile database: chaos of affinities, NULL keys, rowid gaps, STRICT, WITHOUT ROWID.
#[tokio::test(flavor = "multi_thread")]
async fn the_torture_database_arrives_exactly() {
    let (_keep, from, to) = files();
    script(
        &from,
        include_str!("../../tests/torture/sqlite_torture.sql"),
    )
    .await;
    let inspection = copy(&from, &to).await.expect("copied");
    assert!(inspection.tables.len() > 30, "the file has its tables");
    for table in &inspection.tables {
        let equal = dump(&from, table).await == dump(&to, table).await;
        assert!(equal, "{}", table.name);
    }
    assert_eq!(schema(&from).await, schema(&to).await);
}
