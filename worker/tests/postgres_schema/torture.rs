//! The torture database, defined a second time.

use crate::dump;
use crate::postgres::Server;
use crate::support::Job;

const TORTURE: &str = include_str!("../../../tests/torture/pg_torture.sql");

/// Differences that are right; none so far.
const JUSTIFIED: &[&str] = &[];

async fn same_again(schema: &str) {
    let server = Server::start(&[]);
    server.create("s");
    server.create("t");
    server.sql("s", TORTURE);
    let (source, target) = (server.url("s"), server.url("t"));
    let job = Job::new(&format!("{source}{schema}"), &format!("{target}{schema}")).await;
    let notes = &job.inspection.notes;
    assert_eq!(notes.len(), 2, "large objects, and roles: {notes:?}");
    job.create(1).await.expect("created");
    job.create(2).await.expect("created again");
    server.sql("t", &dump::rows(&server, "s"));
    job.finish(1).await.expect("finished");
    job.finish(2).await.expect("finished again");
    server.sql("t", "DROP SCHEMA sterna CASCADE");
    let differences = dump::differences(&dump::schema(&server, "s"), &dump::schema(&server, "t"));
    let unjustified: Vec<&String> = differences
        .iter()
        .filter(|found| !JUSTIFIED.iter().any(|known| found.starts_with(known)))
        .collect();
    assert!(unjustified.is_empty(), "{}", {
        let texts: Vec<&str> = unjustified.iter().map(|text| text.as_str()).collect();
        texts.join("\n")
    });
    assert_eq!(dump::sequences(&server, "s"), dump::sequences(&server, "t"));
}

#[tokio::test]
async fn the_torture_database_is_defined_again_as_it_is() {
    same_again("").await;
}

#[tokio::test]
async fn a_default_schema_of_the_url_changes_nothing() {
    same_again("?schema=torture").await;
}

#[tokio::test]
async fn the_default_schemas_of_both_ends_may_have_different_names() {
    let server = Server::start(&[]);
    server.create("s");
    server.create("t");
    server.sql("s", TORTURE);
    let source = format!("{}?schema=torture", server.url("s"));
    let target = format!("{}?schema=Else%20where", server.url("t"));
    let job = Job::new(&source, &target).await;
    job.create(1).await.expect("created");
    job.finish(1).await.expect("finished");
    let count = |schema: &str| {
        format!(
            "SELECT relkind, count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace \
             GROUP BY 1 ORDER BY 1"
        )
    };
    let at_target = server.sql("t", &count("\"Else where\""));
    assert_eq!(at_target, server.sql("s", &count("torture")));
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'torture'";
    assert_eq!(server.sql("t", left), "0");
}
