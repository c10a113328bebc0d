//! A plan, and everything that is in its way at once. Where the job would be refused, as much as
//! can be planned is planned all the same: first as if every loss were accepted, then table by table.

use common::code::Failure;
use common::fidelity::{Acceptance, Loss};
use common::job::JobSpec;
use common::plan::{Plan, TablePlan, not_carried, plan};
use common::schema::{Catalog, InspectedTable};
use worker::preview::Preview;

/// Plans are compared by nobody: any seed shows the same cuts.
const SEED: u64 = 0;

/// What a plan came to.
pub struct Outcome {
    /// What could be planned; with `problems` it is not what a job would do, because a job would
    /// be refused.
    pub plan: Option<Plan>,
    pub problems: Vec<Failure>,
    /// Of the source, left behind: a line each.
    pub not_carried: Vec<String>,
    /// Acceptances of the job that no column needs: a name may be wrong.
    pub idle: Vec<String>,
    /// Tables of the source that can't be planned, for whatever the problems say.
    pub unplanned: Vec<String>,
    pub ddl: Vec<String>,
}

impl Outcome {
    pub fn of(seen: Preview, spec: &JobSpec, slots: u32) -> Outcome {
        let Preview {
            catalog,
            target_notes,
            mut problems,
        } = seen;
        let mut left = catalog.notes.clone();
        left.retain(|note| !target_notes.contains(note));
        if catalog.source.engine != catalog.target.engine {
            left.extend(catalog.objects.iter().map(not_carried));
        }
        let names: Vec<String> = { catalog.tables.iter() }
            .map(|table| table.schema.full_name())
            .collect();
        let planned = match plan(catalog.clone(), spec, SEED, slots) {
            Ok(plan) => Some(plan),
            Err(failure) => {
                problems.push(failure);
                what_can_be(catalog, spec, slots)
            }
        };
        let is_planned = |name: &String| {
            let mut tables = planned.iter().flat_map(|plan| &plan.tables);
            tables.any(|table| table.source.full_name() == *name)
        };
        let unplanned = names.into_iter().filter(|name| !is_planned(name)).collect();
        Outcome {
            unplanned,
            idle: idle(planned.as_ref(), spec),
            plan: planned,
            problems,
            not_carried: left,
            ddl: Vec::new(),
        }
    }

    /// Notes of the plan that don't say that something is left behind.
    pub fn notes(&self) -> Vec<&str> {
        let notes = self.plan.iter().flat_map(|plan| &plan.notes);
        let others = notes.filter(|note| !self.not_carried.contains(note));
        others.chain(&self.idle).map(String::as_str).collect()
    }

    /// All problems as one error; the first one's code.
    pub fn refusal(&self) -> Option<Failure> {
        let (first, others) = self.problems.split_first()?;
        if others.is_empty() {
            return Some(first.clone());
        }
        let line = |problem: &Failure| format!("{}: {}", problem.code.title(), problem.what);
        let fixes = |problem: &Failure| match problem.fixes.is_empty() {
            true => vec![problem.code.fix().to_owned()],
            false => problem.fixes.clone(),
        };
        let what: Vec<String> = self.problems.iter().map(line).collect();
        let mut all = Failure::new(first.code, what.join("\n"));
        all.fixes = self.problems.iter().flat_map(fixes).collect();
        Some(all)
    }
}

fn idle(plan: Option<&Plan>, spec: &JobSpec) -> Vec<String> {
    let Some(plan) = plan else {
        return Vec::new();
    };
    let is_needed = |accepted: &&Acceptance| {
        plan.tables.iter().any(|table| {
            let name = table.source.full_name();
            let mut columns = table.columns.iter().zip(source_names(table));
            columns.any(|(verdict, source)| {
                let mut losses = verdict.losses.iter();
                losses.any(|one| accepted.covers(one.loss, &name, &source))
            })
        })
    };
    let idle = spec.accept.iter().filter(|accepted| !is_needed(accepted));
    idle.map(|Acceptance { loss, column }| {
        format!("{loss}:{column} was accepted, but no column of the plan needs it")
    })
    .collect()
}

/// As much of the plan as there would be if every loss were accepted, with the acceptances that
/// there really are.
fn what_can_be(catalog: Catalog, spec: &JobSpec, slots: u32) -> Option<Plan> {
    let mut lenient = spec.clone();
    lenient.accept = { Loss::ALL.iter() }
        .map(|loss| Acceptance {
            loss: *loss,
            column: "*".to_owned(),
        })
        .collect();
    let all = plan(catalog.clone(), &lenient, SEED, slots).ok();
    let mut found = all.or_else(|| table_by_table(catalog, &lenient, slots))?;
    for table in &mut found.tables {
        let name = table.source.full_name();
        let sources = source_names(table);
        for (verdict, source) in table.columns.iter_mut().zip(sources) {
            for loss in &mut verdict.losses {
                let mut accepted = spec.accept.iter();
                loss.accepted = accepted.any(|one| one.covers(loss.loss, &name, &source));
            }
        }
    }
    Some(found)
}

/// The source's names of the columns that the verdicts are about; a computed column's own.
pub fn source_names(table: &TablePlan) -> Vec<String> {
    let source = |name: &String| {
        let behind = table.rule.as_ref().and_then(|rule| rule.behind(name));
        behind.map_or_else(|| name.clone(), |column| column.column.clone())
    };
    let columns = table.columns.iter();
    columns.map(|verdict| source(&verdict.column)).collect()
}

/// The tables that can be planned by themselves, each under its own rule.
fn table_by_table(mut catalog: Catalog, spec: &JobSpec, slots: u32) -> Option<Plan> {
    let tables = std::mem::take(&mut catalog.tables);
    let ruled = |tables: &[InspectedTable]| {
        let mut spec = spec.clone();
        let names: Vec<String> = { tables.iter() }
            .map(|table| table.schema.full_name())
            .collect();
        spec.rules.retain(|rule| names.contains(&rule.table));
        spec
    };
    let alone = |table: &InspectedTable| {
        let one = Catalog {
            tables: vec![table.clone()],
            objects: Vec::new(),
            ..catalog.clone()
        };
        plan(one, &ruled(std::slice::from_ref(table)), SEED, slots).is_ok()
    };
    let fit: Vec<InspectedTable> = tables.into_iter().filter(|table| alone(table)).collect();
    if fit.is_empty() {
        return None;
    }
    let spec = ruled(&fit);
    let fitting = Catalog {
        tables: fit,
        ..catalog
    };
    plan(fitting, &spec, SEED, slots).ok()
}
