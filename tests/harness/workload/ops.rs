//! The operations, each one transaction, chosen by a seeded die: the same seed gives the same
//! session, as far as what it reads is the same.

use super::link::Link;
use super::{ACCOUNTS, Options, UNIQUES};
use crate::harness::lab::Kind;

/// Numbers that look like chance, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn of(&mut self, n: i64) -> i64 {
        let n = u64::try_from(n).expect("positive");
        i64::try_from(self.below(n)).expect("below n")
    }
}

/// (operation, how often).
const WEIGHTS: [(Op, u64); 9] = [
    (Op::Transfer, 6),
    (Op::Swap, 3),
    (Op::MoveKey, 4),
    (Op::Reinsert, 3),
    (Op::InsertDelete, 2),
    (Op::Savepoint, 2),
    (Op::Update, 8),
    (Op::Case, 2),
    (Op::Duplicate, 2),
];

#[derive(Clone, Copy)]
enum Op {
    Transfer,
    Swap,
    MoveKey,
    Reinsert,
    InsertDelete,
    Savepoint,
    Update,
    Case,
    Duplicate,
}

/// How a transaction begins.
pub fn begin(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "BEGIN IMMEDIATE",
        _ => "BEGIN",
    }
}

/// What one session does.
pub struct Ops {
    pub session: u32,
    pub dice: Dice,
    bulk_rows: i64,
    last_id: i64,
}

impl Ops {
    /// `most` is the highest key in `bulk`.
    pub fn new(session: u32, options: Options, most: i64) -> Ops {
        Ops {
            session,
            dice: Dice(options.seed * 1_000 + u64::from(session)),
            bulk_rows: i64::from(options.bulk_rows),
            last_id: most + 10_000_000 * (i64::from(session) + 1),
        }
    }

    fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// The next transaction: its name and its statements. Some look first.
    pub async fn next(&mut self, link: &mut Link) -> Result<(&'static str, Vec<String>), String> {
        let all = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.dice.below(all);
        let chosen = WEIGHTS.iter().find(|(_, weight)| match left < *weight {
            true => true,
            false => {
                left -= weight;
                false
            }
        });
        let (op, _) = chosen.expect("below their sum");
        Ok(match op {
            Op::Transfer => ("transfer", self.transfer()),
            Op::Swap => ("swap", self.swap(link).await?),
            Op::MoveKey => ("pkmove", self.move_key()),
            Op::Reinsert => ("reins", self.reinsert(link).await?),
            Op::InsertDelete => ("insdel", self.insert_delete()),
            Op::Savepoint => ("savep", self.savepoint()),
            Op::Update => ("upd", self.update()),
            Op::Case => ("casek", self.case()),
            Op::Duplicate => ("dup", self.duplicate()),
        })
    }

    fn transfer(&mut self) -> Vec<String> {
        let (i, j) = (self.dice.of(ACCOUNTS), self.dice.of(ACCOUNTS));
        let m = 1 + self.dice.of(49);
        vec![
            format!("UPDATE acct SET bal=bal-{m} WHERE id={i}"),
            format!("UPDATE acct SET bal=bal+{m} WHERE id={j}"),
            format!("INSERT INTO ledger(src,dst,amt) VALUES ({i},{j},{m})"),
        ]
    }

    /// Two rows exchange a unique value, by way of one that nobody else uses.
    async fn swap(&mut self, link: &mut Link) -> Result<Vec<String>, String> {
        let i = self.dice.of(UNIQUES);
        let j = (i + 1 + self.dice.of(UNIQUES - 1)) % UNIQUES;
        let meanwhile = -(i64::from(self.session) + 1);
        let of_i = first(link, &format!("SELECT u FROM wl_uniq WHERE id={i}")).await?;
        let of_j = first(link, &format!("SELECT u FROM wl_uniq WHERE id={j}")).await?;
        let (Some(of_i), Some(of_j)) = (of_i, of_j) else {
            return Ok(Vec::new());
        };
        let (ui, uj) = (of_i[0], of_j[0]);
        Ok(vec![
            format!("UPDATE wl_uniq SET u={meanwhile} WHERE id={i} AND u={ui}"),
            format!("UPDATE wl_uniq SET u={ui},v=v+1 WHERE id={j} AND u={uj}"),
            format!("UPDATE wl_uniq SET u={uj},v=v+1 WHERE id={i} AND u={meanwhile}"),
        ])
    }

    fn move_key(&mut self) -> Vec<String> {
        let (i, s) = (self.new_id(), self.session);
        let other = self.new_id();
        vec![
            format!("INSERT INTO bulk(id,k,u,amt) VALUES ({i},{s},'w-{i}',1.5)"),
            format!("UPDATE bulk SET id={other} WHERE id={i}"),
            format!("UPDATE wl_counter SET n=n+1 WHERE s={s}"),
        ]
    }

    async fn reinsert(&mut self, link: &mut Link) -> Result<Vec<String>, String> {
        let i = self.dice.of(UNIQUES);
        let row = first(link, &format!("SELECT u,v FROM wl_uniq WHERE id={i}")).await?;
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        Ok(vec![
            format!("DELETE FROM wl_uniq WHERE id={i}"),
            format!("INSERT INTO wl_uniq VALUES ({i},{},{})", row[0], row[1] + 1),
        ])
    }

    fn insert_delete(&mut self) -> Vec<String> {
        let i = self.new_id();
        vec![
            format!("INSERT INTO bulk(id,k,u) VALUES ({i},1,'tmp-{i}')"),
            format!("DELETE FROM bulk WHERE id={i}"),
        ]
    }

    fn savepoint(&mut self) -> Vec<String> {
        let mut statements = self.transfer();
        let undone = [
            "SAVEPOINT a",
            "UPDATE acct SET bal=bal-12345 WHERE id=7",
            "ROLLBACK TO SAVEPOINT a",
        ];
        statements.splice(1..1, undone.map(str::to_owned));
        statements
    }

    fn some_row(&mut self) -> i64 {
        self.dice.of(self.bulk_rows) * 3 + 1
    }

    fn update(&mut self) -> Vec<String> {
        let (k, part) = (self.dice.of(1_000), self.dice.of(10_000));
        let id = self.some_row();
        let set = format!("k={k}, amt=amt+0.{part:04}");
        vec![format!("UPDATE bulk SET {set} WHERE id={id}")]
    }

    /// A unique value changes its case only.
    fn case(&mut self) -> Vec<String> {
        let id = self.some_row();
        let function = ["upper", "lower"][usize::from(self.dice.below(2) == 1)];
        let row = format!("id={id} AND u NOT LIKE 'w-%'");
        vec![format!("UPDATE bulk SET u={function}(u) WHERE {row}")]
    }

    /// Rows that nothing tells apart.
    fn duplicate(&mut self) -> Vec<String> {
        let (a, b, c) = (self.dice.of(3), self.dice.of(3), self.dice.of(3));
        let copy = format!("SELECT a,b FROM wl_dup WHERE a={c} LIMIT 1");
        vec![
            format!("INSERT INTO wl_dup(a,b) VALUES ({a},{b})"),
            format!("INSERT INTO wl_dup(a,b) {copy}"),
        ]
    }
}

async fn first(link: &mut Link, sql: &str) -> Result<Option<Vec<i64>>, String> {
    Ok(link.numbers(sql).await?.into_iter().next())
}
