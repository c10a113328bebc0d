//! What `sterna check` asks of both ends, in its own process: whether they can be reached, what
//! each connector has to say, and what only the two together show. Changes nothing.

use common::check::{Check, End, Verdict};
use common::code::{Code, ErrorClass, Failure};
use common::job::{JobSpec, TargetMode};
use common::naming;
use common::schema::{EndpointFacts, TableRef, TableSchema};

use crate::connector::{self, CheckRequest, Connector, Error, Inspection, Occupied, Result, Role};
use crate::secret::Secrets;

mod pair;

const NAMES_SHOWN_MAX: usize = 10;

/// Every check of both ends, whatever fails: the source's, the target's, then those of both.
pub async fn run(spec: &JobSpec, secrets: &Secrets) -> Vec<Check> {
    let open = |endpoint| connector::open(endpoint, secrets);
    let (source, target) = (open(&spec.source), open(&spec.target));
    let (at_source, at_target) = tokio::join!(
        inspect(&source, Role::Source, spec),
        inspect(&target, Role::Target, spec)
    );
    let tables = match &at_source {
        Ok(inspection) => chosen(spec, inspection, at_target.as_ref().ok()),
        Err(_) => Vec::new(),
    };
    let facts = |end: &Result<Inspection>| end.as_ref().ok().map(|found| found.facts.clone());
    let (mut checks, others) = tokio::join!(
        checks_of(
            &source,
            &at_source,
            request(spec, Role::Source, &tables, facts(&at_target))
        ),
        checks_of(
            &target,
            &at_target,
            request(spec, Role::Target, &tables, facts(&at_source))
        )
    );
    checks.extend(others);
    if let (Ok(target), Ok(from), Ok(to)) = (&target, &at_source, &at_target) {
        checks.push(target_empty(&**target, spec, &tables, (&from.facts, &to.facts)).await);
    }
    if let (Ok(source), Ok(target), Ok(_), Ok(_)) = (&source, &target, &at_source, &at_target) {
        checks.extend(of_pair(&**source, &**target, spec, &tables).await);
    }
    checks
}

/// What a job asks first, of ends that it has inspected: everything but whether they answer and
/// whether its tables are at the target, which it has found out already.
pub async fn before_job(
    (source, from): (&dyn Connector, &EndpointFacts),
    (target, to): (&dyn Connector, &EndpointFacts),
    spec: &JobSpec,
    tables: &[TableSchema],
) -> Vec<Check> {
    let (mut checks, at_target, of_both) = tokio::join!(
        source.check(request(spec, Role::Source, tables, Some(to.clone()))),
        target.check(request(spec, Role::Target, tables, Some(from.clone()))),
        of_pair(source, target, spec, tables),
    );
    checks.extend(at_target);
    checks.extend(of_both);
    checks
}

async fn of_pair(
    source: &dyn Connector,
    target: &dyn Connector,
    spec: &JobSpec,
    tables: &[TableSchema],
) -> Vec<Check> {
    let (clocks, space) = tokio::join!(
        pair::clock_difference(source, target),
        pair::space(target, &spec.target, tables)
    );
    [Some(clocks), space].into_iter().flatten().collect()
}

type Opened = Result<Box<dyn Connector>>;

async fn inspect(end: &Opened, role: Role, spec: &JobSpec) -> Result<Inspection> {
    match end {
        Ok(connector) => connector.inspect(role, spec).await,
        Err(error) => Err(error.clone()),
    }
}

/// The job's tables of the source; all of them if its patterns fit none, which another error says.
fn chosen(spec: &JobSpec, at_source: &Inspection, target: Option<&Inspection>) -> Vec<TableSchema> {
    let from = at_source.facts.engine;
    let to = target.map_or(from, |target| target.facts.engine);
    let tables = naming::candidates(at_source.tables.clone(), from, to);
    let names: Vec<String> = tables.iter().map(TableSchema::full_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (chosen, _) = spec.select(&names);
    let is_chosen = |table: &TableSchema| chosen.contains(&table.full_name().as_str());
    tables
        .iter()
        .filter(|table| is_chosen(table))
        .cloned()
        .collect()
}

fn request(
    spec: &JobSpec,
    role: Role,
    tables: &[TableSchema],
    other: Option<EndpointFacts>,
) -> CheckRequest {
    CheckRequest {
        role,
        spec: spec.clone(),
        tables: tables.to_vec(),
        other,
    }
}

/// Whether the end answers, then what its connector says.
async fn checks_of(
    end: &Opened,
    inspected: &Result<Inspection>,
    request: CheckRequest,
) -> Vec<Check> {
    let of = match request.role {
        Role::Source => End::Source,
        Role::Target => End::Target,
    };
    let connector = match end {
        Ok(connector) => connector,
        Err(error) => return vec![failed("reachable", of, error)],
    };
    let mut checks = Vec::new();
    match inspected {
        Ok(found) => {
            let version = format!("{} {}", found.facts.engine.title(), found.facts.version);
            checks.push(Check::passed("reachable", of, version));
        }
        Err(error) if is_out_of_reach(error) => return vec![failed("reachable", of, error)],
        Err(error) => {
            checks.push(Check::passed("reachable", of, "it answers"));
            checks.push(failed("readable", of, error));
        }
    }
    let own = connector.check(request).await;
    if own.is_empty() {
        let found = "nothing but that it answers was looked at";
        let check = Check::warning("looked-at", of, Code::NotBuilt, found);
        checks.push(check.means("settings and rights of this engine aren't checked yet"));
    }
    checks.extend(own);
    checks
}

fn is_out_of_reach(error: &Error) -> bool {
    use Code::{AccessDenied, NoSuchDatabase, Unreachable, Usage};
    let codes = [AccessDenied, NoSuchDatabase, Unreachable, Usage];
    codes.contains(&error.failure.code)
}

fn failed(name: &str, end: End, error: &Error) -> Check {
    let failure = &error.failure;
    let check = Check::failed(name, end, failure.code, failure.what.clone());
    let check = check.means(format!(
        "{}: a job would stop at once",
        failure.code.title()
    ));
    match failure.fixes.is_empty() {
        true => check.fix(format!("-- {}", failure.code.fix())),
        false => failure
            .fixes
            .iter()
            .fold(check, |check, fix| check.fix(fix)),
    }
}

/// Tables of the job that are at the target, by what the job says about such.
async fn target_empty(
    target: &dyn Connector,
    spec: &JobSpec,
    tables: &[TableSchema],
    (from, to): (&EndpointFacts, &EndpointFacts),
) -> Check {
    const NAME: &str = "target-empty";
    let names: Vec<TableRef> = { tables.iter() }
        .map(|table| naming::target(spec, table, from.engine, to.engine))
        .collect();
    let occupied = match target.occupied(&names).await {
        Ok(occupied) => occupied,
        Err(error) => return failed(NAME, End::Target, &error),
    };
    let there: Vec<String> = { names.iter().zip(occupied) }
        .filter(|(_, occupied)| *occupied != Occupied::Absent)
        .map(|(name, _)| name.to_string())
        .collect();
    let mut found = there[..there.len().min(NAMES_SHOWN_MAX)].join(", ");
    if there.len() > NAMES_SHOWN_MAX {
        found.push_str(&format!(" and {} more", there.len() - NAMES_SHOWN_MAX));
    }
    match (there.is_empty(), spec.target_mode) {
        (true, _) => Check::passed(NAME, End::Target, "none of the job's tables is there"),
        (false, TargetMode::RequireEmpty) => {
            let check = Check::failed(NAME, End::Target, Code::TargetNotEmpty, found);
            let check = check.means("tables of these names are there: nothing would be copied");
            check.fix(
                "-- name an empty database, or choose --target-mode append, truncate or recreate",
            )
        }
        (false, mode) => {
            let check = Check::warning(NAME, End::Target, Code::TargetNotEmpty, found);
            check.means(match mode {
                TargetMode::Append => "rows are added to what is there",
                TargetMode::Truncate => "these tables are emptied first",
                _ => "these tables are dropped and made again",
            })
        }
    }
}

/// What stops a job, or makes it ask again where an end was lost meanwhile; None = nothing. Whether the log can be followed is not decided here: the plan
/// does, by what the job asks for.
pub fn in_the_way(checks: &[Check]) -> Option<Error> {
    let of_job =
        |check: &&Check| check.verdict == Verdict::Failed && check.code != Some(Code::LogUnusable);
    let failed: Vec<&Check> = checks.iter().filter(of_job).collect();
    let (first, others) = failed.split_first()?;
    let alike = others.iter().all(|check| check.code == first.code);
    let code = first.code.filter(|_| alike).unwrap_or(Code::CheckFailed);
    let said = failed.iter().map(|check| {
        let end = check.end.word();
        format!("{} ({end}): {}", check.name, check.found)
    });
    let mut failure = Failure::new(code, said.collect::<Vec<_>>().join("; "));
    failure.fixes = { failed.iter() }
        .flat_map(|check| check.fixes.iter().cloned())
        .collect();
    // A check that was cut short found nothing out.
    let cut_short = [Code::Unreachable, Code::SourceFailed, Code::TargetRejected];
    let mut codes = failed.iter().filter_map(|check| check.code);
    let lost = codes.any(|code| cut_short.contains(&code));
    let class = match lost {
        true => ErrorClass::Transient,
        false => ErrorClass::Permanent,
    };
    Some(Error { class, failure })
}

/// One line about what a user should know and can ask for.
pub fn note(checks: &[Check]) -> Option<String> {
    let warnings = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Warning);
    let mut names: Vec<&str> = warnings.map(|check| check.name.as_str()).collect();
    names.dedup();
    match names.as_slice() {
        [] => None,
        names => Some(format!(
            "checks that warn: {}; `sterna check` says what of",
            names.join(", ")
        )),
    }
}

/// The worst of them; None = there are none.
pub fn verdict(checks: &[Check]) -> Option<Verdict> {
    checks.iter().map(|check| check.verdict).max()
}
