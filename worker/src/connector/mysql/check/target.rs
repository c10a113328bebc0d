//! Checks of a target: whether it can be written to as the job has to, and what others do there.

use common::check::Check;
use common::code::Code;

use super::super::binlog::facts;
use super::super::quote::ident;
use super::server::of_database;
use super::{Asker, cell, listed, may_not, with_fixes};
use crate::connector::Result;

/// A name nobody has: statements about it fail, of missing rights or because it isn't there.
const PROBE: &str = "sterna_check_probe";

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let answer = read_only(ask).await;
    let writable = matches!(&answer, Ok(check) if check.code.is_none());
    checks.push(ask.settled("read-only", answer).await);
    if writable && ask.writes() {
        let answer = privileges(ask).await;
        checks.push(ask.settled("privileges", answer).await);
        let answer = two_phase(ask).await;
        checks.push(ask.settled("two-phase", answer).await);
    }
    let answer = local_infile(ask).await;
    checks.push(ask.settled("local-infile", answer).await);
    let answer = replication_role(ask).await;
    checks.push(ask.settled("replication-role", answer).await);
    let answer = triggers(ask).await;
    checks.push(ask.settled("triggers", answer).await);
    let answer = foreign_writers(ask).await;
    checks.push(ask.settled("foreign-writers", answer).await);
    let answer = durability(ask).await;
    checks.push(ask.settled("durability", answer).await);
    let answer = table_names(ask).await;
    checks.push(ask.settled("table-names", answer).await);
    checks
}

async fn read_only(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "read-only";
    let mut set = Vec::new();
    for variable in ["super_read_only", "read_only", "innodb_read_only"] {
        let value = facts::global(&mut ask.session, variable).await?;
        if value.is_some_and(|value| !["OFF", "0"].contains(&value.as_str())) {
            set.push(variable.to_owned());
        }
    }
    if set.is_empty() || !ask.writes() {
        return Ok(ask.passed(name, "the server can be written to"));
    }
    let fixes = set.iter().map(|variable| match variable.as_str() {
        "innodb_read_only" => "-- start the server without --innodb-read-only".to_owned(),
        variable => format!("SET GLOBAL {variable} = 0"),
    });
    let found = format!("{} is on", set.join(", "));
    // Somebody with the right to may write all the same.
    let may = super::super::inspect::may_write_read_only(&mut ask.session).await?;
    let check = match may && !set.contains(&"innodb_read_only".to_owned()) {
        true => ask
            .warning(name, Code::TargetReadOnly, found)
            .means("this user may write all the same, and does"),
        false => ask
            .failed(name, Code::TargetReadOnly, found)
            .means("somebody wants nothing to be written there"),
    };
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

/// Each right is tried on a table that isn't there or can't be: the server looks at the right first.
async fn privileges(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "privileges";
    let database = ident(&ask.host.database);
    let probe = format!("{database}.{}", ident(PROBE));
    let statements = [
        // Two columns of one name: no such table can be.
        ("CREATE", format!("CREATE TABLE {probe} (x INT, x INT)")),
        ("DROP", format!("DROP TABLE {probe}")),
        ("ALTER", format!("ALTER TABLE {probe} ENGINE = InnoDB")),
        ("INDEX", format!("CREATE INDEX probe ON {probe} (x)")),
        ("SELECT", format!("SELECT 1 FROM {probe}")),
        ("INSERT", format!("INSERT INTO {probe} VALUES (1)")),
        ("UPDATE", format!("UPDATE {probe} SET x = 1")),
        ("DELETE", format!("DELETE FROM {probe}")),
    ];
    let mut lacking = Vec::new();
    for (right, sql) in statements {
        match ask.session.run(&sql).await {
            Err(failed) if may_not(&failed) => lacking.push(right.to_owned()),
            // A connection that broke says nothing.
            Err(failed) if failed.number == 0 => return Err(failed.into()),
            _ => {}
        }
    }
    if lacking.is_empty() {
        return Ok(ask.passed(name, "tables can be made, filled and dropped (tried)"));
    }
    let grantee = facts::grantee(&mut ask.session).await?;
    let rights = lacking.join(", ");
    Ok(ask
        .failed(name, Code::Privileges, format!("the user lacks {rights}"))
        .means("the job makes and fills its tables there")
        .fix(format!("GRANT {rights} ON {database}.* TO {grantee}")))
}

/// A transaction that does nothing is prepared's first half, and prepared ones are listed.
async fn two_phase(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "two-phase";
    let xid = format!("'{PROBE}-{}'", ask.session.facts.connection);
    for sql in [
        format!("XA START {xid}"),
        format!("XA END {xid}"),
        format!("XA ROLLBACK {xid}"),
    ] {
        ask.session.run(&sql).await?;
    }
    match ask.texts("XA RECOVER").await {
        Ok(_) => Ok(ask.passed(name, "XA transactions can be begun and listed (tried)")),
        Err(failed) if may_not(&failed) || failed.number == 1401 => {
            let grantee = facts::grantee(&mut ask.session).await?;
            let found = "the user may not list prepared transactions";
            Ok(ask
                .failed(name, Code::Privileges, found)
                .means("after a fault nobody could find and end what was prepared")
                .fix(format!("GRANT XA_RECOVER_ADMIN ON *.* TO {grantee}")))
        }
        Err(failed) => Err(failed.into()),
    }
}

async fn local_infile(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "local-infile";
    let row = ask.line("SELECT @@GLOBAL.local_infile").await?;
    if cell(&row, 0) == "1" || !ask.writes() {
        return Ok(ask.passed(name, "LOAD DATA LOCAL is allowed"));
    }
    Ok(ask
        .warning(name, Code::CheckFound, "local_infile is OFF")
        .means("rows go in by INSERT, at about half the speed")
        .fix("SET GLOBAL local_infile = 1"))
}

async fn replication_role(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "replication-role";
    let rows = ask.either("SHOW SLAVE STATUS", "SHOW REPLICA STATUS").await;
    let rows = match rows {
        Err(failed) if may_not(&failed) => {
            return Ok(ask.passed(name, "the user may not ask whether it is a replica"));
        }
        rows => rows?,
    };
    if rows.is_empty() {
        return Ok(ask.passed(name, "the server is no replica"));
    }
    let words = match ask.session.facts.mariadb {
        true => ["STOP ALL SLAVES", "RESET SLAVE ALL"],
        false => ["STOP REPLICA", "RESET REPLICA ALL"],
    };
    let check = ask
        .warning(name, Code::CheckFound, "the server is a replica")
        .means("its primary writes there too, and never hears of what is copied to it");
    Ok(with_fixes(check, words.map(str::to_owned)))
}

async fn triggers(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "triggers";
    let sql = format!(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE \
         trigger_schema = {} ORDER BY 1",
        of_database(ask)
    );
    let rows = ask.texts(&sql).await?;
    let tables = &ask.request.tables;
    let on_ours = |row: &&Vec<String>| {
        let mut names = tables.iter().map(|table| table.name.to_lowercase());
        names.any(|table| table == cell(row, 1).to_lowercase())
    };
    let rows: Vec<&Vec<String>> = rows.iter().filter(on_ours).collect();
    if rows.is_empty() || !ask.writes() {
        return Ok(ask.passed(name, "no trigger would act on what is written"));
    }
    let said = rows
        .iter()
        .map(|row| format!("{} on {}", cell(row, 0), cell(row, 1)));
    let database = ident(&ask.host.database);
    let fixes = rows.iter().map(|row| {
        let trigger = ident(cell(row, 0));
        format!("DROP TRIGGER {database}.{trigger}")
    });
    let check = ask
        .warning(name, Code::CheckFound, listed(&said.collect::<Vec<_>>()))
        .means("they act on every row that is written: what they write is written twice");
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

async fn foreign_writers(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "foreign-writers";
    let sql = format!(
        "SELECT p.id, p.user FROM information_schema.innodb_trx t JOIN \
         information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.db = {} AND \
         p.id <> CONNECTION_ID() AND t.trx_rows_modified > 0 ORDER BY 1",
        of_database(ask)
    );
    let rows = match ask.texts(&sql).await {
        Err(failed) if may_not(&failed) => {
            return Ok(ask.passed(name, "the user may not ask who else writes (PROCESS)"));
        }
        rows => rows?,
    };
    if rows.is_empty() {
        return Ok(ask.passed(name, "nobody else writes in this database now"));
    }
    let said = rows
        .iter()
        .map(|row| format!("session {} of {}", cell(row, 0), cell(row, 1)));
    let fixes = rows.iter().map(|row| format!("KILL {}", cell(row, 0)));
    let check = ask
        .warning(name, Code::CheckFound, listed(&said.collect::<Vec<_>>()))
        .means("whoever writes to the job's tables makes them differ from the source's");
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

async fn durability(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "durability";
    let row = ask
        .line("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@log_bin, @@GLOBAL.sync_binlog")
        .await?;
    let mut off = Vec::new();
    if cell(&row, 0) != "1" {
        off.push(("innodb_flush_log_at_trx_commit", cell(&row, 0).to_owned()));
    }
    if cell(&row, 1) == "1" && cell(&row, 2) == "0" {
        off.push(("sync_binlog", cell(&row, 2).to_owned()));
    }
    if off.is_empty() {
        return Ok(ask.passed(name, "a commit is on the disk when it is acknowledged"));
    }
    let said = off.iter().map(|(name, value)| format!("{name} is {value}"));
    let fixes = off.iter().map(|(name, _)| format!("SET GLOBAL {name} = 1"));
    let check = ask
        .warning(name, Code::CheckFound, listed(&said.collect::<Vec<_>>()))
        .means("if its machine crashes, the server may lose what it has acknowledged");
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

async fn table_names(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "table-names";
    let row = ask.line("SELECT @@lower_case_table_names").await?;
    let tables = ask.request.tables.iter();
    let upper = tables.filter(|table| table.name.to_lowercase() != table.name);
    let upper: Vec<String> = upper.map(|table| table.full_name()).collect();
    if cell(&row, 0) != "1" || upper.is_empty() {
        return Ok(ask.passed(name, "names of tables are kept as they are"));
    }
    Ok(ask
        .warning(name, Code::CheckFound, listed(&upper))
        .means("lower_case_table_names is 1: the server keeps these names in lower case")
        .fix("-- initialise the server with --lower-case-table-names=0, or leave it so"))
}
