//! Jobs of one PostgreSQL database to another, definitions only.

use common::epoch::Epoch;
use common::id::{JobUid, TableNo, TaskNo};
use common::job::{Endpoint, JobSpec};
use common::partition::Split;
use common::plan::{Plan, TablePlan};
use common::schema::{CellForm, TableSchema};
use common::task::TaskKind;
use worker::connector::{Connector, DefineWork, Inspection, Result, Role};
use worker::secret::Secrets;

/// Both ends of a job, and what was found at its source.
pub struct Job {
    pub target: Box<dyn Connector>,
    pub spec: JobSpec,
    pub inspection: Inspection,
    pub plan: Plan,
    uid: JobUid,
}

pub fn connector(url: &str) -> Box<dyn Connector> {
    worker::connector::open(&endpoint(url), &Secrets::default()).expect("a connector")
}

pub fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.to_owned(),
        password: None,
    }
}

/// A table that goes to the target as it is.
pub fn as_it_is(table: &TableSchema) -> TablePlan {
    TablePlan {
        source: table.clone(),
        shaped: None,
        target: table.clone(),
        form: CellForm::Native,
        split: Split::Whole,
        columns: Vec::new(),
        rule: None,
    }
}

impl Job {
    pub async fn new(source: &str, target: &str) -> Job {
        let spec = JobSpec::new("job", endpoint(source), endpoint(target));
        Job::of(spec).await
    }

    /// Inspects both ends of `spec`.
    pub async fn of(spec: JobSpec) -> Job {
        let source = connector(&spec.source.url);
        let target = connector(&spec.target.url);
        let inspection = source.inspect(Role::Source, &spec).await.expect("source");
        let at_target = target.inspect(Role::Target, &spec).await.expect("target");
        let names: Vec<String> = inspection.tables.iter().map(|t| t.full_name()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (chosen, _) = spec.select(&names);
        let tables = inspection.tables.iter();
        let tables = tables.filter(|table| chosen.contains(&table.full_name().as_str()));
        let plan = Plan {
            follow: common::change::FollowMode::Off,
            source: inspection.facts.clone(),
            target: at_target.facts,
            tables: tables.map(as_it_is).collect(),
            objects: inspection.objects.clone(),
            notes: Vec::new(),
            schema_differences: Vec::new(),
        };
        Job {
            target,
            spec,
            inspection,
            plan,
            uid: JobUid::parse(&"7".repeat(32)).expect("hex digits"),
        }
    }

    pub async fn define(&self, task: u32, epoch: u32, kind: TaskKind) -> Result<()> {
        let work = DefineWork {
            job: self.uid.clone(),
            task: TaskNo(task),
            epoch: Epoch(epoch),
            kind,
            spec: self.spec.clone(),
            tables: self.plan.tables.clone(),
            objects: self.plan.objects.clone(),
            current: worker::connector::Current::always(),
        };
        self.target.define(work).await
    }

    pub async fn create(&self, epoch: u32) -> Result<()> {
        self.define(0, epoch, TaskKind::Create).await
    }

    /// Everything that follows the rows.
    pub async fn finish(&self, epoch: u32) -> Result<()> {
        let tables = 0..self.plan.tables.len() as u32;
        // Backwards: nothing may depend on the order of tables.
        for table in tables.clone().rev() {
            let kind = TaskKind::Index {
                table: TableNo(table),
            };
            self.define(1 + table, epoch, kind).await?;
        }
        for table in tables {
            let kind = TaskKind::ForeignKeys {
                table: TableNo(table),
            };
            self.define(1_001 + table, epoch, kind).await?;
        }
        self.define(5_000, epoch, TaskKind::Objects).await
    }
}
