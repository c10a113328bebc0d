//! Every type of every engine through every pair, on real servers: one wide table with a column of
//! each type, its edge values and random ones from a fixed seed, copied by the real binary there
//! and back, every cell compared by the judge. What a target refuses is in `coercion`.

mod mariadb;
mod mysql9;
mod postgres;
mod sqlite;

use crate::harness::lab::{Database, Kind, Lab};
use crate::harness::literal;
use crate::harness::oracle::values::{self, View};
use crate::prove::ask;
use crate::random::{Random, Values};

/// A column of the wide table.
struct Column {
    /// Its type, as the engine spells it.
    declared: &'static str,
    values: Values,
    /// Literals that are always among the values.
    edges: &'static [&'static str],
    /// Targets that hold only a part of such values.
    except: &'static [Kind],
}

const fn column(declared: &'static str, values: Values, edges: &'static [&'static str]) -> Column {
    Column {
        declared,
        values,
        edges,
        except: &[],
    }
}

impl Column {
    const fn except(self, except: &'static [Kind]) -> Column {
        Column { except, ..self }
    }
}

const ROWS: usize = 120;
const ROWS_PER_INSERT: usize = 20;

/// The seed of this run: `STERNA_TEST_SEED`, or the one that is always the same.
fn seed() -> u64 {
    let given = std::env::var("STERNA_TEST_SEED").ok();
    given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_122)
}

async fn fill(database: &Database, columns: &[&Column]) {
    let kind = database.kind;
    let name = |i: usize| literal::name(kind, &format!("c{i:02} {}", columns[i].declared));
    let declared: Vec<String> = { 0..columns.len() }
        .map(|i| {
            let null = if kind.is_mysql() { " NULL" } else { "" };
            format!("{} {}{null}", name(i), columns[i].declared)
        })
        .collect();
    let create = format!(
        "CREATE TABLE wide (id INTEGER PRIMARY KEY, {})",
        declared.join(", ")
    );
    let mut statements = vec![create];
    let mut random = Random(seed());
    let mut rows = Vec::new();
    for row in 0..ROWS {
        let mut cells = vec![row.to_string()];
        for column in columns {
            cells.push(match column.edges.get(row) {
                Some(edge) => (*edge).to_owned(),
                None if random.below(8) == 0 => "NULL".to_owned(),
                None => column.values.literal(kind, &mut random),
            });
        }
        rows.push(format!("({})", cells.join(", ")));
    }
    for rows in rows.chunks(ROWS_PER_INSERT) {
        statements.push(format!("INSERT INTO wide VALUES {}", rows.join(", ")));
    }
    database.exec(&statements).await;
}

/// Copies the wide table of `from`'s types to `to` and back.
async fn round_trip(from: Kind, to: Kind, before: &[&str], columns: &[&[Column]]) {
    let Some(lab) = Lab::new(&[from, to]).await else {
        return;
    };
    println!("STERNA_TEST_SEED={}", seed());
    let all = columns.iter().copied().flatten();
    let columns: Vec<&Column> = all.filter(|column| !column.except.contains(&to)).collect();
    let source = lab.database(from, "types").await;
    source.exec(before).await;
    fill(&source, &columns).await;
    let target = lab.database(to, "copy").await;
    lab.copy(&source, &target, &[]).await;
    ask::assert_equal(&lab, &source, &target, &[]).await;
    values::assert_same(&source, &target, &[]).await;
    let back = lab.database(from, "back").await;
    lab.copy(&target, &back, &[]).await;
    let view = if from.same_engine(to) {
        View::Exact
    } else {
        View::Meaning
    };
    let found = values::compare(&source, &back, &[], view).await;
    assert!(
        found.is_empty(),
        "{from:?}, {to:?} and back:\n{}",
        found.join("\n")
    );
}
