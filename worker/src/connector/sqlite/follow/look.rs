//! What of a followed file may have changed beside its rows: the tables' columns and our triggers.

use common::code::Code;
use common::id::TableNo;
use common::limits;
use common::schema::CellForm;
use common::value::RowBatch;

use super::watch::{CHANGES, Watch, trigger_prefix};
use super::{cookie, drop_triggers, lost, prove};
use crate::connector::sqlite::cells::{read_any, read_canonical};
use crate::connector::sqlite::forms::is_hidden_rowid;
use crate::connector::sqlite::layout::Layout;
use crate::connector::sqlite::session::{Session, args, cell, quote};
use crate::connector::sqlite::types::Affinity;
use crate::connector::{Error, FetchRequest, ReadRequest, Result};

/// The first table that isn't as the plan has it, and what it is now.
pub async fn drifted(
    session: &mut Session,
    watches: &[Watch],
) -> Result<Option<(TableNo, String)>> {
    for (no, watch) in (0u32..).zip(watches) {
        let there = columns(session, &watch.table.name).await?;
        let planned: Vec<(String, String)> = { watch.table.columns.iter() }
            .filter(|column| !is_hidden_rowid(column))
            .map(|column| (column.name.clone(), column.native_type.clone()))
            .collect();
        if there == planned {
            continue;
        }
        let shown: Vec<String> = { there.iter() }
            .map(|(name, native)| format!("{name} {native}").trim_end().to_owned())
            .collect();
        let statement = match shown.is_empty() {
            true => "the table is gone, or has another name".to_owned(),
            false => format!("columns are now {}", shown.join(", ")),
        };
        return Ok(Some((TableNo(no), statement)));
    }
    Ok(None)
}

/// The columns that the plan's rows are made of, at least, are there.
pub async fn check_readable(session: &mut Session, watches: &[Watch]) -> Result<()> {
    for watch in watches {
        let there = columns(session, &watch.table.name).await?;
        let missing = watch.table.copied_columns().find(|column| {
            let same = |(name, _): &(String, String)| name.eq_ignore_ascii_case(&column.name);
            !is_hidden_rowid(column) && !there.iter().any(same)
        });
        if let Some(column) = missing {
            let what = format!(
                "{} has no column {} any more",
                watch.table.name, column.name
            );
            return Err(Error::permanent(Code::SchemaDrift, what));
        }
    }
    Ok(())
}

async fn columns(session: &mut Session, table: &str) -> Result<Vec<(String, String)>> {
    let sql = "SELECT name, type FROM pragma_table_xinfo(?) ORDER BY cid";
    let rows = session.rows(sql, args([table])).await?;
    let column = |row| {
        let (name, native): (String, String) = (cell(row, 0)?, cell(row, 1)?);
        let native = native.trim_end_matches(" GENERATED ALWAYS").to_owned();
        Ok((name, native))
    };
    rows.iter().map(column).collect()
}

/// Whether every trigger stands as it should by the tables and indexes there are now. One that is
/// missing is an error: what it would have logged is lost.
pub async fn triggers_stand(
    session: &mut Session,
    watches: &[Watch],
    uid: &str,
    job: i64,
) -> Result<bool> {
    let mut all = true;
    for (no, watch) in (0u32..).zip(watches) {
        let prefix = format!("{}{no}_", trigger_prefix(uid));
        let sql = format!(
            "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, {}) = ?",
            prefix.len()
        );
        let mut there = Vec::new();
        for row in session.rows(&sql, args([&prefix])).await? {
            there.push(cell::<String>(&row, 0)?);
        }
        let mut wanted = watch.triggers(session, uid, job, no).await?;
        if there.len() != wanted.len() {
            let what = format!(
                "triggers on {} are gone (was the table made anew?): what was changed in it since \
                 is not logged",
                watch.table.name
            );
            return Err(Error::permanent(Code::LogLost, what));
        }
        there.sort();
        wanted.sort();
        all &= there == wanted;
    }
    Ok(all)
}

/// Makes the triggers anew: a unique index came, or a column of a table whose rows are logged
/// whole. Returns the schema's number then.
pub async fn renew(
    session: &mut Session,
    watches: &[Watch],
    uid: &common::id::JobUid,
    job: i64,
    after: u64,
) -> Result<i64> {
    session.begin_write(limits::BEGIN_DEADLINE_MS).await?;
    let cells = watches.iter().map(|watch| watch.logged().len()).max();
    let sql = "SELECT count(*) FROM pragma_table_info('sterna_changes')";
    let there = session.number(sql, args([])).await?.unwrap_or(0) - 5;
    for n in there..cells.unwrap_or(0) as i64 {
        let sql = format!("ALTER TABLE {CHANGES} ADD COLUMN c{n}");
        session.quick(&sql, args([])).await?;
    }
    for (no, watch) in (0u32..)
        .zip(watches)
        .filter(|(_, watch)| !watch.image.is_empty())
    {
        // Their images have other columns than the triggers will write.
        let head = watch.triggers(session, &uid.0, job, no).await?;
        let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND sql = ?";
        let first = head.first().map(String::as_str).unwrap_or_default();
        let same = session.number(sql, args([first])).await? == Some(1);
        let sql = format!(
            "SELECT count(*) FROM {CHANGES} WHERE job = {job} AND tbl = {no} AND id > {after}"
        );
        if !same && session.number(&sql, args([])).await? != Some(0) {
            let what = format!(
                "{} is followed by its whole rows, and rows were changed before the new columns \
                 could be logged",
                watch.table.name
            );
            return Err(Error::permanent(Code::SchemaDrift, what));
        }
    }
    drop_triggers(session, uid).await?;
    for (no, watch) in (0u32..).zip(watches) {
        for sql in watch.triggers(session, &uid.0, job, no).await? {
            session.run_once(&sql, args([])).await?;
        }
        prove(session, &watch.table).await?;
    }
    let cookie = cookie(session).await?;
    session.commit().await?;
    Ok(cookie)
}

/// The rows that have these keys now.
pub async fn fetch(session: &mut Session, request: &FetchRequest) -> Result<RowBatch> {
    let plan = &request.table;
    let read = ReadRequest::source(plan, Vec::new(), Vec::new());
    let (layout, list) = Layout::new(&read, false)?;
    let Some(Watch { ident, .. }) = Watch::new(plan) else {
        return Err(lost(
            std::path::Path::new(&plan.source.name),
            "it has no key",
        ));
    };
    let super::watch::Ident::Key(key) = ident else {
        let what = format!("{} has no key to fetch rows by", plan.source.name);
        return Err(Error::permanent(Code::Internal, what));
    };
    let terms: Vec<String> = { key.iter() }
        .map(|name| format!("s.{} = ?", quote(name)))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} AS s WHERE {}",
        list.join(", "),
        quote(&plan.source.name),
        terms.join(" AND ")
    );
    let mut found = RowBatch::new(layout.width());
    let cells: Vec<Option<&[u8]>> = request.keys.cells().collect();
    for wanted in cells.chunks(key.len().max(1)) {
        let mut arguments = args([]);
        for (name, cell) in key.iter().zip(wanted) {
            let column = plan.source.column(name);
            let value = match (cell, column, plan.form) {
                (Some(cell), _, CellForm::Native) => read_any(cell),
                (Some(cell), Some(column), CellForm::Canonical) => {
                    let affinity = Affinity::of(&column.native_type);
                    read_canonical(&column.canonical, affinity, cell)
                }
                _ => Err("a key without a value".to_owned()),
            };
            let value = value.map_err(|reason| {
                Error::permanent(
                    Code::Internal,
                    format!("{}.{name}: {reason}", plan.source.name),
                )
            })?;
            value.bind(&mut arguments);
        }
        for row in session.rows(&sql, arguments).await? {
            layout.append(&row, &mut found)?;
        }
    }
    Ok(found)
}
