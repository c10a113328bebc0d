//! Every type of the torture database: each cell of the stream is the one the reader gives.

use common::schema::CellForm;
use worker::connector::Connector;

use crate::follow::{Row, open, plans, read, roots, secure, sides, until};
use crate::postgres::Server;
use crate::support::{connector, job};

const TORTURE: &str = include_str!("../../../tests/torture/pg_torture.sql");

/// Deletes every row, inserts it again, and updates it to what it is; a table a transaction.
/// Answers with the tables for which that can be done.
const CHURN: &str = r#"
SET session_replication_role = replica; SET client_min_messages = error; SET TimeZone = 'UTC';
CREATE TEMP TABLE churned (name text);
DO $do$
DECLARE t record; list text; one text; name text;
BEGIN
  FOR t IN SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid =
    c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN
    ('pg_catalog', 'information_schema') ORDER BY 1
  LOOP
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum), min(quote_ident(attname)) FILTER
      (WHERE attidentity <> 'a') INTO list, one FROM pg_attribute WHERE attrelid = t.oid AND attnum >
      0 AND NOT attisdropped AND attgenerated = '';
    name := format('%I.%I', t.nspname, t.relname);
    BEGIN
      EXECUTE format('CREATE TEMP TABLE kept AS SELECT %s FROM ONLY %s', list, name);
      EXECUTE format('DELETE FROM ONLY %s', name);
      IF list IS NULL THEN
        FOR i IN 1 .. (SELECT count(*) FROM kept) LOOP
          EXECUTE format('INSERT INTO %s DEFAULT VALUES', name);
        END LOOP;
      ELSE
        EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT * FROM kept', name, list);
      END IF;
      IF one IS NOT NULL THEN
        EXECUTE format('UPDATE ONLY %s SET %s = %s', name, one, one);
      END IF;
      DROP TABLE kept;
      INSERT INTO churned VALUES (t.nspname || '.' || t.relname);
    EXCEPTION WHEN check_violation THEN NULL;
    END;
  END LOOP;
END $do$;
SELECT count(*) FROM churned;
"#;

/// Both images of a row are whole then.
const WHOLE_ROWS: &str = r#"
SET client_min_messages = error;
DO $do$ DECLARE t record; BEGIN
  FOR t IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE
    c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog',
    'information_schema')
  LOOP EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', t.oid::regclass); END LOOP;
END $do$;
"#;

fn shown(row: Option<&Row>) -> String {
    let cell = |cell: &Option<Vec<u8>>| {
        let text = cell
            .as_ref()
            .map(|cell| String::from_utf8_lossy(cell).into_owned());
        text.map(|text| text.chars().take(60).collect::<String>())
    };
    let cells = row.map(|row| row.iter().map(cell).collect::<Vec<_>>());
    format!("{cells:?}")
}

/// The first rows that aren't the same.
fn difference(found: &[Row], expected: &[Row]) -> Option<String> {
    let (mut found, mut expected) = (found.to_vec(), expected.to_vec());
    found.sort();
    expected.sort();
    if found == expected {
        return None;
    }
    let at = found.iter().zip(&expected).position(|(a, b)| a != b);
    let at = at.unwrap_or(found.len().min(expected.len()));
    let (found, expected) = (shown(found.get(at)), shown(expected.get(at)));
    Some(format!("{found}, not {expected}"))
}

async fn same_cells(form: CellForm) {
    let server = Server::start(&[]);
    server.create("s");
    server.sql("s", TORTURE);
    server.sql("s", WHOLE_ROWS);
    let url = server.url("s");
    let source = connector(&url);
    let mut tables = plans(&source, &url, form).await;
    if form == CellForm::Canonical {
        tables = roots(tables);
    }
    tables.retain(|plan| plan.source.name != "unlog");
    let job = job();
    let from = secure(&source, &job, &tables).await;
    let churned: usize = server.sql("s", CHURN).parse().expect("a number");
    assert!(churned > 55, "{churned}");
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job, &tables, &from).await.as_mut(), &end).await;
    let sides = sides(&tables, &events);
    assert!(sides.len() > 50, "{}", sides.len());
    let mut wrong = Vec::new();
    for plan in &tables {
        let name = plan.source.full_name();
        let Some((old, new)) = sides.get(&name) else {
            continue;
        };
        let mut expected = read(&source, plan).await;
        // Another table's trigger writes to it whatever the session's role is.
        if name == "torture.trg_log" {
            continue;
        }
        // Once deleted and inserted; once updated, where there is a column that can be.
        if old.len() == 2 * expected.len() {
            expected.extend(expected.clone());
        }
        for (side, rows) in [("old", old), ("new", new)] {
            if let Some(rows) = difference(rows, &expected) {
                wrong.push(format!("{name} {side}: {rows}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} tables: {wrong:#?}", wrong.len());
    source.release(&job).await.expect("released");
}

#[tokio::test]
async fn every_cell_natively() {
    same_cells(CellForm::Native).await;
}

#[tokio::test]
async fn every_cell_canonically() {
    same_cells(CellForm::Canonical).await;
}
