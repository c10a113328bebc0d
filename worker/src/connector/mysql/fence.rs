//! Where fence and ledger are: in a database named `sterna` where the rights allow, else as
//! `sterna_fence` and `sterna_ledger` beside the data. What is in them: `recovery::books`.

use common::code::Code;

use super::error::Failed;
use super::quote::{ident, text};
use super::session::Session;
use crate::connector::Current;
use crate::connector::recovery::books::Books;

/// Our database on a target.
const DATABASE: &str = "sterna";

fn apart() -> Books {
    Books {
        fence: format!("{}.{}", ident(DATABASE), ident("fence")),
        ledger: format!("{}.{}", ident(DATABASE), ident("ledger")),
        apart: true,
    }
}

fn beside(database: &str) -> Books {
    Books {
        fence: format!("{}.{}", ident(database), ident("sterna_fence")),
        ledger: format!("{}.{}", ident(database), ident("sterna_ledger")),
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
             PRIMARY KEY (job, part)) {options}",
            books.ledger
        ))
        .await?;
    Ok(books)
}

/// Drops the tables (and our database) if no other job uses them.
pub async fn drop(session: &mut Session, books: &Books) -> Result<(), Failed> {
    let lock = format!("LOCK TABLES {} WRITE, {} WRITE", books.fence, books.ledger);
    // Another job's prepared transactions hold these tables: then it isn't ours to drop them.
    if session.run(&lock).await.is_err() {
        return Ok(());
    }
    let dropped = drop_if_empty(session, books).await;
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

async fn drop_if_empty(session: &mut Session, books: &Books) -> Result<bool, Failed> {
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM {}) + (SELECT COUNT(*) FROM {})",
        books.fence, books.ledger
    );
    if session.cell(&sql).await?.as_deref() != Some("0") {
        return Ok(false);
    }
    session
        .run(&format!("DROP TABLE {}, {}", books.fence, books.ledger))
        .await?;
    Ok(true)
}

async fn check(current: &Current) -> Result<(), Failed> {
    let ours = current.still_ours().await;
    ours.map_err(|error| Failed { number: 0, error })
}
