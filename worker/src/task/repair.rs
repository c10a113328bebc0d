//! Makes one range of a table at the target equal to the source's, then compares it again.
//!
//! What differs is found as a verify job finds it, part by part. Of a part, rows that are too many or
//! other than at the source go first, then rows come: so a unique value may pass from one row to
//! another. Both go through the applier that following uses: fenced, with every count checked. A
//! run that was cut off anywhere is repeated: what it committed is equal by then.

mod rows;

use common::code::Code;
use common::id::TableNo;
use common::job::Purpose;
use common::limits::DIFFERENCES_PER_RANGE;
use common::task::TaskResult;
use common::verify::pair::Suspect;
use common::verify::{Class, Examined, RepairOptions, Repaired, TableRange};

use self::rows::{Kind, Moved};
use crate::connector::{Error, Result};
use crate::task::examine::Comparison;
use crate::task::examine::range::Range;
use crate::task::{TaskContext, examine};

pub async fn run(
    ctx: &TaskContext,
    number: u32,
    spec: Option<Box<TableRange>>,
) -> Result<TaskResult> {
    let (Some(spec), Purpose::Repair(options)) = (spec, &ctx.job.spec.purpose) else {
        let what = "a range without bounds was ordered to be repaired";
        return Err(Error::permanent(Code::Internal, what));
    };
    let no = table_of(ctx, &spec.table)?;
    let range = Range::new(ctx, ctx.table(no)?, spec.columns, spec.ranges, None)?;
    let mut repaired = Repaired::default();
    let mut told = Vec::new();
    let mut work: Option<Moved<'_, '_>> = None;
    let mut comparison = Comparison::begin(&range).await?;
    while let Some(suspects) = comparison.next().await? {
        let wanted: Vec<Suspect> = { suspects.iter() }
            .filter(|suspect| is_wanted(suspect, options, &spec.keys))
            .copied()
            .collect();
        count(&mut repaired, &wanted);
        let room = DIFFERENCES_PER_RANGE - told.len();
        told.extend(suspects.into_iter().take(room));
        if options.dry_run || wanted.is_empty() {
            continue;
        }
        let open = match work.take() {
            Some(open) => open,
            None => Moved::open(&range, no, number).await?,
        };
        mend(work.insert(open), &wanted).await?;
    }
    let mended = work.is_some();
    drop(work);
    repaired.left = match mended {
        true => examine::examine(&range).await?,
        false => Examined {
            listed: examine::list(&range, &told).await?,
            ..comparison.examined
        },
    };
    Ok(TaskResult::Repaired(Box::new(repaired)))
}

fn count(repaired: &mut Repaired, wanted: &[Suspect]) {
    for suspect in wanted {
        match suspect.class {
            Class::Missing => repaired.inserted += suspect.copies,
            Class::Different => repaired.updated += suspect.copies,
            Class::Extra => repaired.deleted += suspect.copies,
            Class::Representation | Class::InFlight => {}
        }
    }
}

fn table_of(ctx: &TaskContext, name: &str) -> Result<TableNo> {
    let mut tables = (0u32..).zip(&ctx.plan()?.tables);
    let found = tables.find(|(_, table)| table.source.full_name() == name);
    found.map(|(no, _)| TableNo(no)).ok_or_else(|| {
        let what = format!("table {name} is not at both ends");
        Error::permanent(Code::RepairPlan, what)
    })
}

fn is_wanted(suspect: &Suspect, options: &RepairOptions, keys: &[String]) -> bool {
    let class = match suspect.class {
        Class::Missing | Class::Extra | Class::Different => suspect.class,
        Class::Representation | Class::InFlight => return false,
    };
    let by_class = options.only.is_empty() || options.only.contains(&class);
    by_class && (keys.is_empty() || keys.contains(&format!("{:032x}", suspect.key)))
}

async fn mend(work: &mut Moved<'_, '_>, wanted: &[Suspect]) -> Result<()> {
    let these = |classes: &'static [Class]| {
        wanted
            .iter()
            .filter(move |suspect| classes.contains(&suspect.class))
    };
    let go = these(&[Class::Extra, Class::Different]);
    work.run(Kind::Delete, go).await?;
    let come = these(&[Class::Missing, Class::Different]);
    work.run(Kind::Insert, come).await?;
    work.commit().await
}
