//! Where fence, ledger and marks are: in a database named `sterna` where the rights allow, else as
//! `sterna_fence`, `sterna_ledger` and `sterna_follow` beside the data. What is in them: `recovery::books`.

use common::code::Code;

use super::error::Failed;
use super::quote::{ident, text};
use super::session::Session;
use crate::connector::Current;
use crate::connector::recovery::books::Books;

/// Our database on a target.
const DATABASE: &str = "sterna";
/// The ledger's column that the first version hadn't.
const SNAPSHOT: &str = "snapshot LONGTEXT CHARACTER SET utf8mb4 NULL";
const DUPLICATE_COLUMN: u16 = 1060;

fn apart() -> Books {
    Books {
        fence: format!("{}.{}", ident(DATABASE), ident("fence")),
        ledger: format!("{}.{}", ident(DATABASE), ident("ledger")),
        follow: format!("{}.{}", ident(DATABASE), ident("follow")),
        apart: true,
    }
}

fn beside(database: &str) -> Books {
    Books {
        fence: format!("{}.{}", ident(database), ident("sterna_fence")),
        ledger: format!("{}.{}", ident(database), ident("sterna_ledger")),
        follow: format!("{}.{}", ident(database), ident("sterna_follow")),
        apart: false,
    }
}

/// Finds the tables; None = there are none (that this user may see).
pub async fn find(session: &mut Session, database: &str) -> Result<Option<Books>, Failed> {
    let sql = format!(
        "SELECT table_schema = {0} FROM information_schema.tables WHERE \
         (table_schema = {0} AND table_name IN ('fence', 'ledger')) OR \
         (table_schema = {1} AND table_name IN ('sterna_fence', 'sterna_ledger'))",
        text(DATABASE),
        text(database)
    );
    let rows = session.rows(&sql).await?;
    let found = |flag: &str| {
        let here = |row: &&Vec<Option<String>>| row.first() == Some(&Some(flag.to_owned()));
        rows.iter().filter(here).count() == 2
    };
    Ok(if found("1") {
        Some(apart())
    } else if found("0") {
        Some(beside(database))
    } else {
        None
    })
}

/// Finds or creates the tables.
pub async fn ensure(
    session: &mut Session,
    database: &str,
    current: &Current,
) -> Result<Books, Failed> {
    if let Some(books) = find(session, database).await? {
        complete(&books, session, current).await?;
        return Ok(books);
    }
    let sql = format!("CREATE DATABASE IF NOT EXISTS {}", ident(DATABASE));
    check(current).await?;
    let apart = match session.run(&sql).await {
        Ok(_) => create(apart(), session, current).await,
        Err(failed) => Err(failed),
    };
    match apart {
        Ok(books) => Ok(books),
        Err(failed) if failed.error.failure.code == Code::Privileges => {
            create(beside(database), session, current).await
        }
        Err(failed) => Err(failed),
    }
}

async fn create(books: Books, session: &mut Session, current: &Current) -> Result<Books, Failed> {
    let options = "ENGINE=InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin";
    check(current).await?;
    session
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS {} (job CHAR(32) NOT NULL, unit VARCHAR(24) NOT NULL, \
             epoch INT UNSIGNED NOT NULL, n BIGINT NOT NULL, session BIGINT UNSIGNED NOT NULL, \
             session_start BIGINT UNSIGNED NOT NULL, PRIMARY KEY (job, unit)) {options}",
            books.fence
        ))
        .await?;
    check(current).await?;
    session
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS {} (job CHAR(32) NOT NULL, part INT UNSIGNED NOT NULL, \
             epoch INT UNSIGNED NOT NULL, row_count BIGINT UNSIGNED NOT NULL, \
             byte_count BIGINT UNSIGNED NOT NULL, digest CHAR(32) NOT NULL, \
             {SNAPSHOT}, PRIMARY KEY (job, part)) {options}",
            books.ledger
        ))
        .await?;
    complete(&books, session, current).await?;
    Ok(books)
}

/// Makes what bookkeeping of an older version lacks.
async fn complete(books: &Books, session: &mut Session, current: &Current) -> Result<(), Failed> {
    if !has_follow(session, books).await? {
        check(current).await?;
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (job CHAR(32) CHARACTER SET ascii NOT NULL, \
                 lane INT UNSIGNED NOT NULL, mark LONGTEXT NOT NULL, PRIMARY KEY (job, lane)) \
                 ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                books.follow
            ))
            .await?;
    }
    let snapshot = format!("SHOW COLUMNS FROM {} LIKE 'snapshot'", books.ledger);
    if session.row(&snapshot).await?.is_none() {
        check(current).await?;
        let add = format!("ALTER TABLE {} ADD COLUMN {SNAPSHOT}", books.ledger);
        match session.run(&add).await {
            // Another job's create task was faster.
            Err(failed) if failed.number != DUPLICATE_COLUMN => return Err(failed),
            _ => {}
        }
    }
    Ok(())
}

async fn has_follow(session: &mut Session, books: &Books) -> Result<bool, Failed> {
    let (place, name) = match books.apart {
        true => (text(DATABASE), text("follow")),
        false => ("DATABASE()".to_owned(), text("sterna_follow")),
    };
    let sql = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = {place} AND \
         table_name = {name}"
    );
    Ok(session.row(&sql).await?.is_some())
}

/// Drops the tables (and our database) if no other job uses them.
pub async fn drop(session: &mut Session, books: &Books) -> Result<(), Failed> {
    let mut tables = vec![&books.fence, &books.ledger];
    if has_follow(session, books).await? {
        tables.push(&books.follow);
    }
    let locks: Vec<String> = tables.iter().map(|name| format!("{name} WRITE")).collect();
    let lock = format!("LOCK TABLES {}", locks.join(", "));
    // Another job's prepared transactions hold these tables: then it isn't ours to drop them.
    if session.run(&lock).await.is_err() {
        return Ok(());
    }
    let dropped = drop_if_empty(session, &tables).await;
    session.run("UNLOCK TABLES").await?;
    if !dropped? || !books.apart {
        return Ok(());
    }
    let count = format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {}",
        text(DATABASE)
    );
    if session.cell(&count).await?.as_deref() == Some("0") {
        // Without the right to drop it, an empty database stays: nobody is hurt.
        let drop = format!("DROP DATABASE IF EXISTS {}", ident(DATABASE));
        let _ = session.run(&drop).await;
    }
    Ok(())
}

async fn drop_if_empty(session: &mut Session, tables: &[&String]) -> Result<bool, Failed> {
    for table in tables {
        let count = format!("SELECT COUNT(*) FROM {table}");
        if session.cell(&count).await?.as_deref() != Some("0") {
            return Ok(false);
        }
    }
    let names: Vec<&str> = tables.iter().map(|name| name.as_str()).collect();
    session
        .run(&format!("DROP TABLE {}", names.join(", ")))
        .await?;
    Ok(true)
}

async fn check(current: &Current) -> Result<(), Failed> {
    let ours = current.still_ours().await;
    ours.map_err(|error| Failed { number: 0, error })
}
