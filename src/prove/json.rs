//! The report of a comparison for scripts. Fields are added, never changed or removed, within one
//! `api_version`; docs/verify.md describes them.

use common::status::API_VERSION;
use common::verify::Difference;
use serde_json::{Value, json as object};

use super::{Outcome, Proof};
use crate::error;

/// The report as one object.
pub fn json(proof: &Proof<'_>) -> Value {
    let (status, verify) = (proof.status, proof.verify);
    let (at_source, at_target) = proof.rows();
    let failure = proof.failure();
    let error = failure.map(|failure| error::json(&failure, proof.exit())["error"].clone());
    let listed = proof.listed().map(|(table, one)| difference(table, one));
    object!({
        "api_version": API_VERSION,
        "kind": "verify-report",
        "job": status.job,
        "uid": status.uid,
        "source": status.source,
        "target": status.target,
        "outcome": match proof.outcome() {
            Outcome::Equal => "equal",
            Outcome::Rows | Outcome::Schema => "different",
            Outcome::Open => "inconclusive",
        },
        "summary": proof.sentence(),
        "seconds": proof.took().as_secs_f64(),
        "rows_source": at_source,
        "rows_target": at_target,
        "counts": proof.counts(),
        "sampled": verify.sampled,
        "tables": tables(proof),
        "schema_differences": verify.schema,
        "differences": listed.collect::<Vec<Value>>(),
        "differences_untold": verify.untold,
        "notes": status.notes,
        "plan": proof.plan,
        "error": error,
        "next_steps": proof.next(),
        "exit_code": proof.exit(),
    })
}

fn tables(proof: &Proof<'_>) -> Vec<Value> {
    let pairs = proof.status.tables.iter().zip(&proof.verify.tables);
    let tables = pairs.map(|(table, verdict)| {
        object!({
            "table": table.name,
            "target": table.target,
            "rows_source": verdict.at_source.rows,
            "rows_target": verdict.at_target.rows,
            "digest_source": verdict.at_source.to_string(),
            "digest_target": verdict.at_target.to_string(),
            "ranges": verdict.ranges,
            "ranges_done": verdict.ranges_done,
            "counts": verdict.counts,
        })
    });
    tables.collect()
}

/// The key and the columns as lists: their order is the table's.
fn difference(table: &str, one: &Difference) -> Value {
    let key = { one.key.iter() }.map(|(column, value)| object!({"column": column, "value": value}));
    object!({
        "table": table,
        "class": one.class,
        "key": key.collect::<Vec<Value>>(),
        "key_hash": one.key_hash,
        "columns": one.columns,
        "copies": one.copies,
    })
}
