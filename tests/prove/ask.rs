//! `sterna verify` of two databases as the tests ask for it.

use crate::harness::lab::{Database, Lab};
use crate::harness::process::{Finished, Sterna};

/// The command, with a state directory of its own, and a report for scripts.
pub fn verify(lab: &Lab, source: &Database, target: &Database, args: &[&str]) -> Sterna {
    let state = tempfile::tempdir_in(lab.dir.path()).expect("a directory");
    let state = state.keep().display().to_string();
    Sterna::new(lab.dir.path(), &["verify", &source.url, &target.url])
        .args(&["--state-dir", &state, "--progress", "none", "-o", "json"])
        .args(args)
}

/// Nothing is told of two databases that are equal. `args` are the clone's.
pub async fn assert_equal(lab: &Lab, source: &Database, target: &Database, args: &[&str]) {
    let finished = verify(lab, source, target, args).run().await;
    let (from, to) = (source.kind, target.kind);
    assert_eq!(finished.code, 0, "{from:?} to {to:?}: {finished}");
    assert_nothing(&finished);
}

/// The report of an equal pair names no difference, and compares something.
pub fn assert_nothing(finished: &Finished) {
    let report = finished.json();
    assert_eq!(report["outcome"], "equal", "{report:#}");
    assert_eq!(report["error"], serde_json::Value::Null, "{report:#}");
    let counts = &report["counts"];
    for class in ["missing", "extra", "different", "in_flight"] {
        assert_eq!(counts[class], 0, "{class}: {report:#}");
    }
    let none = |field: &str| report[field].as_array().is_some_and(Vec::is_empty);
    assert!(none("schema_differences"), "{report:#}");
    let tables = report["tables"].as_array().expect("a list");
    assert!(!tables.is_empty(), "nothing was compared: {report:#}");
    for table in tables {
        assert_eq!(table["digest_source"], table["digest_target"], "{table:#}");
        assert_eq!(table["ranges"], table["ranges_done"], "{table:#}");
    }
}
