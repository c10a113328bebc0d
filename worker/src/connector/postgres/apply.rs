//! Changes into this engine as a target, as sets: rows go by lists of keys, come by COPY, or by
//! INSERT where they are few. The order of steps, fence and marks: `recovery::applier`.
//!
//! The session's role is `replica`: triggers and foreign keys don't act, so rows may go and come in
//! any order of tables. So don't the checks of unique keys that can be deferred; for those the
//! rows that came are counted by their keys.

mod alter;
mod rows;
mod table;

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::change::net::NetChanges;
use common::code::Code;
use common::id::TableNo;
use common::limits;
use common::plan::TablePlan;

use self::table::{Table, open_transaction};
use super::define::Target;
use super::error::Failed;
use super::quote::text;
use super::session::{Host, Session};
use super::writer;
use crate::connector::recovery::applier::{Applier, Engine, Keys};
use crate::connector::recovery::books::Books;
use crate::connector::recovery::{self};
use crate::connector::{ApplyWork, Error, Result, TargetApplier};

pub fn open(host: &Host, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
    let sets = Sets {
        host: host.clone(),
        work: work.clone(),
        tables: BTreeMap::new(),
    };
    Ok(Box::new(Applier::new(sets, work)))
}

struct Sets {
    host: Host,
    work: ApplyWork,
    tables: BTreeMap<TableNo, Table>,
}

/// The role may not turn triggers off: that matters only if there is one.
async fn refuse_triggers(session: &mut Session, host: &Host, work: &ApplyWork) -> Result<()> {
    let names = work.tables.iter().map(|plan| {
        let table = &plan.target;
        let schema = host.schema_of(table.schema.as_deref());
        text(&super::quote::qualified(schema, &table.name))
    });
    let names = names.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT g.tgrelid::regclass::text FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p \
         ON p.oid = g.tgfoid WHERE g.tgenabled IN ('O', 'R') AND p.proname <> 'unique_key_recheck' \
         AND g.tgrelid = ANY (ARRAY(SELECT to_regclass(n) FROM unnest(ARRAY[{names}]::text[]) n)) \
         LIMIT 1"
    );
    let Some(table) = session.cell(&sql).await? else {
        return Ok(());
    };
    let what = format!(
        "table {table} has foreign keys or triggers, and the role may not turn them off for its \
         session (session_replication_role): they would act on changes that are the source's own"
    );
    let mut error = Error::permanent(Code::Privileges, what);
    let fix = "GRANT SET ON PARAMETER session_replication_role TO the role of the target's URL \
               (before PostgreSQL 15: ALTER ROLE it SUPERUSER)";
    error.failure.fixes.push(fix.to_owned());
    Err(error)
}

#[async_trait]
impl Engine for Sets {
    type Session = Session;

    const BEGIN: &'static str = "BEGIN";

    async fn connect(&self) -> Result<(Session, Option<Books>)> {
        writer::connect(&self.host).await
    }

    async fn settle(&mut self, session: &mut Session) -> Result<()> {
        let quiet: std::result::Result<u64, Failed> =
            session.run("SET session_replication_role = replica").await;
        match quiet {
            Ok(_) => Ok(()),
            Err(failed) if failed.error.failure.code == Code::Privileges => {
                refuse_triggers(session, &self.host, &self.work).await
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn apply(
        &mut self,
        session: &mut Session,
        begin: &str,
        changes: NetChanges,
    ) -> Result<Keys> {
        let mut begin = begin.to_owned();
        let no = changes.table;
        if !self.tables.contains_key(&no) {
            let Some(plan) = self.work.tables.get(no.0 as usize) else {
                let what = format!("the plan has no table {}", no.0);
                return Err(Error::permanent(Code::Internal, what));
            };
            let table = Table::new(session, &self.host, plan).await?;
            self.tables.insert(no, table);
        }
        let table = &self.tables[&no];
        if changes.truncate {
            let sql = format!("{begin}DELETE FROM {}", table.relation);
            session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            begin.clear();
        }
        if !changes.deletes.is_empty() {
            table.delete(session, &mut begin, &changes).await?;
        }
        if !changes.inserts.is_empty() {
            table.insert(session, &mut begin, &changes).await?;
        }
        let missed = table.patch(session, &mut begin, &changes).await?;
        open_transaction(session, &mut begin).await?;
        Ok(missed)
    }

    async fn run_all(
        &self,
        session: &mut Session,
        sql: &str,
    ) -> std::result::Result<Vec<u64>, recovery::Failed> {
        Ok(session.run_all(sql, limits::BEGIN_DEADLINE_MS).await?)
    }

    async fn alter(
        &mut self,
        session: Session,
        before: Option<&TablePlan>,
        table: &TablePlan,
    ) -> Result<Session> {
        let name = before.unwrap_or(table).target.full_name();
        let known = |plan: &TablePlan| plan.target.full_name() == name;
        match self.work.tables.iter().position(known) {
            Some(place) => self.work.tables[place] = table.clone(),
            None => self.work.tables.push(table.clone()),
        }
        self.tables.clear();
        let mut at = Target {
            session,
            current: self.work.current.clone(),
            schema: self.host.schema.clone(),
            same_engine: ddl_is_own(table),
        };
        alter::run(&mut at, table, &self.work.tables).await?;
        Ok(at.session)
    }
}

/// The source's own texts of definitions are this engine's.
fn ddl_is_own(table: &TablePlan) -> bool {
    table.form == common::schema::CellForm::Native
}
