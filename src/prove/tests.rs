//! Reports of comparisons made by hand.

use common::digest::Digest;
use common::id::{JobId, Millis};
use common::state::{Intent, Phase, SourceProof};
use common::status::{PartitionCounts, TableStatus, TaskCounts};
use common::verify::{Class, ColumnDifference, SchemaDifference, TableRange, TableVerdict};

use super::*;

const NASTY: &str = "<img src=x onerror=alert(1)>\u{1b}[2J";

fn difference(
    class: Class,
    id: &str,
    columns: &[(&str, Option<&str>, Option<&str>)],
) -> Difference {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let columns = columns
        .iter()
        .map(|(name, source, target)| ColumnDifference {
            column: (*name).to_owned(),
            source: owned(*source),
            target: owned(*target),
        });
    Difference {
        class,
        key_hash: "0".repeat(32),
        key: vec![("id".to_owned(), Some(id.to_owned()))],
        columns: columns.collect(),
        copies: 1,
    }
}

fn verdict(rows: u64, counts: Counts) -> TableVerdict {
    TableVerdict {
        ranges: 4,
        ranges_done: 4,
        at_source: Digest {
            rows,
            ..Digest::default()
        },
        at_target: Digest {
            rows: rows - 1,
            ..Digest::default()
        },
        counts,
        ..TableVerdict::default()
    }
}

fn verify(counts: Counts, listed: Vec<Difference>) -> VerifyStatus {
    let range = DifferingStatus {
        range: TableRange {
            table: "orders".into(),
            columns: vec!["id".into()],
            ranges: Vec::new(),
            keys: Vec::new(),
        },
        counts,
        listed,
    };
    VerifyStatus {
        tables: vec![verdict(1_000_000, counts)],
        schema: Vec::new(),
        differing: if counts == Counts::default() {
            Vec::new()
        } else {
            vec![range]
        },
        untold: 0,
        sampled: false,
        dry_run: false,
    }
}

fn status(verify: VerifyStatus) -> JobStatus {
    let table = TableStatus {
        name: "orders".into(),
        target: "public.orders".into(),
        cut: None,
        accepted: Vec::new(),
        rows_estimated: 2_000_000,
        bytes_estimated: 1,
        rows_copied: 0,
        bytes_copied: 0,
        rows_in_flight: 0,
        partitions: 0,
        partitions_committed: 0,
        indexed: false,
        verified: false,
        written_since: false,
        digest: String::new(),
    };
    JobStatus {
        api_version: "v1".into(),
        job: "shop".into(),
        id: JobId(1),
        uid: "1".repeat(32),
        phase: Phase::Completed,
        intent: Intent::Run,
        source: "mysql://me@db1/shop".into(),
        target: "postgres://me@db2/shop".into(),
        submitted_at_ms: Millis(1_000),
        phase_since_ms: Millis(0),
        ended_at_ms: Some(Millis(11_000)),
        now_ms: Millis(11_000),
        tables: vec![table],
        partitions: PartitionCounts::default(),
        tasks: TaskCounts::default(),
        rows_copied: 0,
        bytes_copied: 0,
        rows_in_flight: 0,
        rows_estimated: 2_000_000,
        bytes_estimated: 0,
        verified: false,
        source_proof: SourceProof::Open,
        follow: None,
        verify: Some(Box::new(verify)),
        limited_by: None,
        notes: Vec::new(),
        failure: None,
        exit_code: 0,
    }
}

fn everything() -> JobStatus {
    let counts = Counts {
        missing: 2,
        extra: 1,
        different: 3,
        representation: 4,
        in_flight: 5,
    };
    let long = "a very long text ".repeat(20);
    let columns = [
        ("note", Some(NASTY), None),
        ("text", Some(long.as_str()), Some("")),
        ("word", Some("NULL"), Some("0x00ff")),
    ];
    let listed = vec![
        difference(Class::Missing, "7", &[]),
        difference(Class::Extra, "8", &[]),
        difference(Class::Different, NASTY, &columns),
    ];
    let mut verify = verify(counts, listed);
    verify.untold = 3;
    verify.schema = vec![SchemaDifference {
        object: "orders".into(),
        kind: "index".into(),
        name: "orders_by_day".into(),
        expected: Some("(placed)".into()),
        found: None,
    }];
    status(verify)
}

fn proof(status: &JobStatus) -> Proof<'_> {
    Proof::of(status, Some(Path::new("my plan.json"))).expect("compared")
}

#[test]
fn certain_differences_come_before_what_is_open() {
    let of = |counts: Counts| {
        let status = status(verify(counts, Vec::new()));
        let proof = proof(&status);
        (
            proof.outcome(),
            proof.exit(),
            proof.failure().map(|f| f.code),
        )
    };
    let none = Counts::default();
    assert_eq!(of(none), (Outcome::Equal, 0, None));
    let told = Counts {
        representation: 9,
        ..none
    };
    assert_eq!(of(told).1, 0, "other words are no difference");
    let open = Counts {
        in_flight: 1,
        ..told
    };
    assert_eq!(of(open), (Outcome::Open, 11, Some(Code::Inconclusive)));
    let rows = Counts { extra: 1, ..open };
    assert_eq!(of(rows), (Outcome::Rows, 10, Some(Code::Differences)));
    let mut both = verify(open, Vec::new());
    both.schema = everything().verify.map(|v| v.schema).unwrap_or_default();
    let status_both = status(both);
    assert_eq!(proof(&status_both).exit(), 10);
    let mut part = verify(none, Vec::new());
    part.tables[0].ranges_done = 3;
    let status_part = status(part);
    assert_eq!(proof(&status_part).exit(), 11, "not all was compared");
}

#[test]
fn the_text_tells_tables_schema_rows_and_the_outcome() {
    let status = everything();
    let text = text(&proof(&status));
    for part in [
        "1 000 000",
        "999 999",
        "orders_by_day",
        "is not there",
        "3 more counted and not listed",
        "NULL",
        "'NULL'",
        "''",
        "0x3c696d67",
        "different: rows: 2 missing, 1 extra, 3 different, 5 in flight, schema: 1 difference",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "nothing moves the cursor:\n{text}"
    );
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest < Some(260), "{text}");
}

#[test]
fn the_next_step_is_a_line_to_be_run() {
    let status = everything();
    let next = proof(&status).next();
    assert!(
        next.contains(&"sterna repair --plan 'my plan.json'".to_owned()),
        "{next:?}"
    );
    assert!(next[0].contains("schema"), "the schema first: {next:?}");
}

#[test]
fn scripts_find_the_documented_fields() {
    let status = everything();
    let json = json(&proof(&status));
    assert_eq!(json["api_version"], "v1");
    assert_eq!(json["kind"], "verify-report");
    assert_eq!(
        (&json["outcome"], &json["exit_code"]),
        (&"different".into(), &10.into())
    );
    assert_eq!(json["error"]["code"], "ST6001");
    assert_eq!(json["counts"]["missing"], 2);
    assert_eq!(json["tables"][0]["rows_source"], 1_000_000);
    assert_eq!(json["differences"][2]["columns"][0]["source"], NASTY);
    assert_eq!(json["differences"][0]["key"][0]["column"], "id");
    assert_eq!(
        json["schema_differences"][0]["found"],
        serde_json::Value::Null
    );
    assert_eq!(json["next_steps"].as_array().map(Vec::len), Some(3));
    // Documented, each of them.
    let docs = include_str!("../../docs/verify.md");
    for field in json.as_object().expect("an object").keys() {
        assert!(
            docs.contains(&format!("`{field}`")),
            "docs/verify.md: {field}"
        );
    }
}

#[test]
fn the_page_stands_alone_and_no_value_is_markup() {
    let status = everything();
    let page = page(&proof(&status));
    if let Ok(path) = std::env::var("STERNA_TEST_PAGE") {
        std::fs::write(path, &page).expect("written");
    }
    for foreign in [
        "<script", "<img", "<link", "src=\"", "http://", "https://", "@import", "url(",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for part in [
        "lang=\"en\"",
        "<title>",
        "scope=\"col\"",
        "scope=\"row\"",
        "prefers-color-scheme",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{page}"
    );
}

#[test]
fn progress_counts_ranges_and_rows() {
    let mut status = everything();
    assert_eq!(compared(&status), Some(1_000_000), "it has ended");
    status.phase = Phase::Planning;
    assert_eq!(compared(&status), None, "it hasn't begun");
    status.phase = Phase::Verifying;
    assert_eq!(compared(&status), Some(1_000_000));
    assert_eq!(percent(&status), Some(100));
    let parts = parts(&status).expect("runs").join(" · ");
    assert_eq!(parts, "4 of 4 ranges · 6 rows differ · 5 in flight");
}
