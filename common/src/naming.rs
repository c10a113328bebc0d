//! What a table is called in the target: the job's renames and schema map over the rule that a
//! default schema goes to the default schema. Knows nothing of what a name may look like: that is
//! the mapping's business.

use std::fmt;

use crate::job::{Endpoint, JobSpec};
use crate::schema::{Engine, Member, TableRef, TableSchema};

/// Where `table` of the source goes. A schema that must be mapped and isn't keeps its name here;
/// the plan refuses it.
pub fn target(spec: &JobSpec, table: &TableSchema, from: Engine, to: Engine) -> TableRef {
    let full_name = table.full_name();
    let rule = spec.rules.iter().find(|rule| rule.table == full_name);
    let renamed = rule.and_then(|rule| rule.rename.clone());
    let schema = table.schema.as_deref();
    TableRef {
        schema: schema_in_target(spec, schema, from, to)
            .unwrap_or_else(|Unmapped| table.schema.clone()),
        name: renamed.unwrap_or_else(|| table.name.clone()),
    }
}

/// The target has no place for the schema until the job names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped;

/// Where a schema of the source goes; None = the default one, on either side.
pub fn schema_in_target(
    spec: &JobSpec,
    schema: Option<&str>,
    from: Engine,
    to: Engine,
) -> Result<Option<String>, Unmapped> {
    let default = default_schema(&spec.source);
    let known = schema.or(default.as_deref());
    let mapped = spec
        .schema_map
        .iter()
        .find(|(of, _)| known == Some(of.as_str()));
    if let Some((_, name)) = mapped {
        let is_default = default_schema(&spec.target).as_ref() == Some(name);
        return Ok((!is_default).then(|| name.clone()));
    }
    match schema {
        None => Ok(None),
        Some(name) if from == to => Ok(Some(name.to_owned())),
        Some(_) => Err(Unmapped),
    }
}

/// The name of an endpoint's default schema, as far as its URL says it.
pub fn default_schema(endpoint: &Endpoint) -> Option<String> {
    match endpoint.engine()? {
        Engine::Sqlite => Some("main".to_owned()),
        Engine::Postgres => {
            let query = endpoint.url.split_once('?').map_or("", |(_, query)| query);
            let named = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("schema="));
            Some(named.map_or_else(|| "public".to_owned(), decoded))
        }
        Engine::Mysql => {
            let path = endpoint.url.split('?').next().unwrap_or_default();
            let (_, rest) = path.split_once("://")?;
            let (_, database) = rest.split_once('/')?;
            Some(decoded(database)).filter(|name| !name.is_empty())
        }
    }
}

/// `%41` is `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The tables a job may choose from. To another engine a partitioned table is copied as one: its
/// root is read with all rows, its leaves are no tables of their own.
pub fn candidates(tables: Vec<TableSchema>, from: Engine, to: Engine) -> Vec<TableSchema> {
    let apart = |table: &TableSchema| from == to || table.member != Some(Member::Leaf);
    tables.into_iter().filter(apart).collect()
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint {
            url: url.into(),
            password: None,
        }
    }

    fn spec(target: &str, map: &[(&str, &str)]) -> JobSpec {
        let source = endpoint("postgres://u@h/db?sslmode=off&schema=sh%6Fp");
        let mut spec = JobSpec::new("j", source, endpoint(target));
        let pair = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        spec.schema_map = map.iter().map(pair).collect();
        spec
    }

    #[test]
    fn default_schemas_come_from_urls() {
        let of = |url: &str| default_schema(&endpoint(url));
        assert_eq!(of("sqlite:a.db").as_deref(), Some("main"));
        assert_eq!(of("postgres://u@h/db").as_deref(), Some("public"));
        assert_eq!(of("postgres://u@h/db?schema=a%20b").as_deref(), Some("a b"));
        assert_eq!(of("mysql://u@h:3306/sh%6Fp?x=y").as_deref(), Some("shop"));
        assert_eq!(of("mysql://u@h"), None);
    }

    #[test]
    fn default_goes_to_default_and_others_as_mapped() {
        let (from, to) = (Engine::Postgres, Engine::Mysql);
        let job = spec("mysql://u@h/db2", &[("sales", "crm"), ("hr", "db2")]);
        let at = |schema| schema_in_target(&job, schema, from, to);
        assert_eq!(at(None), Ok(None));
        assert_eq!(at(Some("sales")), Ok(Some("crm".into())));
        assert_eq!(at(Some("hr")), Ok(None));
        assert_eq!(at(Some("other")), Err(Unmapped));
        let job = spec("postgres://u@h/db2", &[("shop", "old")]);
        let at = |schema| schema_in_target(&job, schema, from, from);
        assert_eq!(at(Some("other")), Ok(Some("other".into())));
        assert_eq!(at(None), Ok(Some("old".into())));
    }
}
