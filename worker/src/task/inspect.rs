//! Looks at both ends and changes nothing: the catalog of the chosen tables with their cuts, the
//! source's mark, and what stands in the job's way. Serves the task and [`crate::preview`].

use common::change::FollowMode;
use common::check::Check;
use common::code::{Code, ErrorClass, Failure};
use common::fault::Fault;
use common::job::{JobSpec, Purpose, TargetMode};
use common::limits;
use common::naming;
use common::plan::buckets_wanted;
use common::schema::{
    Catalog, EndpointFacts, InspectedTable, KeySample, TableRef, TableSchema, There,
};
use common::task::TaskResult;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::checks;
use crate::connector::{Connector, Error, Inspection, Occupied, Result, Role};
use crate::faults;
use crate::task::{TaskContext, shaped};

const NAMES_SHOWN_MAX: usize = 10;

pub async fn run(ctx: &TaskContext, slots: u32) -> Result<TaskResult> {
    let (source, target) = (ctx.source()?, ctx.target()?);
    let spec = &ctx.job.spec;
    for rule in &spec.rules {
        // A salt that isn't there is better found before the first table is made.
        shaped::salts(rule, &ctx.shared.secrets)?;
    }
    let mut seen = look(&*source, &*target, spec).await?;
    if let Some(failure) = seen.in_the_way.take() {
        let class = ErrorClass::Permanent;
        return Err(Error { class, failure });
    }
    if !only_reads(spec) {
        let checks = seen.checks(&*source, &*target, spec).await;
        if let Some(error) = checks::in_the_way(&checks) {
            return Err(error);
        }
        seen.notes.extend(checks::note(&checks));
    }
    let catalog = seen.catalog(&*source, spec, slots).await?;
    Ok(TaskResult::Inspected(Box::new(catalog)))
}

/// Both ends, before anything is sampled.
pub struct Seen {
    at_source: Inspection,
    target: EndpointFacts,
    tables: Vec<TableSchema>,
    notes: Vec<String>,
    /// Of the target, about how the job will go.
    pub target_notes: Vec<String>,
    there: Option<Box<There>>,
    /// Stops a job, not a plan: tables that are at the target already.
    pub in_the_way: Option<Failure>,
}

/// Asks both ends at once what they hold.
pub async fn look(source: &dyn Connector, target: &dyn Connector, spec: &JobSpec) -> Result<Seen> {
    let at_source = async {
        let inspection = source.inspect(Role::Source, spec).await?;
        faults::point(Fault::InspectMidway).await?;
        Ok(inspection)
    };
    // Whoever only compares needs nothing that a target must have; a repair writes.
    let role = match only_reads(spec) {
        true => Role::Source,
        false => Role::Target,
    };
    let inspecting = futures::future::join(at_source, target.inspect(role, spec));
    let (mut at_source, at_target) = match inspecting.await {
        (Ok(at_source), Ok(at_target)) => (at_source, at_target),
        (Err(first), Err(second)) => return Err(both(first, second)),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let mut notes = std::mem::take(&mut at_source.notes);
    let (from, to) = (at_source.facts.engine, at_target.facts.engine);
    let tables = naming::candidates(std::mem::take(&mut at_source.tables), from, to);
    let mut tables = choose(spec, tables)?;
    notes.extend(cut_dangling_keys(&mut tables));
    let mut in_the_way = None;
    let there = match (spec.purpose.is_migration(), only_reads(spec)) {
        (true, _) => None,
        (false, true) => Some((at_target.tables, at_target.objects)),
        (false, false) => {
            let whole = target.inspect(Role::Source, spec).await?;
            Some((whole.tables, whole.objects))
        }
    };
    let there = there.map(|(tables, objects)| Box::new(There { tables, objects }));
    if !spec.purpose.is_migration() {
        // What is at the target is what the job is about.
    } else if spec.target_mode == TargetMode::RequireEmpty || spec.from.is_some() {
        let names: Vec<TableRef> = tables
            .iter()
            .map(|table| naming::target(spec, table, from, to))
            .collect();
        let occupied = target.occupied(&names).await?;
        let names: Vec<String> = names.into_iter().map(|table| table.to_string()).collect();
        in_the_way = match spec.from {
            None => refuse_occupied(&names, &occupied),
            Some(_) => refuse_absent(&names, &occupied),
        };
    }
    Ok(Seen {
        at_source,
        target: at_target.facts,
        tables,
        notes,
        target_notes: match spec.purpose.is_migration() {
            true => at_target.notes,
            false => Vec::new(),
        },
        in_the_way,
        there,
    })
}

fn only_reads(spec: &JobSpec) -> bool {
    match &spec.purpose {
        Purpose::Migrate => false,
        Purpose::Verify(_) => true,
        Purpose::Repair(options) => options.dry_run,
    }
}

/// Two ends that fail are told of at once; what the job does about it is decided by the first.
fn both(mut first: Error, second: Error) -> Error {
    let Failure { code, what, fixes } = second.failure;
    let other = format!("\nand at the target: {}: {what}", code.title());
    first.failure.what.push_str(&other);
    if !fixes.is_empty() && first.failure.fixes.is_empty() {
        let own = first.failure.code.fix().to_owned();
        first.failure.fixes.push(own);
    }
    first.failure.fixes.extend(fixes);
    first
}

impl Seen {
    /// What `sterna check` would say of these ends and tables.
    async fn checks(
        &self,
        source: &dyn Connector,
        target: &dyn Connector,
        spec: &JobSpec,
    ) -> Vec<Check> {
        let (from, to) = (&self.at_source.facts, &self.target);
        checks::before_job((source, from), (target, to), spec, &self.tables).await
    }

    /// What the plan is made from: the chosen tables with their cuts.
    pub async fn catalog(
        self,
        source: &dyn Connector,
        spec: &JobSpec,
        slots: u32,
    ) -> Result<Catalog> {
        let mut notes = self.notes;
        notes.extend(self.target_notes);
        let log = match spec.follow {
            _ if !spec.purpose.is_migration() => None,
            FollowMode::Off => None,
            _ => Some(source.log_facts(&self.tables).await?),
        };
        Ok(Catalog {
            log,
            there: self.there,
            source: self.at_source.facts,
            target: self.target,
            tables: sample(source, self.tables, spec, slots).await?,
            objects: self.at_source.objects,
            mark: self.at_source.mark,
            notes,
        })
    }
}

/// The job's choice among the source's tables.
fn choose(spec: &JobSpec, tables: Vec<TableSchema>) -> Result<Vec<TableSchema>> {
    let names: Vec<String> = tables.iter().map(TableSchema::full_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (chosen, unmatched) = spec.select(&names);
    if !unmatched.is_empty() {
        let what = format!("no table of the source matches {}", unmatched.join(", "));
        return Err(Error::permanent(Code::NoTableMatches, what));
    }
    if chosen.is_empty() {
        let what = match tables.is_empty() {
            true => "the source holds no tables".to_owned(),
            false => format!("all {} tables of the source are excluded", tables.len()),
        };
        return Err(Error::permanent(Code::NoTableMatches, what));
    }
    let chosen: Vec<String> = chosen.into_iter().map(str::to_owned).collect();
    let is_chosen = |table: &TableSchema| chosen.contains(&table.full_name());
    Ok(tables.into_iter().filter(is_chosen).collect())
}

/// Removes the foreign keys that point out of the job, and says which. Names are compared without
/// case, because some engines do and a key kept by mistake is refused by name later.
fn cut_dangling_keys(tables: &mut [TableSchema]) -> Vec<String> {
    let names: std::collections::BTreeSet<String> = tables
        .iter()
        .map(|table| table.name.to_lowercase())
        .collect();
    let mut notes = Vec::new();
    for table in tables {
        let name = table.name.clone();
        table.foreign_keys.retain(|key| {
            let kept = names.contains(&key.references_table.to_lowercase());
            if !kept {
                notes.push(format!(
                    "the foreign key {} of {name} references {}, which is not copied: it is left out",
                    key.name, key.references_table
                ));
            }
            kept
        });
    }
    notes
}

/// Where nothing is copied the rows must be there.
fn refuse_absent(names: &[String], occupied: &[Occupied]) -> Option<Failure> {
    let there = names.iter().zip(occupied);
    let absent: Vec<&str> = there
        .filter(|(_, occupied)| **occupied == Occupied::Absent)
        .map(|(name, _)| name.as_str())
        .collect();
    let mut what = absent[..absent.len().min(NAMES_SHOWN_MAX)].join(", ");
    if absent.len() > NAMES_SHOWN_MAX {
        what.push_str(&format!(" and {} more", absent.len() - NAMES_SHOWN_MAX));
    }
    (!absent.is_empty()).then(|| Failure::new(Code::TargetMissing, what))
}

/// A table that is there is in the way even if it is empty: its columns may be others.
fn refuse_occupied(names: &[String], occupied: &[Occupied]) -> Option<Failure> {
    let there: Vec<(&String, Occupied)> = names
        .iter()
        .zip(occupied.iter().copied())
        .filter(|(_, occupied)| *occupied != Occupied::Absent)
        .collect();
    if there.is_empty() {
        return None;
    }
    let shown = there
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|(name, occupied)| match occupied {
            Occupied::HoldsRows => format!("{name} (holds rows)"),
            Occupied::Empty | Occupied::Absent => format!("{name} (empty)"),
        });
    let mut what = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = there
        .len()
        .checked_sub(NAMES_SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        what.push_str(&format!(" and {more} more"));
    }
    let mut failure = Failure::new(Code::TargetNotEmpty, what);
    if there
        .iter()
        .all(|(_, occupied)| *occupied == Occupied::Empty)
    {
        failure = failure
            .fix("--target-mode append: keep the empty tables as they are and fill them")
            .fix("--target-mode recreate: drop them and make them as at the source");
    }
    Some(failure)
}

/// A job that copies nothing, or brings its ranges along.
fn is_not_cut(spec: &JobSpec) -> bool {
    spec.from.is_some() || matches!(spec.purpose, Purpose::Repair(_))
}

async fn sample(
    source: &dyn Connector,
    tables: Vec<TableSchema>,
    spec: &JobSpec,
    slots: u32,
) -> Result<Vec<InspectedTable>> {
    let sampling = tables.into_iter().map(|table| async move {
        let sampled = match buckets_wanted(table.bytes_estimate, spec, slots) {
            // One bucket needs no bound, nor does a table that isn't copied.
            buckets if buckets <= 1 || is_not_cut(spec) => InspectedTable {
                schema: table,
                key: KeySample::default(),
            },
            buckets => source.sample(table, buckets).await?,
        };
        faults::point(Fault::InspectMidSample).await?;
        Ok(sampled)
    });
    let sampled = stream::iter(sampling).buffered(limits::SAMPLES_AT_ONCE);
    sampled.try_collect().await
}

#[cfg(test)]
mod tests {
    use common::job::Endpoint;
    use common::schema::ForeignKey;

    use super::*;

    fn table(name: &str, references: &[&str]) -> TableSchema {
        let key = |to: &&str| ForeignKey {
            references_schema: None,
            native: None,
            name: format!("{name}_{to}"),
            columns: vec!["a".to_owned()],
            references_table: (*to).to_owned(),
            references_columns: vec!["a".to_owned()],
            on_delete: "NO ACTION".to_owned(),
            on_update: "NO ACTION".to_owned(),
        };
        TableSchema {
            schema: None,
            member: None,
            name: name.to_owned(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: references.iter().map(key).collect(),
            auto_increment: None,
            native_options: String::new(),
            native_ddl: None,
            native_key: None,
            rows_estimate: 0,
            bytes_estimate: 0,
        }
    }

    fn spec(include: &[&str]) -> JobSpec {
        let end = |url: &str| Endpoint {
            url: url.to_owned(),
            password: None,
        };
        let mut spec = JobSpec::new("j", end("sqlite:a"), end("sqlite:b"));
        spec.include = include.iter().map(|glob| (*glob).to_owned()).collect();
        spec
    }

    #[test]
    fn patterns_that_match_nothing_are_named() {
        let tables = || vec![table("orders", &[]), table("users", &[])];
        let chosen = choose(&spec(&["ord*"]), tables()).expect("one matches");
        assert_eq!(chosen.len(), 1);
        let error = choose(&spec(&["ord*", "nope*"]), tables()).expect_err("one does not");
        assert_eq!(error.failure.code, Code::NoTableMatches);
        assert!(error.failure.what.contains("nope*"), "{error}");
        let error = choose(&spec(&[]), Vec::new()).expect_err("nothing there");
        assert_eq!(error.failure.code, Code::NoTableMatches);
    }

    #[test]
    fn a_foreign_key_that_points_out_of_the_job_is_left_out_and_said() {
        let mut tables = vec![
            table("orders", &["Users", "regions"]),
            table("users", &["users"]),
        ];
        let notes = cut_dangling_keys(&mut tables);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("regions"), "{notes:?}");
        assert_eq!(tables[0].foreign_keys.len(), 1);
        assert_eq!(tables[1].foreign_keys.len(), 1);
    }

    #[test]
    fn tables_that_are_there_are_named_up_to_ten() {
        let names: Vec<String> = (0..12).map(|no| format!("t{no}")).collect();
        assert_eq!(refuse_occupied(&names, &[Occupied::Absent; 12]), None);
        let failure = refuse_occupied(&names, &[Occupied::HoldsRows; 12]).expect("occupied");
        assert_eq!(failure.code, Code::TargetNotEmpty);
        assert!(
            failure.what.ends_with("t9 (holds rows) and 2 more"),
            "{failure}"
        );
        assert!(failure.fixes.is_empty());
        let mut one = [Occupied::Absent; 12];
        one[3] = Occupied::Empty;
        let failure = refuse_occupied(&names, &one).expect("occupied");
        assert_eq!(failure.what, "t3 (empty)");
        assert_eq!(failure.fixes.len(), 2);
    }
}
