//! Where fence, ledger and marks are: in a schema named `sterna` where the rights allow, else as
//! `sterna_fence`, `sterna_ledger` and `sterna_follow` in the default schema. What is in them: `recovery::books`.

use common::code::Code;

use super::error::{Failed, UNIQUE_VIOLATION};
use super::quote::{ident, qualified, text};
use super::session::{Host, Session};
use crate::connector::Current;
use crate::connector::recovery::books::Books;

/// Our schema on a target.
pub const SCHEMA: &str = "sterna";
/// Our tables where we may not have a schema.
pub const FENCE_BESIDE: &str = "sterna_fence";
pub const LEDGER_BESIDE: &str = "sterna_ledger";
pub const FOLLOW_BESIDE: &str = "sterna_follow";

fn apart() -> Books {
    Books {
        fence: qualified(SCHEMA, "fence"),
        ledger: qualified(SCHEMA, "ledger"),
        follow: qualified(SCHEMA, "follow"),
        apart: true,
    }
}

fn beside(schema: &str) -> Books {
    Books {
        fence: qualified(schema, FENCE_BESIDE),
        ledger: qualified(schema, LEDGER_BESIDE),
        follow: qualified(schema, FOLLOW_BESIDE),
        apart: false,
    }
}

/// Finds the tables; None = there are none (that this user may use).
pub async fn find(session: &mut Session, host: &Host) -> Result<Option<Books>, Failed> {
    let may = |what: &str| format!("has_table_privilege(c.oid, '{what}')");
    let sql = format!(
        "SELECT (n.nspname = {0} AND c.relname IN ('fence', 'ledger'))::text FROM \
         pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND ((n.nspname = {0} AND c.relname IN ('fence', 'ledger')) OR \
         (n.nspname = {1} AND c.relname IN ({2}, {3}))) \
         AND has_schema_privilege(n.oid, 'USAGE') AND {4} AND {5} AND {6} AND {7}",
        text(SCHEMA),
        text(&host.schema),
        text(FENCE_BESIDE),
        text(LEDGER_BESIDE),
        may("SELECT"),
        may("INSERT"),
        may("UPDATE"),
        may("DELETE"),
    );
    let rows = session.rows(&sql).await?;
    let found = |flag: &str| {
        let here = |row: &&Vec<Option<String>>| row.first() == Some(&Some(flag.to_owned()));
        rows.iter().filter(here).count() == 2
    };
    Ok(if found("true") {
        Some(apart())
    } else if found("false") {
        Some(beside(&host.schema))
    } else {
        None
    })
}

/// Finds or creates the tables.
pub async fn ensure(
    session: &mut Session,
    host: &Host,
    current: &Current,
) -> Result<Books, Failed> {
    if let Some(books) = find(session, host).await? {
        complete(&books, session, current).await?;
        return Ok(books);
    }
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", ident(SCHEMA));
    check(current).await?;
    let apart = match session.run(&sql).await {
        Ok(_) => create(apart(), session, current).await,
        Err(failed) => Err(failed),
    };
    let made = match apart {
        Err(failed) if failed.error.failure.code == Code::Privileges => {
            create(beside(&host.schema), session, current).await
        }
        made => made,
    };
    match made {
        // Another job made them at the same moment: IF NOT EXISTS doesn't see that.
        Err(failed) if failed.sqlstate == UNIQUE_VIOLATION => {
            find(session, host).await?.ok_or(failed)
        }
        made => made,
    }
}

async fn create(books: Books, session: &mut Session, current: &Current) -> Result<Books, Failed> {
    check(current).await?;
    session
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, unit text NOT NULL, \
             epoch bigint NOT NULL, n bigint NOT NULL, session bigint NOT NULL, \
             session_start bigint NOT NULL, PRIMARY KEY (job, unit))",
            books.fence
        ))
        .await?;
    check(current).await?;
    session
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, part bigint NOT NULL, \
             epoch bigint NOT NULL, row_count bigint NOT NULL, byte_count bigint NOT NULL, \
             digest text NOT NULL, snapshot text, PRIMARY KEY (job, part))",
            books.ledger
        ))
        .await?;
    complete(&books, session, current).await?;
    Ok(books)
}

/// Makes what bookkeeping of an older version lacks.
async fn complete(books: &Books, session: &mut Session, current: &Current) -> Result<(), Failed> {
    let lacks = format!(
        "SELECT (to_regclass({}) IS NULL)::text, (NOT EXISTS (SELECT FROM pg_catalog.pg_attribute \
         WHERE attrelid = to_regclass({}) AND attname = 'snapshot' AND NOT attisdropped))::text",
        text(&books.follow),
        text(&books.ledger)
    );
    let lacks = session.row(&lacks).await?.unwrap_or_default();
    let is_true = |at: usize| lacks.get(at) == Some(&Some("true".to_owned()));
    if is_true(0) {
        check(current).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, lane bigint NOT NULL, \
             mark text NOT NULL, PRIMARY KEY (job, lane))",
            books.follow
        );
        session.run(&create).await?;
    }
    if is_true(1) {
        check(current).await?;
        let add = format!(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS snapshot text",
            books.ledger
        );
        session.run(&add).await?;
    }
    Ok(())
}

/// Drops the tables (and our schema) if no other job uses them.
pub async fn drop(session: &mut Session, books: &Books) -> Result<(), Failed> {
    let follow = format!("SELECT to_regclass({})::text", text(&books.follow));
    let mut tables = vec![books.fence.as_str(), books.ledger.as_str()];
    if session.cell(&follow).await?.is_some() {
        tables.push(&books.follow);
    }
    let lock = format!(
        "BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        tables.join(", ")
    );
    // Another job's prepared transactions hold these tables: then it isn't ours to drop them.
    let dropped = match session.run(&lock).await {
        Ok(_) => drop_if_empty(session, &tables).await,
        Err(_) => Ok(false),
    };
    match dropped {
        Ok(true) => session.run("COMMIT").await?,
        _ => session.run("ROLLBACK").await?,
    };
    if dropped.is_ok_and(|dropped| dropped) && books.apart {
        // It stays if anything else is in it, or it isn't ours to drop: nobody is hurt.
        let drop = format!("DROP SCHEMA IF EXISTS {}", ident(SCHEMA));
        let _ = session.run(&drop).await;
    }
    Ok(())
}

/// False: another job uses them. An error: we may not drop them.
async fn drop_if_empty(session: &mut Session, tables: &[&str]) -> Result<bool, Failed> {
    for table in tables {
        let count = format!("SELECT count(*) FROM {table}");
        if session.cell(&count).await?.as_deref() != Some("0") {
            return Ok(false);
        }
    }
    session
        .run(&format!("DROP TABLE {}", tables.join(", ")))
        .await?;
    Ok(true)
}

async fn check(current: &Current) -> Result<(), Failed> {
    let ours = current.still_ours().await;
    ours.map_err(|error| Failed {
        sqlstate: String::new(),
        error,
    })
}
