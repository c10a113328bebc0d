//! The job that every run moves: two tables, one in several partitions, one whole.

use common::change::{FollowMode, LogFacts};
use common::id::{JobUid, PartitionNo};
use common::job::{Endpoint, JobSpec};
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema,
};

use crate::dialect::Dialect;
use crate::log::Following;

/// Loads of a partition.
pub fn batches(no: PartitionNo) -> u32 {
    1 + no.0 % 3
}

pub fn uid() -> JobUid {
    JobUid::parse("00000000000000000000000000000001").expect("32 hex digits")
}

pub fn spec(following: Following) -> JobSpec {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("sim", endpoint("sqlite:a"), endpoint("sqlite:b"));
    spec.partition_bytes = 32 << 20;
    spec.follow = match following {
        Following::Off => FollowMode::Off,
        Following::PointInTime => FollowMode::Auto,
        Following::Live => FollowMode::Live,
    };
    spec
}

pub fn catalog(dialect: Dialect) -> Catalog {
    let facts = |durable_prepare, writers_max| EndpointFacts {
        engine: Engine::Sqlite,
        version: "3".to_owned(),
        durable_prepare,
        writers_max,
    };
    let bounds = (1..12)
        .map(|bound: u32| KeyBound(vec![(bound * 10).to_string()]))
        .collect();
    let large = KeySample {
        columns: vec!["id".to_owned()],
        bounds,
    };
    Catalog {
        there: None,
        source: facts(false, 64),
        target: facts(dialect.is_durable(), dialect.writers_max()),
        tables: vec![
            InspectedTable {
                schema: schema("orders", 160 << 20),
                key: large,
            },
            InspectedTable {
                schema: schema("users", 1 << 10),
                key: KeySample::default(),
            },
        ],
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: Some(LogFacts::Usable),
        notes: Vec::new(),
    }
}

fn schema(name: &str, bytes: u64) -> TableSchema {
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
        bytes_estimate: bytes,
    }
}
