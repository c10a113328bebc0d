//! What the stream asks the source's catalogue: types by number, whose partition a relation is.
//! Has a session of its own, opened again when it broke.

use serde::Deserialize;

use super::super::inspect_sql::ask;
use super::super::session::{Host, Purpose, Session};
use super::message::Relation;
use super::table::TypeFacts;
use crate::connector::{Result, Role};

/// See the module.
pub struct Catalog {
    host: Host,
    session: Option<Session>,
}

/// A table by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Name {
    pub schema: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
struct Leaf {
    oid: u32,
}

impl Catalog {
    pub fn new(host: &Host, session: Session) -> Catalog {
        Catalog {
            host: host.clone(),
            session: Some(session),
        }
    }

    pub async fn session(&mut self) -> Result<&mut Session> {
        let alive = self.session.take().filter(Session::is_alive);
        let session = match alive {
            Some(session) => session,
            None => open(&self.host).await?,
        };
        Ok(self.session.insert(session))
    }

    /// The types of a relation's columns, spelled as they are when a table is inspected.
    pub async fn types(&mut self, relation: &Relation) -> Result<Vec<TypeFacts>> {
        if relation.columns.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = relation
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!("({at}, {}::oid, {})", column.type_oid, column.modifier))
            .collect();
        let sql = format!(
            "SELECT format_type(v.type, v.modifier) AS type, (WITH RECURSIVE d AS (SELECT oid, \
             typtype, typbasetype, typname, typnamespace FROM pg_type WHERE oid = v.type UNION ALL \
             SELECT u.oid, u.typtype, u.typbasetype, u.typname, u.typnamespace FROM d JOIN pg_type \
             u ON u.oid = d.typbasetype WHERE d.typtype = 'd') SELECT typname FROM d WHERE typtype \
             <> 'd' AND typnamespace = 'pg_catalog'::regnamespace) AS base FROM (VALUES {}) v(at, \
             type, modifier) ORDER BY v.at",
            list.join(", ")
        );
        ask(self.session().await?, &sql).await
    }

    /// The partitioned tables above a relation, the nearest first; None = it isn't there any more.
    pub async fn roots(&mut self, oid: u32) -> Result<Vec<Name>> {
        let sql = format!(
            "SELECT n.nspname::text AS schema, c.relname::text AS name FROM \
             pg_partition_ancestors({oid}::oid) WITH ORDINALITY a(oid, at) JOIN pg_class c ON \
             c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.oid <> {oid}::oid \
             ORDER BY a.at"
        );
        ask(self.session().await?, &sql).await
    }

    /// The partitions of a root that hold rows.
    pub async fn leaves(&mut self, root: &Name) -> Result<Vec<u32>> {
        let root = super::super::quote::qualified(&root.schema, &root.name);
        let sql = format!(
            "SELECT relid::int8 AS oid FROM pg_partition_tree({}::regclass) WHERE isleaf",
            super::super::quote::text(&root)
        );
        let leaves: Vec<Leaf> = ask(self.session().await?, &sql).await?;
        Ok(leaves.into_iter().map(|leaf| leaf.oid).collect())
    }

    /// How many digits are behind the point of the database's money.
    pub async fn money_digits(&mut self) -> Result<u8> {
        let session = self.session().await?;
        session.run("RESET lc_monetary").await?;
        let digits = session
            .cell("SELECT scale('0'::money::numeric)::text")
            .await?;
        session.run("SET lc_monetary = 'C'").await?;
        Ok(digits.and_then(|digits| digits.parse().ok()).unwrap_or(2))
    }
}

/// A session in which types are spelled as when tables are inspected.
pub async fn open(host: &Host) -> Result<Session> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    session.search_path(&[&host.schema]).await?;
    Ok(session)
}
