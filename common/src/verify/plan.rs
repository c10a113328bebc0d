//! The plan of a job that compares or repairs: the migration's plan, with the tables as they are at
//! the target instead of those that would be made there.

use crate::change::FollowMode;
use crate::code::{Code, Failure};
use crate::fidelity::{Acceptance, Loss};
use crate::job::{JobSpec, Purpose, VerifyMode};
use crate::mapping;
use crate::partition::Split;
use crate::plan::{self, Plan, TablePlan};
use crate::rules::ColumnRule;
use crate::schema::{CanonicalType, Catalog, CellForm, Column, Engine, TableSchema, There};
use crate::verify::{SchemaDifference, VerifyOptions, schema};

/// Makes the plan, or says what is in its way: only what makes a comparison meaningless, such as a
/// rule that fits no column.
pub fn plan(mut catalog: Catalog, spec: &JobSpec, seed: u64, slots: u32) -> Result<Plan, Failure> {
    let there = catalog.there.take().map(|there| *there).unwrap_or_default();
    let mut plan = plan::plan(catalog, &migration(spec), seed, slots)?;
    let alike = plan.source.engine == plan.target.engine
        && !mapping::other_flavour(&plan.source, &plan.target);
    let ends = Ends {
        alike,
        engine: plan.target.engine,
    };
    plan.schema_differences =
        schema::differences(&plan.target, alike, &plan.tables, &plan.objects, &there);
    plan.objects.clear();
    // They say what a copy leaves behind.
    plan.notes.clear();
    let options = match &spec.purpose {
        Purpose::Verify(options) => options.clone(),
        _ => VerifyOptions::default(),
    };
    let wanted = Wanted::new(&options);
    wanted.check(&options, &plan.tables)?;
    let mut tables = Vec::new();
    for table in std::mem::take(&mut plan.tables) {
        let name = table.source.full_name();
        let Some(found) = find(&there, &table.target, ends.engine) else {
            continue;
        };
        match as_there(table, found, &wanted, ends) {
            Ok(table) => tables.push(table),
            // Never equal by not being looked at.
            Err(why) => plan.schema_differences.push(SchemaDifference {
                object: name.clone(),
                kind: "table".to_owned(),
                name,
                expected: Some("a table whose rows can be compared".to_owned()),
                found: Some(format!("not compared: {why}")),
            }),
        }
    }
    plan.tables = tables;
    Ok(plan)
}

/// The migration whose result is compared. What a copy would refuse to lose was lost, or wasn't
/// there to be lost: the rows will tell.
fn migration(spec: &JobSpec) -> JobSpec {
    let all = Loss::ALL.iter().map(|loss| Acceptance {
        loss: *loss,
        column: "*".to_owned(),
    });
    JobSpec {
        purpose: Purpose::Migrate,
        accept: all.collect(),
        follow: FollowMode::Off,
        verify: VerifyMode::None,
        from: None,
        ..spec.clone()
    }
}

/// The two ends, as far as reading them alike depends on it.
#[derive(Clone, Copy)]
struct Ends {
    /// One engine and one flavour of it.
    alike: bool,
    engine: Engine,
}

/// Whether a partition of a job that copies is a key range of its target too.
pub(crate) fn reads_alike(plan: &Plan, table: &TablePlan) -> bool {
    let there: Vec<Column> = table.target.copied_columns().cloned().collect();
    let ends = Ends {
        alike: plan.source.engine == plan.target.engine
            && !crate::mapping::other_flavour(&plan.source, &plan.target),
        engine: plan.source.engine,
    };
    is_aligned(table, &there, ends)
}

/// Which columns are compared.
struct Wanted(Vec<globset::GlobMatcher>);

impl Wanted {
    fn new(options: &VerifyOptions) -> Wanted {
        let globs = options.columns.iter();
        let globs = globs.filter_map(|glob| globset::Glob::new(glob).ok());
        Wanted(globs.map(|glob| glob.compile_matcher()).collect())
    }

    /// A pattern that matches nothing would make a comparison of nothing.
    fn check(&self, options: &VerifyOptions, tables: &[TablePlan]) -> Result<(), Failure> {
        let matched = |glob: &globset::GlobMatcher| {
            tables.iter().any(|table| {
                let name = table.source.full_name();
                let mut columns = table.rows().copied_columns();
                columns.any(|column| glob.is_match(format!("{name}.{}", column.name)))
            })
        };
        let globs = self.0.iter().zip(&options.columns);
        let unmatched: Vec<&str> = globs
            .filter(|(glob, _)| !matched(glob))
            .map(|(_, text)| text.as_str())
            .collect();
        match unmatched.is_empty() {
            true => Ok(()),
            false => {
                let what = format!("no column of the source matches {}", unmatched.join(", "));
                Err(Failure::new(Code::NoTableMatches, what))
            }
        }
    }

    fn has(&self, table: &TableSchema, column: &str) -> bool {
        let name = format!("{}.{column}", table.full_name());
        self.0.is_empty() || self.0.iter().any(|glob| glob.is_match(&name))
    }
}

fn find<'a>(there: &'a There, table: &TableSchema, engine: Engine) -> Option<&'a TableSchema> {
    let tables = || there.tables.iter().filter(|t| t.schema == table.schema);
    let exact = tables().find(|found| found.name == table.name);
    let folded = |found: &&TableSchema| {
        engine != Engine::Postgres && found.name.eq_ignore_ascii_case(&table.name)
    };
    exact.or_else(|| tables().find(folded))
}

/// The column of that name; names are compared as the engine does.
fn column<'a>(table: &'a TableSchema, name: &str, engine: Engine) -> Option<&'a Column> {
    let folded = |column: &&Column| {
        engine != Engine::Postgres && column.name.to_lowercase() == name.to_lowercase()
    };
    let exact = table.column(name);
    exact.or_else(|| table.columns.iter().find(folded))
}

/// The table with its target as it is there: the columns that both ends have and that are wanted.
fn as_there(
    mut table: TablePlan,
    found: &TableSchema,
    wanted: &Wanted,
    ends: Ends,
) -> Result<TablePlan, String> {
    let expected: Vec<Column> = table.target.copied_columns().cloned().collect();
    let pairs = paired_columns(&table, &expected, found, wanted, ends)?;
    if pairs.iter().any(Option::is_none) {
        without_unpaired(&mut table, &pairs)?;
    }
    let had_columns = !pairs.is_empty();
    let there: Vec<Column> = pairs.into_iter().flatten().collect();
    if there.is_empty() && had_columns {
        return Err("no column of it is at the target".to_owned());
    }
    let planned = |column: &Column| {
        let of = expected
            .iter()
            .find(|planned| planned.name.eq_ignore_ascii_case(&column.name));
        of.is_some_and(|planned| {
            planned.native_type == column.native_type && planned.charset == column.charset
        })
    };
    if !there.iter().all(planned) {
        table.form = CellForm::Canonical;
    }
    by_rowid_s_name(&mut table);
    if !is_aligned(&table, &there, ends) {
        table.split = Split::Whole;
    }
    table.target = TableSchema {
        columns: there,
        ..found.clone()
    };
    Ok(table)
}

/// For each column of the rows: the one of the target it is compared with, none where it is not
/// there or not wanted.
fn paired_columns(
    table: &TablePlan,
    expected: &[Column],
    found: &TableSchema,
    wanted: &Wanted,
    ends: Ends,
) -> Result<Vec<Option<Column>>, String> {
    let key = table.change_key();
    let mut pairs = Vec::new();
    for (column_of_rows, planned) in table.rows().copied_columns().zip(expected) {
        let name = &column_of_rows.name;
        let is_key = key.contains(name);
        let at_target = column(found, &planned.name, ends.engine);
        let there = at_target.filter(|c| c.generated.is_none());
        if is_key && there.is_none() {
            return Err(format!(
                "its key column {} is not at the target",
                planned.name
            ));
        }
        // Where rows have no key, their numbers mean nothing: they are a multiset.
        let compared = is_key || (wanted.has(&table.source, name) && !planned.is_hidden_rowid());
        if compared && at_target.is_some() && there.is_none() {
            return Err(format!(
                "its column {} is generated at the target",
                planned.name
            ));
        }
        pairs.push(there.filter(|_| compared).cloned());
    }
    Ok(pairs)
}

/// Leaves out the columns without a pair. A rule makes its rows of all its columns.
fn without_unpaired(table: &mut TablePlan, pairs: &[Option<Column>]) -> Result<(), String> {
    let columns = table.rows().copied_columns().zip(pairs);
    let gone: Vec<String> = columns
        .filter(|(_, pair)| pair.is_none())
        .map(|(column, _)| column.name.clone())
        .collect();
    if table.rule.is_some() {
        return Err(format!("it has a rule, and no column {}", gone.join(", ")));
    }
    table
        .source
        .columns
        .retain(|column| !gone.contains(&column.name));
    let mut kept = pairs.iter().map(Option::is_some);
    table.columns.retain(|_| kept.next().unwrap_or(true));
    Ok(())
}

/// SQLite's tables are cut by `rowid`; where a column stands for it, the other end knows that one.
fn by_rowid_s_name(table: &mut TablePlan) {
    let [key] = table.source.primary_key.as_slice() else {
        return;
    };
    let key = table.source.column(key);
    let is_rowid = key.is_some_and(|key| key.native_type.eq_ignore_ascii_case("INTEGER"));
    if let (true, Some(key), Split::Bucketed { columns, .. }) = (is_rowid, key, &mut table.split)
        && let [column] = columns.as_mut_slice()
        && table.source.column(column).is_none()
    {
        *column = key.name.clone();
    }
}

/// Whether a key range holds the same rows at both ends: only then is a table compared in parts.
fn is_aligned(table: &TablePlan, there: &[Column], ends: Ends) -> bool {
    let Split::Bucketed { columns, .. } = &table.split else {
        return false;
    };
    let place = |name: &String| {
        let renamed = table.rule.as_ref().and_then(|rule| rule.of(name));
        let name = match renamed {
            Some(change) if change.drop || changes_values(change) => return None,
            Some(change) => change.rename.as_ref().unwrap_or(name),
            None => name,
        };
        table
            .rows()
            .copied_columns()
            .position(|column| column.name == *name)
    };
    columns.iter().all(|name| {
        let source = table.source.column(name);
        let target = place(name).and_then(|place| there.get(place));
        match (source, target) {
            (Some(source), Some(target)) => ordered_alike(source, target, ends),
            _ => false,
        }
    })
}

fn changes_values(change: &ColumnRule) -> bool {
    change.mask.is_some() || change.trim.is_some() || !change.null_if.is_empty()
}

fn ordered_alike(source: &Column, target: &Column, ends: Ends) -> bool {
    let int = |column: &Column| matches!(column.canonical, CanonicalType::Int { .. });
    if int(source) && int(target) {
        return true;
    }
    let same = ends.alike
        && source.native_type == target.native_type
        && source.charset == target.charset
        && source.collation == target.collation;
    same && match ends.engine {
        Engine::Mysql => true,
        // A text is ordered by a library of the machine, and its column's collation isn't known.
        Engine::Postgres => !matches!(
            source.canonical,
            CanonicalType::Text { .. } | CanonicalType::Enum { .. } | CanonicalType::Json
        ),
        Engine::Sqlite => source.native_type.to_uppercase().contains("INT"),
    }
}
