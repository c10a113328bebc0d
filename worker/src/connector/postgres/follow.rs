//! Following this engine as a source: what `secure` makes and removes, positions, the stream.

use common::change::{LogFacts, LogState, Position, Secured};
use common::code::{Code, Failure};
use common::id::JobUid;
use common::schema::{SchemaObject, TableSchema};
use common::value::RowBatch;

use super::session::Host;
use crate::connector::{
    ChangeStream, Error, FetchRequest, Origin, Result, SecureWork, StreamRequest,
};

fn not_built<T>() -> Result<T> {
    Err(Error::permanent(
        Code::NotBuilt,
        "following PostgreSQL as a source",
    ))
}

pub async fn log_facts(_host: &Host, _tables: &[TableSchema]) -> Result<LogFacts> {
    let failure = Failure::new(Code::NotBuilt, "following PostgreSQL as a source");
    Ok(LogFacts::Unusable(failure))
}

pub async fn secure(_host: &Host, _work: SecureWork) -> Result<Secured> {
    not_built()
}

pub async fn release(_host: &Host, _job: &JobUid) -> Result<()> {
    not_built()
}

pub async fn log_end(_host: &Host) -> Result<Position> {
    not_built()
}

pub async fn log_state(_host: &Host, _job: &JobUid, _position: &Position) -> Result<LogState> {
    not_built()
}

pub async fn log_position(_host: &Host, _text: &str) -> Result<Secured> {
    not_built()
}

pub async fn changes(_host: &Host, _request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
    not_built()
}

pub fn is_in(_origin: &Origin, _snapshot: &str) -> Result<bool> {
    not_built()
}

pub async fn fetch(_host: &Host, _request: FetchRequest) -> Result<RowBatch> {
    not_built()
}

pub async fn refresh(_host: &Host, _objects: &mut Vec<SchemaObject>) -> Result<()> {
    not_built()
}
