//! The job that is explored: whole tables, one partition each.

use common::code::{Code, Failure};
use common::digest::Digest;
use common::id::{JobUid, PartitionNo};
use common::job::{Endpoint, JobSpec};
use common::plan::Loaded;
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeySample, SourceMark,
    TableSchema,
};

pub fn uid() -> JobUid {
    JobUid::parse("00000000000000000000000000000001").expect("32 hex digits")
}

pub fn spec() -> JobSpec {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    JobSpec::new("explored", endpoint("sqlite:a"), endpoint("sqlite:b"))
}

/// What a partition holds: every epoch loads the same rows.
pub fn loaded(no: PartitionNo) -> Loaded {
    let rows = u64::from(no.0) + 1;
    Loaded {
        bytes: rows,
        digest: Digest { rows, sum: 1 },
    }
}

pub fn failure() -> Failure {
    Failure::new(Code::Internal, "a fault of the exploration")
}

pub fn catalog(tables: u8, durable_prepare: bool) -> Catalog {
    let facts = |durable_prepare| EndpointFacts {
        engine: Engine::Sqlite,
        version: "3".to_owned(),
        durable_prepare,
        writers_max: 64,
    };
    let table = |no: u8| InspectedTable {
        schema: schema(&format!("t{no}")),
        key: KeySample::default(),
    };
    Catalog {
        source: facts(false),
        target: facts(durable_prepare),
        tables: (0..tables).map(table).collect(),
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: None,
        there: None,
        notes: Vec::new(),
    }
}

fn schema(name: &str) -> TableSchema {
    let id = Column {
        name: "id".to_owned(),
        native_type: "INTEGER".to_owned(),
        canonical: CanonicalType::Int {
            bits: 64,
            unsigned: false,
        },
        nullable: false,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    };
    TableSchema {
        schema: None,
        member: None,
        name: name.to_owned(),
        columns: vec![id],
        primary_key: vec!["id".to_owned()],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 1,
        bytes_estimate: 1,
    }
}
