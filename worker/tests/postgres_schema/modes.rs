//! Target modes, jobs about some of the tables, tables of other engines, and what is refused.

use common::code::{Code, ErrorClass};
use common::job::{JobSpec, TargetMode};
use common::schema::{CanonicalType, CellForm, ColumnDefault, Member};
use worker::connector::Role;

use crate::dump;
use crate::postgres::Server;
use crate::support::{Job, connector, endpoint};

const SMALL: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE p (id serial PRIMARY KEY, m mood DEFAULT 'ok');
    CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, v text, UNIQUE (v));
    CREATE VIEW v AS SELECT id FROM p; CREATE VIEW w AS SELECT id FROM v;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER t BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION f();
    INSERT INTO p DEFAULT VALUES; INSERT INTO c VALUES (1, 1, 'x');";

fn pair() -> Server {
    let server = Server::start(&[]);
    server.create("s");
    server.create("t");
    server.sql("s", SMALL);
    server
}

async fn job_in(server: &Server, mode: TargetMode) -> Job {
    let mut spec = JobSpec::new("j", endpoint(&server.url("s")), endpoint(&server.url("t")));
    spec.target_mode = mode;
    Job::of(spec).await
}

#[tokio::test]
async fn a_second_job_recreates_truncates_or_refuses() {
    let server = pair();
    let job = job_in(&server, TargetMode::RequireEmpty).await;
    job.create(1).await.expect("created");
    job.finish(1).await.expect("finished");
    server.sql("t", &dump::rows(&server, "s"));
    let error = job.create(2).await.expect_err("holds rows");
    assert_eq!(error.failure.code, Code::TargetNotEmpty);
    let stale = job.create(1).await.expect_err("fenced");
    assert_eq!(stale.class, ErrorClass::Fenced);
    for mode in [TargetMode::Truncate, TargetMode::Recreate] {
        server.sql("t", "INSERT INTO c VALUES (7, 1, 'y')");
        let job = job_in(&server, mode).await;
        job.create(10 + mode as u32).await.expect("made ready");
        assert_eq!(server.sql("t", "SELECT count(*) FROM c"), "0", "{mode:?}");
        server.sql("t", &dump::rows(&server, "s"));
        job.finish(10 + mode as u32).await.expect("finished");
        let differences = [dump::schema(&server, "s"), {
            let mut schema = dump::schema(&server, "t");
            schema.retain(|name, _| {
                !name.contains("sterna")
                    && !name.starts_with("fence")
                    && !name.starts_with("ledger")
            });
            schema
        }];
        let differences = dump::differences(&differences[0], &differences[1]);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[tokio::test]
async fn what_is_there_and_another_one_is_refused_by_name() {
    let server = pair();
    server.sql("t", "CREATE TYPE mood AS ENUM ('sad')");
    let job = job_in(&server, TargetMode::RequireEmpty).await;
    let error = job.create(1).await.expect_err("another type");
    assert_eq!(error.failure.code, Code::TargetDiffers);
    assert!(error.failure.what.contains("type mood"), "{error}");
    server.sql(
        "t",
        "DROP TYPE mood; CREATE TABLE c (id int PRIMARY KEY, p bigint, v text)",
    );
    let error = job.create(2).await.expect_err("another table");
    assert_eq!(error.failure.code, Code::TargetDiffers);
    assert!(error.failure.what.contains("column p is bigint"), "{error}");
}

#[tokio::test]
async fn objects_about_tables_that_are_not_copied_are_left_out_and_named() {
    let server = pair();
    let mut spec = JobSpec::new("j", endpoint(&server.url("s")), endpoint(&server.url("t")));
    spec.include = vec!["c".to_owned()];
    let mut job = Job::of(spec).await;
    let notes = job.inspection.notes.join("\n");
    for name in ["view v ", "view w "] {
        assert!(notes.contains(name), "{notes}");
    }
    assert!(!notes.contains("trigger"), "{notes}");
    // The inspect task cuts the key to the table that stays behind.
    job.plan.tables[0].target.foreign_keys.clear();
    job.create(1).await.expect("created");
    job.finish(1).await.expect("finished");
    assert_eq!(
        server.sql(
            "t",
            "SELECT count(*) FROM pg_views WHERE schemaname = 'public'"
        ),
        "0"
    );
}

#[tokio::test]
async fn tables_of_another_engine_get_identities_checks_and_next_values() {
    let server = pair();
    let mut job = job_in(&server, TargetMode::RequireEmpty).await;
    job.spec.source = endpoint("mysql://u@h/d");
    job.plan.objects.clear();
    for table in &mut job.plan.tables {
        table.form = CellForm::Canonical;
        table.target.native_ddl = None;
        table.target.auto_increment = Some(5);
        for column in &mut table.target.columns {
            if let CanonicalType::Enum { .. } = column.canonical {
                column.native_type = "text".to_owned();
            }
            if let Some(ColumnDefault::Expression(_)) = column.default {
                column.default = None;
            }
        }
    }
    job.create(1).await.expect("created");
    job.create(2).await.expect("created again");
    server.sql(
        "t",
        "INSERT INTO p (id, m) VALUES (40, 'sad'); INSERT INTO c VALUES (1, 40, 'x')",
    );
    job.finish(1).await.expect("finished");
    assert_eq!(
        server.sql("t", "INSERT INTO p DEFAULT VALUES RETURNING id, m"),
        "41|ok"
    );
    for wrong in [
        "INSERT INTO p (m) VALUES ('angry')",
        "INSERT INTO c VALUES (2, 99, 'y')",
        "INSERT INTO c VALUES (2, 41, 'x')",
    ] {
        assert!(server.try_sql("t", wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn the_catalogue_says_what_a_plan_needs() {
    let server = pair();
    server.sql(
        "s",
        "CREATE TABLE r (id int, k int, n numeric(6,2), j jsonb, b bit(7), f float8 DEFAULT 1.5, \
         PRIMARY KEY (k, id)) PARTITION BY RANGE (k); CREATE TABLE r1 PARTITION OF r FOR VALUES \
         FROM (0) TO (9); CREATE DOMAIN d AS varchar(5); CREATE SCHEMA o; CREATE TABLE o.x (id int \
         GENERATED ALWAYS AS IDENTITY, d d, \"weird \"\"\" text); INSERT INTO o.x (d) VALUES ('a'); \
         CREATE UNIQUE INDEX plain ON o.x (id DESC, d); CREATE INDEX special ON o.x (lower(d)); \
         SELECT lo_create(77); CREATE CAST (mood AS int) WITH INOUT; \
         CREATE PUBLICATION pub FOR ALL TABLES",
    );
    let job = job_in(&server, TargetMode::RequireEmpty).await;
    let table = |name: &str| {
        let tables = &job.inspection.tables;
        tables.iter().find(|t| t.full_name() == name).expect(name)
    };
    assert_eq!(table("r").member, Some(Member::Root));
    assert_eq!(table("r").primary_key, ["k", "id"]);
    assert_eq!(table("r1").member, Some(Member::Leaf));
    let x = table("o.x");
    assert_eq!(x.auto_increment, Some(2));
    assert!(x.bytes_estimate > 0 && x.rows_estimate > 0, "{x:?}");
    assert_eq!(
        x.columns[1].canonical,
        CanonicalType::Text { max_chars: Some(5) }
    );
    let plain = x.indexes.iter().find(|i| i.name == "plain").expect("there");
    assert!(plain.unique && plain.columns.len() == 2 && plain.columns[0].descending);
    let special = x
        .indexes
        .iter()
        .find(|i| i.name == "special")
        .expect("there");
    assert!(special.columns.is_empty() && special.native.is_some());
    let id = &table("p").columns[0];
    assert!(id.auto_increment, "{id:?}");
    let notes = job.inspection.notes.join("\n");
    for named in [
        "1 large objects",
        "cast (mood AS integer)",
        "publication pub",
    ] {
        assert!(notes.contains(named), "{named}: {notes}");
    }
    // Whoever may read sees the same.
    server.sql(
        "s",
        "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader",
    );
    let reader = connector(&server.url("s").replace("postgres@", "reader@"));
    let found = reader.inspect(Role::Source, &job.spec).await;
    let found = found.expect("inspected");
    assert_eq!(found.tables, job.inspection.tables);
    assert_eq!(found.objects, job.inspection.objects);
    let mut large = job.spec.clone();
    large.large_objects = true;
    let mut moved = job.spec.clone();
    moved.schema_map = vec![("o".to_owned(), "elsewhere".to_owned())];
    let source = connector(&job.spec.source.url);
    for spec in [large, moved] {
        let found = source.inspect(Role::Source, &spec).await;
        assert_eq!(found.expect_err("not built").failure.code, Code::NotBuilt);
    }
}

#[tokio::test]
async fn a_target_that_can_not_be_written_is_found_out_before() {
    let server = Server::start(&["max_prepared_transactions=0"]);
    server.create("t");
    server.sql(
        "postgres",
        "CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    );
    let guest = format!("postgres://guest@127.0.0.1:{}/t", server.port);
    let spec = JobSpec::new("j", endpoint("sqlite:x"), endpoint(&guest));
    let target = connector(&guest);
    let error = target
        .inspect(Role::Target, &spec)
        .await
        .expect_err("no right");
    assert_eq!(error.failure.code, Code::Privileges);
    assert!(
        error.failure.fixes[0].starts_with("GRANT CREATE"),
        "{error:?}"
    );
    let target = connector(&server.url("t"));
    let found = target
        .inspect(Role::Target, &spec)
        .await
        .expect("inspected");
    assert!(!found.facts.durable_prepare && found.facts.writers_max > 1);
    assert!(found.notes[0].contains("ALTER SYSTEM SET max_prepared_transactions"));
    server.sql(
        "postgres",
        "ALTER DATABASE t SET default_transaction_read_only = on",
    );
    let error = target
        .inspect(Role::Target, &spec)
        .await
        .expect_err("read-only");
    assert_eq!(error.failure.code, Code::TargetReadOnly);
}
