//! Checks of a source: whether everything the job wants can be read as it is.

use common::check::Check;
use common::code::Code;
use common::schema::TableSchema;

use super::super::binlog::facts;
use super::super::quote::{database_of, ident, table_name};
use super::server::of_database;
use super::{Asker, cell, listed, may_not, with_fixes};
use crate::connector::Result;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let answer = privileges(ask).await;
    checks.push(ask.settled("privileges", answer).await);
    checks.push(keyless_tables(ask));
    let answer = storage_engines(ask).await;
    checks.push(ask.settled("storage-engines", answer).await);
    checks
}

/// Each table is asked for no row.
async fn privileges(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "privileges";
    let tables: Vec<TableSchema> = ask.request.tables.clone();
    let mut refused = Vec::new();
    for table in &tables {
        let full = table_name(&ask.host.database, table);
        match ask.texts(&format!("SELECT * FROM {full} LIMIT 0")).await {
            Ok(_) => {}
            Err(failed) if may_not(&failed) => refused.push(table),
            Err(failed) => return Err(failed.into()),
        }
    }
    if refused.is_empty() {
        let found = format!("{} tables can be read (tried)", tables.len());
        return Ok(ask.passed(name, found));
    }
    let grantee = facts::grantee(&mut ask.session).await?;
    let fixes = refused.iter().map(|table| {
        let database = ident(database_of(&ask.host.database, table));
        let table = ident(&table.name);
        format!("GRANT SELECT ON {database}.{table} TO {grantee}")
    });
    let names: Vec<String> = refused.iter().map(|table| table.full_name()).collect();
    let check = ask
        .failed(name, Code::Privileges, listed(&names))
        .means("these tables can't be read");
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

fn keyless_tables(ask: &Asker<'_>) -> Check {
    let name = "keyless-tables";
    let is_key = |table: &&TableSchema| {
        let whole = |index: &common::schema::Index| {
            let columns = &index.columns;
            let sound = |column: &common::schema::IndexColumn| {
                let known = table.column(&column.name);
                column.prefix.is_none() && known.is_some_and(|known| !known.nullable)
            };
            index.unique && index.native.is_none() && columns.iter().all(sound)
        };
        !table.primary_key.is_empty() || table.indexes.iter().any(whole)
    };
    let keyless = ask.request.tables.iter().filter(|table| !is_key(table));
    let keyless: Vec<&TableSchema> = keyless.collect();
    if keyless.is_empty() {
        return ask.passed(name, "every table has a key");
    }
    let names: Vec<String> = keyless.iter().map(|table| table.full_name()).collect();
    let fixes = keyless.iter().map(|table| {
        let full = table_name(&ask.host.database, table);
        format!(
            "ALTER TABLE {full} ADD COLUMN sterna_key BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY"
        )
    });
    let check = ask.warning(name, Code::CheckFound, listed(&names)).means(
        "each is one partition, copied under one snapshot and again as a whole after a fault; \
             its rows are compared as a multiset",
    );
    with_fixes(check, fixes.collect::<Vec<_>>())
}

async fn storage_engines(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "storage-engines";
    let sql = format!(
        "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = {} AND \
         table_type <> 'VIEW' AND engine <> 'InnoDB' ORDER BY 1",
        of_database(ask)
    );
    let rows = ask.texts(&sql).await?;
    let tables = &ask.request.tables;
    let chosen = |row: &&Vec<String>| tables.iter().any(|table| table.name == cell(row, 0));
    let rows: Vec<&Vec<String>> = rows.iter().filter(chosen).collect();
    if rows.is_empty() {
        return Ok(ask.passed(name, "every table is InnoDB's"));
    }
    let said = rows
        .iter()
        .map(|row| format!("{} is {}", cell(row, 0), cell(row, 1)));
    let database = ident(&ask.host.database);
    let fixes = rows.iter().map(|row| {
        let table = ident(cell(row, 0));
        format!("ALTER TABLE {database}.{table} ENGINE = InnoDB")
    });
    let check = ask
        .warning(name, Code::CheckFound, listed(&said.collect::<Vec<_>>()))
        .means(
            "such a table has no transactions: it can't be followed, and at the target it is \
             made with InnoDB",
        );
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}
