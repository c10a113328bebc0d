//! Runs DDL tasks.

use common::code::Code;
use common::schema::TableRef;

use super::session::{Host, Session};
use crate::connector::{DefineWork, Error, Occupied, Result};

pub async fn run(_host: &Host, _work: DefineWork) -> Result<()> {
    let built: Result<()> = Err(Error::permanent(Code::NotBuilt, "PostgreSQL's DDL"));
    std::future::ready(built).await
}

pub async fn occupied(_session: &mut Session, _host: &Host, _table: &TableRef) -> Result<Occupied> {
    let built: Result<Occupied> = Err(Error::permanent(Code::NotBuilt, "PostgreSQL's DDL"));
    std::future::ready(built).await
}
