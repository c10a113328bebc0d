//! From a catalog to a plan: which tables, mapped how, cut into which partitions.

use serde::{Deserialize, Serialize};

use crate::change::{FollowMode, LogFacts};
use crate::code::{Code, Failure};
use crate::fidelity::ColumnVerdict;
use crate::id::{PartitionNo, TableNo};
use crate::job::JobSpec;
use crate::limits;
use crate::mapping;
use crate::partition::{Split, even_seed, partitions_of};
use crate::rules::TableRule;
use crate::schema::{
    Catalog, CellForm, EndpointFacts, Index, IndexColumn, KeyRange, KeySample, SchemaObject,
    TableSchema,
};
use crate::shape;
use crate::verify::SchemaDifference;

/// What a job will do, fixed when planning ends. Immutable: workers cache it by job and revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub source: EndpointFacts,
    pub target: EndpointFacts,
    pub tables: Vec<TablePlan>,
    /// Carried with the tables: one engine on both ends only.
    #[serde(default)]
    pub objects: Vec<SchemaObject>,
    pub notes: Vec<String>,
    /// `Off`, `PointInTime` or `Live`: [`FollowMode::Auto`] is settled by then.
    #[serde(default = "not_followed")]
    pub follow: FollowMode,
    /// Of a job that compares: what the target's schema has otherwise than planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_differences: Vec<SchemaDifference>,
}

fn not_followed() -> FollowMode {
    FollowMode::Off
}

/// One table of a plan. Rows are read as `source` says, changed on the way if the job has a rule
/// for them, and travel on as [`TablePlan::rows`]; the copied columns of `rows` and `target`
/// correspond one to one, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePlan {
    pub source: TableSchema,
    /// The rows after the job's rule, in the source's (or a computed column's) canonical types;
    /// None = as in `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shaped: Option<TableSchema>,
    /// The table to make, in the target's own types.
    pub target: TableSchema,
    pub form: CellForm,
    pub split: Split,
    /// One for each copied column of `target`, in order.
    #[serde(default)]
    pub columns: Vec<ColumnVerdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<TableRule>,
}

impl TablePlan {
    /// The rows that are written, and what their digest is about, on either end.
    pub fn rows(&self) -> &TableSchema {
        self.shaped.as_ref().unwrap_or(&self.source)
    }

    /// The columns of [`TablePlan::rows`] that say which row a change is about: the primary key,
    /// else the first unique key none of whose columns may be NULL; empty for a table without.
    pub fn change_key(&self) -> Vec<String> {
        let rows = self.rows();
        if !rows.primary_key.is_empty() {
            return rows.primary_key.clone();
        }
        let whole = |index: &&Index| {
            let column_is_whole = |column: &IndexColumn| {
                let known = rows.column(&column.name);
                column.prefix.is_none()
                    && known.is_some_and(|c| !c.nullable && c.generated.is_none())
            };
            index.unique && index.native.is_none() && index.columns.iter().all(column_is_whole)
        };
        let unique = rows.indexes.iter().find(whole);
        let columns = unique.into_iter().flat_map(|index| &index.columns);
        columns.map(|column| column.name.clone()).collect()
    }
}

/// x on the way out: what a partition consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSpec {
    pub partition: PartitionNo,
    pub table: TableNo,
    /// i of `P_i`.
    pub class: u32,
    /// The key columns the ranges are about, in order; empty for a whole table.
    pub columns: Vec<String>,
    pub ranges: Vec<KeyRange>,
}

/// x on the way back: what was loaded, as it was read at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Bytes of all cells as they travelled.
    pub bytes: u64,
    pub digest: crate::digest::Digest,
}

impl Plan {
    /// All but the bounds between buckets: a large table has a million, and every worker has the plan.
    pub fn without_bounds(&self) -> Plan {
        let whole = |table: &TablePlan| TablePlan {
            source: table.source.clone(),
            split: Split::Whole,
            shaped: table.shaped.clone(),
            target: table.target.clone(),
            form: table.form,
            columns: table.columns.clone(),
            rule: table.rule.clone(),
        };
        Plan {
            source: self.source.clone(),
            target: self.target.clone(),
            tables: self.tables.iter().map(whole).collect(),
            objects: self.objects.clone(),
            notes: self.notes.clone(),
            follow: self.follow,
            schema_differences: self.schema_differences.clone(),
        }
    }

    /// Every partition in order: (table, class, buckets). Deterministic, so the log need not hold it.
    pub fn partitions(&self) -> Vec<(TableNo, u32, Vec<u32>)> {
        let mut partitions = Vec::new();
        for (table, plan) in (0u32..).zip(&self.tables) {
            for (class, buckets) in plan.split.classes(table) {
                partitions.push((TableNo(table), class, buckets));
            }
        }
        partitions
    }

    pub fn table(&self, table: TableNo) -> &TablePlan {
        &self.tables[table.0 as usize]
    }
}

/// What is done about changes: what the user asked for, as far as the source's log allows.
fn followed(
    spec: &JobSpec,
    log: Option<LogFacts>,
    notes: &mut Vec<String>,
) -> Result<FollowMode, Failure> {
    match (spec.follow, log) {
        (FollowMode::Auto, Some(LogFacts::Usable)) => Ok(FollowMode::PointInTime),
        (FollowMode::Auto, Some(LogFacts::Unusable(failure))) => {
            notes.push(format!(
                "changes made while copying are not replayed: {}",
                failure.what
            ));
            Ok(FollowMode::Off)
        }
        (FollowMode::Auto | FollowMode::Off, _) => Ok(FollowMode::Off),
        (_, Some(LogFacts::Unusable(failure))) => Err(failure),
        (mode, Some(LogFacts::Usable | LogFacts::OnRequest)) => Ok(mode),
        (_, None) => {
            let what = "nobody looked whether the source's log can be followed";
            Err(Failure::new(Code::Internal, what))
        }
    }
}

/// Makes the plan, or says everything that is in its way. `slots` is what the cluster has now.
pub fn plan(catalog: Catalog, spec: &JobSpec, seed: u64, slots: u32) -> Result<Plan, Failure> {
    let same_engine = catalog.source.engine == catalog.target.engine;
    let mut catalog = catalog;
    let (from, to) = (catalog.source.engine, catalog.target.engine);
    let mut notes = std::mem::take(&mut catalog.notes);
    for table in &mut catalog.tables {
        notes.extend(mapping::as_read(&mut table.schema, spec, from, to));
    }
    let follow = followed(spec, catalog.log.take(), &mut notes)?;
    let shaping = shape::shape(&catalog, spec)?;
    let schemas: Vec<&TableSchema> = shaping.tables.iter().map(|table| &table.schema).collect();
    let mapped = mapping::map_tables(&schemas, &catalog.source, &catalog.target, spec)?;
    notes.extend(shaping.notes);
    notes.extend(mapped.notes);
    let other_flavour = mapping::other_flavour(&catalog.source, &catalog.target);
    let objects = match same_engine && !other_flavour {
        true => shape::objects(catalog.objects, &catalog.tables, spec, &mut notes),
        false => {
            notes.extend(catalog.objects.iter().map(not_carried));
            Vec::new()
        }
    };
    let writers = slots.min(catalog.target.writers_max).max(1);
    let shapes = shaping.tables.into_iter().zip(mapped.tables);
    let tables: Vec<TablePlan> = (0u32..)
        .zip(catalog.tables)
        .zip(shapes)
        .map(|((no, table), (shape, (target, columns)))| {
            let bytes = table.schema.bytes_estimate;
            let n = partitions_of(bytes, spec.partition_bytes, spec.split_bytes_min, writers);
            TablePlan {
                split: split(no, table.key, n, seed),
                source: table.schema,
                shaped: shape.rule.as_ref().map(|_| shape.schema),
                target,
                form: shape.form,
                columns,
                rule: shape.rule,
            }
        })
        .collect();
    let plan = Plan {
        source: catalog.source,
        target: catalog.target,
        tables,
        objects,
        notes,
        follow,
        schema_differences: Vec::new(),
    };
    let partitions: u64 = plan
        .tables
        .iter()
        .map(|table| u64::from(table.split.n()))
        .sum();
    if partitions > u64::from(limits::PARTITIONS_MAX) {
        let what = format!(
            "{partitions} partitions are more than {}: raise partition_bytes",
            limits::PARTITIONS_MAX
        );
        return Err(Failure::new(Code::JobFile, what));
    }
    Ok(plan)
}

/// What a plan says of an object that is left behind.
pub fn not_carried(object: &SchemaObject) -> String {
    format!(
        "{} {} is not carried to another engine",
        object.kind, object.name
    )
}

fn split(table: u32, key: KeySample, n: u32, seed: u64) -> Split {
    if key.columns.is_empty() || key.bounds.is_empty() {
        return Split::Whole;
    }
    let buckets = key.bounds.len() as u32 + 1;
    let n = n.min(buckets);
    let seed = even_seed(seed, table, buckets, n);
    Split::Bucketed {
        columns: key.columns,
        bounds: key.bounds.into_iter().collect(),
        n,
        seed,
    }
}

/// Buckets a table of `bytes` is cut into: what the inspecting worker samples bounds for.
/// At least one for each slot, if the table is worth splitting at all.
pub fn buckets_wanted(bytes: u64, spec: &JobSpec, slots: u32) -> u32 {
    if bytes < spec.split_bytes_min {
        return 1;
    }
    let buckets = bytes
        .div_ceil(spec.bucket_bytes.max(1))
        .max(u64::from(slots));
    buckets.clamp(1, u64::from(limits::BUCKETS_PER_TABLE_MAX)) as u32
}
