//! What a job's rules make of the source's tables before they are mapped to the target's types:
//! columns renamed, left out, masked, computed; keys and indexes that follow. Every mistake in a
//! rule is found here, all at once.

mod check;
mod follow;

pub(crate) use self::follow::referenced;

#[cfg(test)]
mod tests;

use crate::code::{Code, Failure};
use crate::job::JobSpec;
use crate::mapping;
use crate::rules::{ColumnRule, Mask, TableRule};
use crate::schema::{
    CanonicalType, Catalog, CellForm, Column, Engine, InspectedTable, SchemaObject, TableSchema,
};
use crate::transform::HASH_CHARS;

/// The tables of a catalog after the job's rules.
#[derive(Debug, Default)]
pub struct Shaping {
    /// One for each table of the catalog, in order.
    pub tables: Vec<Shaped>,
    pub notes: Vec<String>,
}

/// One table after its rule.
#[derive(Debug)]
pub struct Shaped {
    /// What is to be mapped: the source's own table where no rule touches it.
    pub schema: TableSchema,
    pub form: CellForm,
    pub rule: Option<TableRule>,
}

/// Shapes every table, or says everything that is wrong with the rules.
pub fn shape(catalog: &Catalog, spec: &JobSpec) -> Result<Shaping, Failure> {
    let sources: Vec<&TableSchema> = catalog.tables.iter().map(|table| &table.schema).collect();
    let engines = (catalog.source.engine, catalog.target.engine);
    let problems = check::problems(&sources, spec, engines);
    if !problems.is_empty() {
        return Err(Failure::new(Code::RuleInvalid, problems.join("; ")));
    }
    let mut shaping = Shaping::default();
    for source in &sources {
        let rule = rule_of(spec, source);
        let cast = spec.casts.iter().any(|cast| {
            let mut columns = source.copied_columns();
            columns.any(|column| cast.takes(&column.native_type))
        });
        let form = match engines.0 == engines.1 && rule.is_none() && !cast {
            true => CellForm::Native,
            false => CellForm::Canonical,
        };
        let mut schema = (*source).clone();
        if let Some(rule) = rule {
            apply(rule, &mut schema, engines, &mut shaping.notes);
        }
        shaping.tables.push(Shaped {
            schema,
            form,
            rule: rule.cloned(),
        });
    }
    follow::foreign_keys(&sources, spec, engines.0, &mut shaping);
    if engines.0 == engines.1 {
        for (source, shaped) in sources.iter().zip(&mut shaping.tables) {
            // The engine's own definition has the old columns, and is for native cells only.
            if shaped.form == CellForm::Canonical {
                let ddl = shaped.schema.native_ddl.take().unwrap_or_default();
                if follow::mentions(&ddl, "CHECK") {
                    shaping.notes.push(format!(
                        "{}: a table with a rule or a cast is made from its columns; its CHECK \
                         constraints are left out",
                        source.full_name()
                    ));
                }
            }
        }
    }
    Ok(shaping)
}

/// The rule for a table of the source.
pub fn rule_of<'a>(spec: &'a JobSpec, source: &TableSchema) -> Option<&'a TableRule> {
    let name = source.full_name();
    spec.rules.iter().find(|rule| rule.table == name)
}

/// The objects that can still be made: those that name a renamed or left out thing can't.
pub fn objects(
    objects: Vec<SchemaObject>,
    tables: &[InspectedTable],
    spec: &JobSpec,
    notes: &mut Vec<String>,
) -> Vec<SchemaObject> {
    let changed: Vec<&TableSchema> = tables
        .iter()
        .map(|table| &table.schema)
        .filter(|table| {
            let names = |rule: &TableRule| {
                let columns = |rule: &ColumnRule| rule.drop || rule.rename.is_some();
                rule.rename.is_some() || rule.columns.iter().any(columns)
            };
            rule_of(spec, table).is_some_and(names)
        })
        .collect();
    let mut kept = Vec::new();
    for object in objects {
        let about = changed.iter().find(|table| {
            let mut texts = object.statements.iter();
            texts.any(|text| follow::mentions(text, &table.name))
        });
        match about {
            None => kept.push(object),
            Some(table) => notes.push(format!(
                "{} {} names {}, whose names the job changes: it is not carried",
                object.kind,
                object.name,
                table.full_name()
            )),
        }
    }
    kept
}

fn apply(
    rule: &TableRule,
    table: &mut TableSchema,
    (from, to): (Engine, Engine),
    notes: &mut Vec<String>,
) {
    let full_name = table.full_name();
    follow::keys(rule, table, from, notes);
    if let Some(name) = &rule.rename {
        table.name.clone_from(name);
    }
    let columns = std::mem::take(&mut table.columns);
    for mut column in columns {
        if let Some(change) = rule.of(&column.name) {
            if change.drop {
                continue;
            }
            let is_key = table.primary_key.iter().any(|key| *key == change.name());
            if !change.null_if.is_empty() && !column.nullable && !is_key {
                column.nullable = true;
                notes.push(format!(
                    "{full_name}.{} may be NULL in the target: its rule has null_if",
                    column.name
                ));
            }
            if let Some(mask) = &change.mask {
                mask_column(&mut column, mask, from);
            }
            column.name = change.name().to_owned();
        }
        table.columns.push(column);
    }
    for computed in &rule.computed {
        // Checked before: a spelling that means nothing is a problem.
        let canonical = mapping::canonical_of(to, &computed.ty);
        table.columns.push(Column {
            name: computed.column.clone(),
            native_type: computed.ty.clone(),
            canonical: canonical.unwrap_or(CanonicalType::Text { max_chars: None }),
            nullable: true,
            default: None,
            auto_increment: false,
            charset: None,
            collation: None,
            generated: None,
            comment: String::new(),
        });
    }
    if !table.columns.iter().any(|column| column.auto_increment) {
        table.auto_increment = None;
    }
}

/// Masked values are text, whatever they were.
fn mask_column(column: &mut Column, mask: &Mask, engine: Engine) {
    let chars = match mask {
        Mask::Hash { .. } => HASH_CHARS,
        Mask::Redact { with } => with.chars().count().max(1) as u32,
    };
    let is_plain = matches!(mask, Mask::Hash { .. });
    column.canonical = CanonicalType::Text {
        max_chars: Some(chars),
    };
    column.native_type = match engine {
        Engine::Sqlite => "TEXT".to_owned(),
        Engine::Mysql | Engine::Postgres => format!("varchar({chars})"),
    };
    (column.charset, column.collation) = match engine {
        Engine::Mysql if is_plain => (Some("ascii".to_owned()), Some("ascii_bin".to_owned())),
        Engine::Mysql => (Some("utf8mb4".to_owned()), Some("utf8mb4_bin".to_owned())),
        Engine::Sqlite | Engine::Postgres => (None, None),
    };
    column.auto_increment = false;
    column.default = None;
}
