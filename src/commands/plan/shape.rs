//! A plan as JSON. The shape is stable within one `api_version`: keys are added, never taken away.

use common::cut::Cut;
use common::fidelity::ColumnVerdict;
use common::job::{Endpoint, JobSpec};
use common::plan::TablePlan;
use common::schema::EndpointFacts;
use common::status::API_VERSION;
use serde_json::{Value, json};

use super::estimate::Estimate;
use super::outcome::{Outcome, source_names};
use crate::error;

pub fn json(outcome: &Outcome, spec: &JobSpec) -> Value {
    let plan = outcome.plan.as_ref();
    let facts = |of: fn(&common::plan::Plan) -> &EndpointFacts| plan.map(of);
    let tables = plan.iter().flat_map(|plan| &plan.tables);
    let tables = (0u32..).zip(tables);
    let tables: Vec<Value> = tables.map(|(no, one)| table(no, one, spec)).collect();
    let mut value = json!({
        "api_version": API_VERSION,
        "job": spec.name,
        "source": end(&spec.source, facts(|plan| &plan.source)),
        "target": end(&spec.target, facts(|plan| &plan.target)),
        "tables": tables,
        "unplanned": outcome.unplanned,
        "not_carried": outcome.not_carried,
        "notes": outcome.notes(),
        "ddl": outcome.ddl,
        "estimate": plan.map(|plan| estimate(&Estimate::of(plan))),
        "problems": outcome.problems.iter().map(|problem| json!({
            "code": problem.code.as_str(),
            "title": problem.code.title(),
            "what": problem.what,
            "do": problem.fixes,
        })).collect::<Vec<_>>(),
        "exit_code": 0,
    });
    if let Some(failure) = outcome.refusal() {
        let exit = failure.code.exit();
        value["error"] = error::json(&failure, exit)["error"].take();
        value["exit_code"] = exit.into();
    }
    value
}

fn end(endpoint: &Endpoint, facts: Option<&EndpointFacts>) -> Value {
    json!({
        "url": endpoint.url,
        "engine": facts.map(|facts| facts.engine),
        "version": facts.map(|facts| &facts.version),
        "durable_prepare": facts.map(|facts| facts.durable_prepare),
        "writers_max": facts.map(|facts| facts.writers_max),
    })
}

fn table(no: u32, table: &TablePlan, spec: &JobSpec) -> Value {
    let name = table.source.full_name();
    let columns = table.columns.iter().zip(source_names(table));
    json!({
        "name": name,
        "target": table.target.full_name(),
        "rows_estimate": table.source.rows_estimate,
        "bytes_estimate": table.source.bytes_estimate,
        "partitions": table.split.classes(no).len(),
        "split": Cut::of(table, spec),
        "form": table.form,
        "columns": columns.map(|(one, source)| column(one, &name, &source)).collect::<Vec<_>>(),
    })
}

fn column(column: &ColumnVerdict, table: &str, source: &str) -> Value {
    let losses = column.losses.iter().map(|one| {
        json!({
            "code": one.loss.code(),
            "values": one.loss.title(),
            "accepted": one.accepted,
            "once_accepted": one.loss.accepted(),
            "accept": format!("{}:{table}.{source}", one.loss),
        })
    });
    json!({
        "column": column.column,
        "from": column.from,
        "to": column.to,
        "verdict": column.verdict,
        "losses": losses.collect::<Vec<_>>(),
        "why": column.why,
    })
}

fn estimate(estimate: &Estimate) -> Value {
    json!({
        "rows": estimate.rows,
        "bytes": estimate.bytes,
        "partitions": estimate.partitions,
        "seconds_min": estimate.fastest.as_secs_f64(),
        "seconds_max": estimate.slowest.as_secs_f64(),
        "assumption": Estimate::assumption(),
    })
}
