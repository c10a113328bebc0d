//! Every part of a table changed alone, and spellings that mean the same.

use super::*;
use crate::schema::{CanonicalType, Column, ColumnDefault, ForeignKey, Index, IndexColumn};

fn column(name: &str, native: &str) -> Column {
    Column {
        name: name.to_owned(),
        native_type: native.to_owned(),
        canonical: CanonicalType::Text { max_chars: None },
        nullable: true,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    }
}

fn table() -> TableSchema {
    let over = |name: &str| IndexColumn {
        name: name.to_owned(),
        prefix: None,
        descending: false,
    };
    TableSchema {
        name: "t".to_owned(),
        schema: None,
        member: None,
        columns: vec![
            column("id", "int"),
            column("v", "varchar(10)"),
            column("w", "text"),
        ],
        primary_key: vec!["id".to_owned()],
        indexes: vec![Index {
            name: "by_v".to_owned(),
            unique: true,
            columns: vec![over("v")],
            native: None,
        }],
        foreign_keys: vec![ForeignKey {
            name: "fk".to_owned(),
            columns: vec!["w".to_owned()],
            references_schema: None,
            references_table: "other".to_owned(),
            references_columns: vec!["id".to_owned()],
            on_delete: "RESTRICT".to_owned(),
            on_update: "NO ACTION".to_owned(),
            native: None,
        }],
        auto_increment: None,
        native_options: "ENGINE=InnoDB".to_owned(),
        native_ddl: Some("(\n  `id` int,\n  CONSTRAINT c CHECK (id > 0)\n)".to_owned()),
        native_key: None,
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

fn told_as(alike: bool, change: impl Fn(&mut TableSchema)) -> Vec<String> {
    let measure = Measure {
        engine: Engine::Mysql,
        alike,
        object: "shop.t",
        tables: &[],
    };
    let mut other = table();
    change(&mut other);
    let mut found = Vec::new();
    compare(measure, &table(), &other, &mut found);
    assert!(found.iter().all(|one| one.object == "shop.t"));
    let said = |one: &SchemaDifference| {
        let word = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
        let (expected, found) = (word(&one.expected), word(&one.found));
        format!("{} {}: {expected} / {found}", one.kind, one.name)
    };
    found.iter().map(said).collect()
}

fn told(change: impl Fn(&mut TableSchema)) -> Vec<String> {
    told_as(true, change)
}

#[test]
fn what_is_only_spelled_otherwise_is_no_difference() {
    let same = |change: fn(&mut TableSchema)| assert_eq!(told(change), [""; 0]);
    same(|_| {});
    same(|t| t.columns.reverse());
    same(|t| t.columns[1].native_type = "VARCHAR (10)".to_owned());
    same(|t| t.foreign_keys[0].on_delete = "NO ACTION".to_owned());
    same(|t| t.foreign_keys[0].name = "another".to_owned());
    same(|t| t.indexes[0].name = "another".to_owned());
    same(|t| t.native_ddl = t.native_ddl.as_ref().map(|ddl| ddl.replace('\n', " ")));
    same(|t| t.rows_estimate = 7);
}

#[test]
fn a_character_set_beside_its_collation_says_nothing_more() {
    let named = "v text CHARACTER SET  latin1 COLLATE latin1_bin NULL";
    assert_eq!(plain(named), "v text COLLATE latin1_bin NULL");
    assert_ne!(plain("v text CHARACTER SET latin1"), plain("v text"));
}

#[test]
fn every_part_of_a_column_is_compared() {
    let one = |change: fn(&mut Column), expected: &str| {
        let found = told(|t| change(&mut t.columns[1]));
        assert_eq!(found, [expected]);
    };
    one(
        |c| c.native_type = "varchar(20)".to_owned(),
        "type v: varchar(10) / varchar(20)",
    );
    one(|c| c.nullable = false, "nullability v: NULL / NOT NULL");
    one(
        |c| c.default = Some(ColumnDefault::Literal("x".to_owned())),
        "default v: no default / 'x'",
    );
    one(
        |c| c.collation = Some("utf8mb4_bin".to_owned()),
        "collation v:  / utf8mb4_bin",
    );
    one(
        |c| c.auto_increment = true,
        "auto_increment v: doesn't number itself / numbers itself",
    );
}

#[test]
fn keys_indexes_and_checks_are_compared() {
    assert_eq!(
        told(|t| t.indexes[0].unique = false),
        ["index by_v: unique (v) / (v)"]
    );
    assert_eq!(
        told(|t| t.indexes[0].columns[0].prefix = Some(4)),
        ["index by_v: unique (v) / unique (v(4))"]
    );
    assert_eq!(told(|t| t.indexes.clear()), ["index by_v: unique (v) / -"]);
    assert_eq!(told(|t| t.primary_key.clear()), ["primary_key : id / -"]);
    assert_eq!(
        told(|t| t.foreign_keys[0].on_delete = "CASCADE".to_owned()),
        [
            "foreign_key fk: (w) -> other (id) ON DELETE RESTRICT ON UPDATE NO ACTION / \
          (w) -> other (id) ON DELETE CASCADE ON UPDATE NO ACTION"
        ]
    );
    let ddl = "(\n  `id` int\n)".to_owned();
    assert_eq!(
        told(|t| t.native_ddl = Some(ddl.clone())),
        ["check : CONSTRAINT c CHECK (id > 0) / "]
    );
    assert_eq!(told(|t| t.columns.truncate(2)), ["column w: text / -"]);
}

#[test]
fn between_engines_only_what_is_certain_is_told() {
    let same = |change: fn(&mut TableSchema)| assert_eq!(told_as(false, change), [""; 0]);
    same(|t| t.native_ddl = None);
    same(|t| t.columns[1].native_type = "character varying(10)".to_owned());
    same(|t| t.columns[1].default = Some(ColumnDefault::Expression("f()".to_owned())));
    same(|t| {
        t.indexes.push(Index {
            name: "more".to_owned(),
            ..t.indexes[0].clone()
        })
    });
    let other = CanonicalType::Text { max_chars: Some(3) };
    let found = told_as(false, |t| {
        t.columns[1].native_type = "varchar(3)".to_owned();
        t.columns[1].canonical = other.clone();
    });
    assert_eq!(found, ["type v: varchar(10) / varchar(3)"]);
    assert_eq!(
        told_as(false, |t| t.indexes.clear()),
        ["index by_v: unique (v) / -"]
    );
}
