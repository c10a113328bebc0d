//! A catalogue, a plan and a state of any size, without databases.

#![allow(dead_code)]

use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema,
};

/// Bytes of a partition.
pub const PARTITION_BYTES: u64 = 64 << 20;

/// One table of four buckets a partition, as planned for real ones.
pub fn catalog(partitions: u32) -> Catalog {
    let facts = EndpointFacts {
        engine: Engine::Mysql,
        version: "bench".to_owned(),
        durable_prepare: true,
        writers_max: u32::MAX,
    };
    let bounds = (1..partitions * 4).map(|bound| KeyBound(vec![(bound * 77).to_string()]));
    let id = Column {
        name: "id".to_owned(),
        native_type: "int".to_owned(),
        canonical: CanonicalType::Int {
            bits: 32,
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
    let schema = TableSchema {
        schema: None,
        member: None,
        name: "big".to_owned(),
        columns: vec![id],
        primary_key: vec!["id".to_owned()],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 1,
        bytes_estimate: u64::from(partitions) * PARTITION_BYTES,
    };
    let key = KeySample {
        columns: vec!["id".to_owned()],
        bounds: bounds.collect(),
    };
    Catalog {
        source: facts.clone(),
        target: facts,
        tables: vec![InspectedTable { schema, key }],
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: None,
        there: None,
        notes: Vec::new(),
    }
}
