//! Schemas, names, foreign keys.

use super::*;
use crate::rules::TableRule;

fn in_schema(schema: &str, name: &str) -> TableSchema {
    let mut table = table(name, vec![column("id", "bigint", INT)], &["id"]);
    table.schema = Some(schema.into());
    table
}

fn key(schema: Option<&str>, to: &str) -> ForeignKey {
    ForeignKey {
        name: format!("fk_{to}"),
        columns: vec!["id".into()],
        references_schema: schema.map(str::to_owned),
        references_table: to.into(),
        references_columns: vec!["id".into()],
        on_delete: "SET DEFAULT".into(),
        on_update: "NO ACTION".into(),
        native: Some("FOREIGN KEY … INITIALLY DEFERRED".into()),
    }
}

#[test]
fn schemas_without_a_place_are_refused_all_at_once() {
    let tables = [
        in_schema("sales", "a"),
        in_schema("hr", "b"),
        in_schema("hr", "c"),
    ];
    let tables: Vec<&TableSchema> = tables.iter().collect();
    let failure =
        map_with(&tables, Engine::Postgres, Engine::Sqlite, |_| {}).expect_err("two schemas");
    assert_eq!(failure.code, Code::UnsupportedTable);
    assert_eq!(
        failure.fixes,
        ["--map-schema hr=main", "--map-schema sales=main"]
    );
    let same = map_with(&tables, Engine::Postgres, Engine::Postgres, |_| {}).expect("kept");
    assert_eq!(same.tables[0].0.schema.as_deref(), Some("sales"));
}

#[test]
fn mapped_schemas_carry_their_keys() {
    let mut child = in_schema("sales", "child");
    child.foreign_keys = vec![key(Some("hr"), "parent")];
    let parent = in_schema("hr", "parent");
    let map = vec![
        ("sales".to_owned(), "crm".to_owned()),
        ("hr".to_owned(), "shop".to_owned()),
    ];
    let rule = TableRule {
        table: "hr.parent".into(),
        rename: Some("people".into()),
        ..TableRule::default()
    };
    let mapped = map_with(
        &[&child, &parent],
        Engine::Postgres,
        Engine::Mysql,
        |spec| {
            spec.schema_map = map;
            spec.rules = vec![rule];
        },
    );
    let mapped = mapped.expect("mapped");
    let child = &mapped.tables[0].0;
    assert_eq!(child.schema.as_deref(), Some("crm"));
    let key = &child.foreign_keys[0];
    assert_eq!(
        (
            key.references_schema.as_deref(),
            key.references_table.as_str()
        ),
        (None, "people")
    );
    assert_eq!((key.on_delete.as_str(), &key.native), ("NO ACTION", &None));
    assert_eq!(mapped.tables[1].0.full_name(), "people");
    for said in ["SET DEFAULT becomes NO ACTION", "checked at once"] {
        assert!(
            mapped.notes.iter().any(|note| note.contains(said)),
            "{:?}",
            mapped.notes
        );
    }
}

#[test]
fn a_map_of_what_is_not_there_is_named() {
    let source = in_schema("sales", "a");
    let map = vec![
        ("sales".to_owned(), "x".to_owned()),
        ("nope".to_owned(), "main".to_owned()),
        ("public".to_owned(), "main".to_owned()),
    ];
    let failure = map_with(&[&source], Engine::Postgres, Engine::Sqlite, |spec| {
        spec.schema_map = map
    });
    let failure = failure.expect_err("two mistakes");
    assert!(failure.what.contains("no schema but main"), "{failure}");
    assert!(failure.what.contains("in a schema nope"), "{failure}");
    assert!(!failure.what.contains("public"), "{failure}");
}

#[test]
fn tables_that_meet_in_one_schema_are_refused() {
    let tables = [in_schema("a", "t"), in_schema("b", "t")];
    let map = vec![
        ("a".to_owned(), "main".to_owned()),
        ("b".to_owned(), "main".to_owned()),
    ];
    let failure = map_with(
        &[&tables[0], &tables[1]],
        Engine::Postgres,
        Engine::Sqlite,
        |spec| {
            spec.schema_map = map;
        },
    );
    let failure = failure.expect_err("one name");
    assert_eq!(failure.code, Code::UnsupportedTable);
    assert!(failure.fixes[0].contains("rename"), "{:?}", failure.fixes);
}

#[test]
fn names_are_kept_or_refused() {
    let names = ["select", "a\"b`c'", "日本", "Ä;--", "xmin"];
    let columns = names.map(|name| column(name, "bigint", INT));
    let source = table("order", columns.to_vec(), &[]);
    let mapped = map_with(&[&source], Engine::Postgres, Engine::Mysql, |_| {}).expect("kept");
    let kept: Vec<&str> = mapped.tables[0]
        .0
        .columns
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(kept, names);
    let failure = map_with(&[&source], Engine::Mysql, Engine::Postgres, |_| {}).expect_err("xmin");
    assert!(failure.what.contains("order.xmin"), "{failure}");
    let long = "x".repeat(64);
    let columns = vec![
        column("A", "INT", INT),
        column("a", "INT", INT),
        column(&long, "INT", INT),
    ];
    let source = table(&long, columns, &[]);
    let failure = map_with(&[&source], Engine::Postgres, Engine::Mysql, |_| {}).expect_err("A, a");
    assert!(failure.what.contains("A and a are one name"), "{failure}");
    let failure =
        map_with(&[&source], Engine::Mysql, Engine::Postgres, |_| {}).expect_err("too long");
    assert!(failure.what.matches("is no name").count() == 2, "{failure}");
    assert_eq!(failure.fixes.len(), 2);
}

#[test]
fn too_many_columns_are_refused() {
    let columns = (0..1_018).map(|no| column(&format!("c{no}"), "INT", INT));
    let source = table("t", columns.collect(), &[]);
    let failure = map_with(&[&source], Engine::Postgres, Engine::Mysql, |_| {}).expect_err("1,017");
    assert!(failure.what.contains("1018 columns"), "{failure}");
    assert!(map_with(&[&source], Engine::Mysql, Engine::Postgres, |_| {}).is_ok());
}

#[test]
fn index_names_share_a_schema_in_postgres() {
    let mut tables = ["a", "b"].map(|name| table(name, vec![column("id", "int", INT)], &["id"]));
    for table in &mut tables {
        table.indexes = vec![
            index("by_id", false, &["id"]),
            index(&format!("{}_pkey", table.name), false, &["id"]),
        ];
    }
    let mapped = map_with(
        &[&tables[0], &tables[1]],
        Engine::Mysql,
        Engine::Postgres,
        |_| {},
    );
    let mapped = mapped.expect("mappable");
    let names: Vec<&str> = { mapped.tables.iter() }
        .flat_map(|(table, _)| &table.indexes)
        .map(|index| index.name.as_str())
        .collect();
    assert_eq!(names, ["a_by_id", "a_a_pkey", "b_by_id", "b_b_pkey"]);
}

#[test]
fn a_foreign_key_needs_a_unique_key_in_postgres() {
    let mut child = table("child", vec![column("id", "int", INT)], &[]);
    child.foreign_keys = vec![key(None, "Parent")];
    let parent = table("parent", vec![column("ID", "int", INT)], &[]);
    let map = |parent: &TableSchema| {
        let mapped = map_with(&[&child, parent], Engine::Sqlite, Engine::Postgres, |_| {});
        mapped.expect("mappable").tables.remove(0).0.foreign_keys
    };
    assert_eq!(map(&parent), []);
    let mut keyed = parent;
    keyed.primary_key = vec!["ID".into()];
    let kept = map(&keyed);
    assert_eq!(kept[0].references_table, "parent");
    assert_eq!(kept[0].references_columns, ["ID"]);
}
