//! Values that a server would silently truncate, clamp, round or zero. Each arrives as it was, or
//! stops the copy with an error that names table, column and the acceptance; once accepted, it is
//! changed as the acceptance says and nothing else is.

use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::literal;
use crate::harness::oracle::meaning::canonical;
use crate::harness::oracle::values::{self, View};
use crate::harness::process::Finished;

/// A value that the target can't hold.
struct Planted {
    /// The column's type at the source.
    declared: &'static str,
    /// A value that fits, so that the column isn't only trouble.
    good: &'static str,
    bad: &'static str,
    /// The acceptance that is asked for.
    loss: &'static str,
    /// What the value becomes then.
    becomes: Becomes,
}

enum Becomes {
    Null,
    Value(&'static str),
    /// Even accepted it stops the job.
    Refused,
}

use Becomes::{Null, Refused, Value};

const fn planted(
    declared: &'static str,
    good: &'static str,
    bad: &'static str,
    loss: &'static str,
    becomes: Becomes,
) -> Planted {
    Planted {
        declared,
        good,
        bad,
        loss,
        becomes,
    }
}

const MYSQL_TO_POSTGRES: &[Planted] = &[
    planted("DATE", "'2024-02-29'", "'0000-00-00'", "zero-date", Null),
    planted("DATE", "'2024-02-29'", "'2024-02-31'", "zero-date", Null),
    planted(
        "DATETIME(6)",
        "'2024-02-29 01:02:03'",
        "'2024-00-00 00:00:00'",
        "zero-date",
        Null,
    ),
    planted(
        "TIMESTAMP NULL",
        "'2024-02-29 01:02:03'",
        "'0000-00-00 00:00:00'",
        "zero-date",
        Null,
    ),
    planted("VARCHAR(20)", "'ab'", "'a\\0b'", "nul-in-text", Value("ab")),
    planted("LONGTEXT", "''", "'\\0'", "nul-in-text", Value("")),
    planted("ENUM('a','b')", "'a'", "0", "not-a-member", Null),
];

const POSTGRES_TO_MYSQL: &[Planted] = &[
    planted("numeric", "1.5", "'NaN'", "not-a-number", Null),
    planted("numeric", "1.5", "'-Infinity'", "not-a-number", Null),
    planted(
        "numeric",
        "0",
        "('0.' || repeat('1', 40))::numeric",
        "number-range",
        Value("0.111111111111111111111111111111"),
    ),
    planted(
        "numeric",
        "0",
        "(repeat('9', 1000))::numeric",
        "number-range",
        Refused,
    ),
    planted(
        "numeric(80,40)",
        "0",
        "('0.' || repeat('1', 40))::numeric",
        "number-range",
        Value("0.111111111111111111111111111111"),
    ),
    planted("double precision", "0.5", "'NaN'", "not-a-number", Null),
    planted(
        "double precision",
        "0.5",
        "'Infinity'",
        "not-a-number",
        Null,
    ),
    planted("real", "0.5", "'-Infinity'", "not-a-number", Null),
    planted("date", "'2024-02-29'", "'infinity'", "date-range", Null),
    planted(
        "date",
        "'2024-02-29'",
        "'0044-03-15 BC'",
        "date-range",
        Null,
    ),
    planted(
        "timestamp",
        "'2024-02-29 00:00:00'",
        "'294276-12-31 23:59:59'",
        "date-range",
        Null,
    ),
    planted(
        "timestamptz",
        "'2024-02-29 00:00:00+00'",
        "'-infinity'",
        "date-range",
        Null,
    ),
];

/// MySQL keeps the sign of a zero, MariaDB doesn't.
const POSTGRES_TO_MARIADB: &[Planted] = &[
    planted(
        "double precision",
        "0.5",
        "'-0'",
        "negative-zero",
        Value("0"),
    ),
    planted("real", "0.5", "'-0'", "negative-zero", Value("0")),
];

const POSTGRES_TO_SQLITE: &[Planted] = &[
    planted(
        "double precision",
        "0.5",
        "'-0'",
        "negative-zero",
        Value("0"),
    ),
    planted("numeric(10,2)", "1.5", "'NaN'", "not-a-number", Null),
    planted("real", "1.5", "'NaN'", "not-a-number", Null),
];

const SQLITE_TO_MYSQL: &[Planted] = &[
    planted("INTEGER", "1", "'abc'", "storage-class", Value("0")),
    planted("INTEGER", "1", "1.5", "storage-class", Value("1")),
    planted("TEXT", "'a'", "X'00FF'", "storage-class", Refused),
    planted(
        "NVARCHAR(3)",
        "'abc'",
        "'abcdef'",
        "text-length",
        Value("abc"),
    ),
    planted(
        "TEXT",
        "'a'",
        "CAST(X'C328' AS TEXT)",
        "invalid-text",
        Value("\u{fffd}("),
    ),
    planted("REAL", "0.5", "9e999", "not-a-number", Null),
    planted("REAL", "0.5", "-9e999", "not-a-number", Null),
    planted("DATE", "'2024-02-29'", "'0000-00-00'", "zero-date", Null),
    planted("DATE", "'2024-02-29'", "'2023-02-30'", "zero-date", Null),
    planted(
        "DATETIME",
        "'2024-02-29 00:00:00'",
        "'not a date'",
        "storage-class",
        Null,
    ),
    planted(
        "DECIMAL(5,2)",
        "123.45",
        "1.005",
        "number-range",
        Value("1.01"),
    ),
    planted("DECIMAL(5,2)", "123.45", "123456", "number-range", Refused),
];

const SQLITE_TO_POSTGRES: &[Planted] = &[
    planted("INTEGER", "1", "'abc'", "storage-class", Value("0")),
    planted(
        "NVARCHAR(3)",
        "'abc'",
        "'abcdef'",
        "text-length",
        Value("abc"),
    ),
    planted(
        "TEXT",
        "'a'",
        "CAST(X'610062' AS TEXT)",
        "nul-in-text",
        Value("ab"),
    ),
    planted(
        "TEXT",
        "'a'",
        "CAST(X'C328' AS TEXT)",
        "invalid-text",
        Value("\u{fffd}("),
    ),
    planted("DATE", "'2024-02-29'", "'0000-00-00'", "zero-date", Null),
    planted("DATE", "'2024-02-29'", "'2023-02-30'", "zero-date", Null),
    planted(
        "DATETIME",
        "'2024-02-29 00:00:00'",
        "'not a date'",
        "storage-class",
        Null,
    ),
    planted("DECIMAL(5,2)", "123.45", "123456", "number-range", Refused),
];

async fn each(from: Kind, to: Kind, cases: &[&[Planted]]) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    let mut found = Vec::new();
    for case in cases.iter().copied().flatten() {
        if let Err(what) = one(&lab, from, to, case).await {
            let (declared, bad) = (case.declared, case.bad);
            found.push(format!("{from:?} {declared} {bad} to {to:?}: {what}"));
        }
    }
    assert!(
        found.is_empty(),
        "{} values:\n{}",
        found.len(),
        found.join("\n\n")
    );
}

/// Plants one value and looks what becomes of it.
async fn one(lab: &Lab, from: Kind, to: Kind, case: &Planted) -> Result<(), String> {
    let source = lab.database(from, "planted").await;
    let create = format!(
        "CREATE TABLE planted (id INTEGER PRIMARY KEY, v {})",
        case.declared
    );
    let (good, bad) = (case.good, case.bad);
    let mut statements = vec![create, format!("INSERT INTO planted VALUES (1, {good})")];
    if from.is_mysql() {
        // What is planted is what a strict session would refuse.
        statements.push("SET sql_mode = 'ALLOW_INVALID_DATES'".to_owned());
    }
    let ignore = if from.is_mysql() {
        "INSERT IGNORE"
    } else {
        "INSERT"
    };
    statements.push(format!("{ignore} INTO planted VALUES (2, {bad})"));
    source.exec(&statements).await;
    let target = lab.database(to, "strict").await;
    let refused = lab.clone(&source, &target, &[]).run().await;
    if refused.code == 0 {
        // Then it must have arrived as it was.
        let found = values::differences(&source, &target, &[]).await;
        return match found.is_empty() {
            true => Ok(()),
            false => Err(format!("changed without a word: {}", found.join("; "))),
        };
    }
    match case.becomes {
        // It may say at once that accepting wouldn't help.
        Refused => named_column(&refused)?,
        _ => named(&refused, case.loss)?,
    }
    unharmed(&source, &target).await?;
    let accept = format!("{}:planted.v", case.loss);
    let target = lab.database(to, "accepting").await;
    let accepted = lab
        .clone(&source, &target, &["--accept", &accept])
        .run()
        .await;
    let expected = match case.becomes {
        Refused if accepted.code == 0 => return Err("accepted, it was taken".to_owned()),
        Refused => return named(&accepted, case.loss).or_else(|_| named_column(&accepted)),
        _ if accepted.code != 0 => return Err(format!("accepted, and yet: {accepted}")),
        Null => None,
        Value(text) => Some(text),
    };
    became(&source, &target, expected).await
}

/// One clear error with exit status 1 or 8 that names the column and how to accept the loss.
fn named(finished: &Finished, loss: &str) -> Result<(), String> {
    named_column(finished)?;
    let said = finished.stderr.replace('\'', "");
    match said.contains(&format!("--accept {loss}:planted.v")) {
        true => Ok(()),
        false => Err(format!(
            "it doesn't say --accept {loss}:planted.v: {}",
            finished.stderr
        )),
    }
}

fn named_column(finished: &Finished) -> Result<(), String> {
    let errors = finished.stderr.matches("error[ST").count();
    let is_named = finished.stderr.contains("planted.v");
    match [1, 8].contains(&finished.code) && errors == 1 && is_named {
        true => Ok(()),
        false => Err(format!("not one error that names it: {finished}")),
    }
}

/// Whatever a refused copy left at the target is of the source, unchanged.
async fn unharmed(source: &Database, target: &Database) -> Result<(), String> {
    let at_source = cells(source).await;
    for row in cells(target).await {
        if !at_source.contains(&row) {
            return Err(format!("the refused copy left {row:?}"));
        }
    }
    Ok(())
}

async fn became(
    source: &Database,
    target: &Database,
    expected: Option<&str>,
) -> Result<(), String> {
    let mut wanted = cells(source).await;
    for row in &mut wanted {
        if row.first().is_some_and(|id| id.as_deref() == Some("2")) {
            row[1] = expected.map(str::to_owned);
        }
    }
    let mut got = cells(target).await;
    // A real number's normal text shows its bits, the expectation is a plain number.
    for row in got.iter_mut().chain(&mut wanted) {
        if let Some(Some(text)) = row.get_mut(1)
            && let Some((_, plain)) = text.split_once(" (")
        {
            *text = plain
                .trim_end_matches(")")
                .trim_end_matches("e0")
                .to_owned();
        }
    }
    wanted.sort();
    got.sort();
    match wanted == got {
        true => Ok(()),
        false => Err(format!("accepted, expected {wanted:?}, got {got:?}")),
    }
}

/// The rows of `planted`, by the source's meaning as far as both have one; none if it isn't there.
async fn cells(database: &Database) -> Vec<Vec<Option<String>>> {
    if database.kind == Kind::Sqlite && !std::path::Path::new(&database.name).exists() {
        return Vec::new();
    }
    let tables = values::tables(database, View::Meaning).await;
    let Some(table) = tables.iter().find(|table| table.name == "planted") else {
        return Vec::new();
    };
    let rows = values::rows(database, table, View::Meaning).await;
    let plain = rows.into_iter().map(|row| {
        let cells = row.into_iter().zip(&table.columns);
        let cells = cells.map(|(cell, column)| cell.map(|cell| canonical(column.meaning, &cell)));
        cells.collect()
    });
    plain.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_to_postgres() {
    each(Kind::Mariadb, Kind::Postgres, &[MYSQL_TO_POSTGRES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql9_to_postgres() {
    each(Kind::Mysql9, Kind::Postgres, &[MYSQL_TO_POSTGRES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_mariadb() {
    let cases = [POSTGRES_TO_MYSQL, POSTGRES_TO_MARIADB];
    each(Kind::Postgres, Kind::Mariadb, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_mysql9() {
    let cases = [POSTGRES_TO_MYSQL, POSTGRES_TO_MARIADB];
    each(Kind::Postgres, Kind::Mysql9, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_mariadb() {
    each(Kind::Sqlite, Kind::Mariadb, &[SQLITE_TO_MYSQL]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_mysql9() {
    each(Kind::Sqlite, Kind::Mysql9, &[SQLITE_TO_MYSQL]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_postgres() {
    each(Kind::Sqlite, Kind::Postgres, &[SQLITE_TO_POSTGRES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_sqlite() {
    each(Kind::Postgres, Kind::Sqlite, &[POSTGRES_TO_SQLITE]).await;
}

/// All of these values at once on one engine: nothing is in their way.
async fn same_engine(kind: Kind, cases: &[&[Planted]]) {
    let Some(lab) = Lab::new(&[kind]).await else {
        return;
    };
    let source = lab.database(kind, "planted").await;
    let mut statements = Vec::new();
    if kind.is_mysql() {
        statements.push("SET sql_mode = 'ALLOW_INVALID_DATES'".to_owned());
    }
    let ignore = if kind.is_mysql() {
        "INSERT IGNORE"
    } else {
        "INSERT"
    };
    for (i, case) in cases.iter().copied().flatten().enumerate() {
        let table = literal::name(kind, &format!("planted {i}"));
        let (declared, good, bad) = (case.declared, case.good, case.bad);
        statements.push(format!(
            "CREATE TABLE {table} (id INTEGER PRIMARY KEY, v {declared})"
        ));
        statements.push(format!(
            "{ignore} INTO {table} VALUES (1, {good}), (2, {bad}), (3, NULL)"
        ));
    }
    source.exec(&statements).await;
    let target = lab.database(kind, "copy").await;
    lab.copy(&source, &target, &[]).await;
    values::assert_same(&source, &target, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_engine_every_value_arrives_as_it_is() {
    same_engine(Kind::Sqlite, &[SQLITE_TO_MYSQL, SQLITE_TO_POSTGRES]).await;
    same_engine(Kind::Mariadb, &[MYSQL_TO_POSTGRES]).await;
    same_engine(Kind::Postgres, &[POSTGRES_TO_MYSQL, POSTGRES_TO_MARIADB]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mysql9_every_value_arrives_as_it_is() {
    same_engine(Kind::Mysql9, &[MYSQL_TO_POSTGRES]).await;
}
