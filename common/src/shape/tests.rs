//! Shaping: what rules make of tables, and every mistake at once.

use super::*;
use crate::job::{Endpoint, SecretRef};
use crate::rules::{ComputedColumn, Trim, TypeCast};
use crate::schema::{
    EndpointFacts, ForeignKey, Generated, Index, IndexColumn, InspectedTable, KeySample,
    ObjectStage,
};

const INT: CanonicalType = CanonicalType::Int {
    bits: 64,
    unsigned: false,
};
const TEXT: CanonicalType = CanonicalType::Text { max_chars: None };

fn column(name: &str, canonical: CanonicalType) -> Column {
    let native = match canonical {
        CanonicalType::Int { .. } => "integer",
        _ => "text",
    };
    Column {
        name: name.to_owned(),
        native_type: native.to_owned(),
        canonical,
        nullable: false,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    }
}

fn index(name: &str, column: &str, native: Option<&str>) -> Index {
    Index {
        name: name.to_owned(),
        unique: false,
        columns: vec![IndexColumn {
            name: column.to_owned(),
            prefix: None,
            descending: false,
        }],
        native: native.map(str::to_owned),
    }
}

fn table(name: &str, columns: Vec<Column>) -> TableSchema {
    TableSchema {
        name: name.to_owned(),
        schema: None,
        member: None,
        primary_key: vec![columns[0].name.clone()],
        columns,
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: Some(format!("CREATE TABLE {name} (…, CHECK (id > 0))")),
        native_key: None,
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

/// `orders.user` refers to `users.id`.
fn shop() -> Vec<TableSchema> {
    let mut users = table(
        "users",
        vec![
            column("id", INT),
            column("mail", TEXT),
            column("note", TEXT),
        ],
    );
    users.indexes = vec![
        index(
            "by_mail",
            "mail",
            Some("CREATE INDEX by_mail ON users (mail)"),
        ),
        index("by_note", "note", None),
        index(
            "some_mail",
            "mail",
            Some("CREATE INDEX … (mail) WHERE mail <> ''"),
        ),
    ];
    let mut orders = table("orders", vec![column("id", INT), column("user", INT)]);
    orders.foreign_keys = vec![ForeignKey {
        name: "fk".to_owned(),
        columns: vec!["user".to_owned()],
        references_schema: None,
        references_table: "Users".to_owned(),
        references_columns: vec!["id".to_owned()],
        on_delete: "NO ACTION".to_owned(),
        on_update: "NO ACTION".to_owned(),
        native: None,
    }];
    vec![users, orders]
}

fn catalog(tables: Vec<TableSchema>) -> Catalog {
    let facts = EndpointFacts {
        engine: Engine::Sqlite,
        version: "3".to_owned(),
        durable_prepare: false,
        writers_max: 1,
    };
    let tables = tables.into_iter().map(|schema| InspectedTable {
        schema,
        key: KeySample::default(),
    });
    Catalog {
        source: facts.clone(),
        target: facts,
        tables: tables.collect(),
        objects: Vec::new(),
        mark: None,
        log: None,
        there: None,
        notes: Vec::new(),
    }
}

fn spec(rules: Vec<TableRule>) -> JobSpec {
    let end = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("j", end("sqlite:a"), end("sqlite:b"));
    spec.rules = rules;
    spec
}

fn rule(table: &str, columns: Vec<ColumnRule>) -> TableRule {
    TableRule {
        table: table.to_owned(),
        columns,
        ..TableRule::default()
    }
}

fn change(name: &str) -> ColumnRule {
    ColumnRule {
        column: name.to_owned(),
        ..ColumnRule::default()
    }
}

fn renamed(from: &str, to: &str) -> ColumnRule {
    ColumnRule {
        rename: Some(to.to_owned()),
        ..change(from)
    }
}

fn dropped(name: &str) -> ColumnRule {
    ColumnRule {
        drop: true,
        ..change(name)
    }
}

fn hashed(name: &str) -> ColumnRule {
    ColumnRule {
        mask: Some(Mask::Hash {
            salt: SecretRef::Env("SALT".to_owned()),
        }),
        ..change(name)
    }
}

fn names(table: &TableSchema) -> Vec<&str> {
    table.columns.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn keys_indexes_and_foreign_keys_follow() {
    let mut users = rule(
        "users",
        vec![
            renamed("id", "uid"),
            renamed("mail", "email"),
            dropped("note"),
        ],
    );
    users.rename = Some("people".to_owned());
    let shaping = shape(&catalog(shop()), &spec(vec![users])).expect("fine");
    let [users, orders] = &shaping.tables[..] else {
        panic!("two tables");
    };
    assert_eq!(names(&users.schema), ["uid", "email"]);
    assert_eq!(users.schema.name, "people");
    assert_eq!(users.schema.primary_key, ["uid"]);
    assert_eq!(users.form, CellForm::Canonical);
    let indexes: Vec<&str> = users
        .schema
        .indexes
        .iter()
        .map(|i| i.name.as_str())
        .collect();
    assert_eq!(indexes, ["by_mail"]);
    assert_eq!(users.schema.indexes[0].columns[0].name, "email");
    assert_eq!(users.schema.indexes[0].native, None);
    // A table without a rule follows too, its rows are passed through.
    let key = &orders.schema.foreign_keys[0];
    assert_eq!(key.references_table, "people");
    assert_eq!(key.references_columns, ["uid"]);
    assert_eq!(
        (orders.form, orders.rule.is_none()),
        (CellForm::Native, true)
    );
    assert_eq!(orders.schema.native_ddl, None);
    let notes = shaping.notes.join("\n");
    for part in [
        "by_note",
        "some_mail",
        "orders: the table is made from its columns",
        "CHECK",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

#[test]
fn what_needs_a_dropped_or_differently_changed_column_goes_with_a_note() {
    for change in [dropped("id"), hashed("id")] {
        let is_drop = change.drop;
        let shaping = shape(&catalog(shop()), &spec(vec![rule("users", vec![change])]));
        let shaping = shaping.expect("fine");
        assert_eq!(shaping.tables[0].schema.primary_key.is_empty(), is_drop);
        assert!(shaping.tables[1].schema.foreign_keys.is_empty());
        assert!(
            shaping.notes.iter().any(|n| n.contains("foreign key fk")),
            "{:?}",
            shaping.notes
        );
    }
    // Both ends hashed under one salt still fit.
    let both = vec![
        rule("users", vec![hashed("id")]),
        rule("orders", vec![hashed("user")]),
    ];
    let shaping = shape(&catalog(shop()), &spec(both)).expect("fine");
    assert_eq!(shaping.tables[1].schema.foreign_keys.len(), 1);
    let id = &shaping.tables[0].schema.columns[0];
    assert_eq!(
        id.canonical,
        CanonicalType::Text {
            max_chars: Some(64)
        }
    );
    assert_eq!(id.native_type, "TEXT");
}

#[test]
fn a_filter_or_a_cast_makes_the_form_canonical() {
    let filter = TableRule {
        filter: Some("id > 5".to_owned()),
        ..rule("users", Vec::new())
    };
    let mut spec = spec(vec![filter]);
    spec.casts = vec![TypeCast {
        from: "INT*".to_owned(),
        to: "text".to_owned(),
    }];
    let shaping = shape(&catalog(shop()), &spec).expect("fine");
    let forms: Vec<CellForm> = shaping.tables.iter().map(|table| table.form).collect();
    assert_eq!(forms, [CellForm::Canonical, CellForm::Canonical]);
    assert_eq!(shaping.tables[0].schema.columns, shop()[0].columns);
}

#[test]
fn a_computed_column_comes_last_and_null_if_allows_null() {
    let mut users = rule(
        "users",
        vec![ColumnRule {
            null_if: vec![String::new()],
            ..change("note")
        }],
    );
    users.computed = vec![ComputedColumn {
        column: "domain".to_owned(),
        ty: "varchar(100)".to_owned(),
        expression: "mail.split('@')[1]".to_owned(),
    }];
    let shaping = shape(&catalog(shop()), &spec(vec![users])).expect("fine");
    let schema = &shaping.tables[0].schema;
    assert_eq!(names(schema), ["id", "mail", "note", "domain"]);
    assert!(schema.columns[2].nullable && schema.columns[3].nullable);
    assert_eq!(
        schema.columns[3].canonical,
        CanonicalType::Text {
            max_chars: Some(100)
        }
    );
}

#[test]
fn every_mistake_is_said_at_once() {
    let mut tables = shop();
    let mut doubled = column("doubled", INT);
    doubled.generated = Some(Generated {
        expression: "id * 2".to_owned(),
        stored: true,
    });
    tables[1].columns.push(doubled);
    let mut users = rule(
        "users",
        vec![
            renamed("mial", "x"),
            renamed("mail", "NOTE"),
            ColumnRule {
                trim: Some(Trim::Both),
                null_if: vec!["0".to_owned()],
                ..change("id")
            },
        ],
    );
    users.filter = Some("id = 5".to_owned());
    users.computed = vec![
        ComputedColumn {
            column: "c".to_owned(),
            ty: "quaternion".to_owned(),
            expression: "nope + 1".to_owned(),
        },
        ComputedColumn {
            column: "d".to_owned(),
            ty: "date".to_owned(),
            expression: "id > 5".to_owned(),
        },
    ];
    let redact = ColumnRule {
        mask: Some(Mask::Redact {
            with: "x".to_owned(),
        }),
        ..change("id")
    };
    let mut orders = rule("orders", vec![redact]);
    orders.filter = Some("id + 1".to_owned());
    let rules = vec![users, orders, rule("ordres", Vec::new())];
    let failure = shape(&catalog(tables), &spec(rules)).expect_err("many mistakes");
    assert_eq!(failure.code, Code::RuleInvalid);
    for part in [
        "users: there is no column mial, did you mean mail?",
        "users: 2 columns are called note",
        "users.id: is a integer: only text can be trimmed",
        "users.id: is in the primary key: it can't become NULL",
        "users: filter: ",
        "users.c: \"quaternion\" is no type of SQLite",
        "users.c: there is no column nope",
        "users.d: it gives a bool",
        "orders: redact makes all rows equal in the primary key",
        "orders: filter: gives a int, not true or false",
        "orders.doubled: is generated from id",
        "a rule for ordres, which is none of the job's tables; did you mean orders?",
    ] {
        assert!(failure.what.contains(part), "{part}:\n{}", failure.what);
    }
}

#[test]
fn objects_that_name_what_is_renamed_are_left_out() {
    let mut users = rule("users", Vec::new());
    users.rename = Some("people".to_owned());
    let view = |name: &str, statement: &str| SchemaObject {
        kind: "view".to_owned(),
        name: name.to_owned(),
        stage: ObjectStage::AfterData,
        statements: vec![statement.to_owned()],
        undo: Vec::new(),
    };
    let views = vec![
        view("a", "CREATE VIEW a AS SELECT * FROM \"Users\""),
        view("b", "CREATE VIEW b AS SELECT * FROM users_old"),
    ];
    let mut notes = Vec::new();
    let kept = objects(
        views,
        &catalog(shop()).tables,
        &spec(vec![users]),
        &mut notes,
    );
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].name, "b");
    assert_eq!(notes.len(), 1);
}
