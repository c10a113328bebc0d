//! Random values: every storage class in every declared type, to another SQLite file exactly; and
//! every canonical type written and read back equal, each in the type that a plan gives it.

mod sqlite_support;

use common::digest::RowHasher;
use common::plan::Loaded;
use common::schema::{CanonicalType, CellForm, TableSchema};
use common::task::TaskKind;
use common::value::{DigestColumn, RowBatch};
use sqlite_support::*;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe};
use worker::connector::{ReadRequest, Role};

const ROWS: usize = 200;
const SEEDS: [u64; 4] = [1, 2, 3, 0x5eed];

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn bytes(&mut self, longest: u64) -> Vec<u8> {
        (0..self.below(longest))
            .map(|_| self.next() as u8)
            .collect()
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 16] = [
            "a", "0", "1", "-", ".", "e", "'", "\"", "\\", "\0", " ", "ü", "😀", "\n", "NaN",
            "\u{fffd}",
        ];
        (0..self.below(8)).map(|_| *self.pick(&PARTS)).collect()
    }

    fn int(&mut self) -> i64 {
        match self.below(4) {
            0 => *self.pick(&[0, 1, -1, i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1]),
            1 => self.below(256) as i64 - 128,
            _ => (self.next() as i64) >> self.below(63),
        }
    }

    fn real(&mut self) -> f64 {
        match self.below(4) {
            0 => *self.pick(&[
                0.0,
                0.1,
                -1.5,
                f64::INFINITY,
                f64::NEG_INFINITY,
                5e-324,
                1e15,
                9e15,
            ]),
            1 => self.int() as f64 / 100.0,
            _ => Some(f64::from_bits(self.next()))
                .filter(|real| !real.is_nan())
                .unwrap_or(1.0),
        }
    }
}

const DECLARED: [&str; 22] = [
    "INTEGER",
    "INT",
    "TEXT",
    "REAL",
    "NUMERIC",
    "BLOB",
    "",
    "VARCHAR(3)",
    "DATETIME",
    "DATE",
    "TIMESTAMP",
    "TIME",
    "BOOLEAN",
    "DECIMAL(10,5)",
    "CHARINT",
    "STRING",
    "JSON",
    "DOUBLE",
    "BIGINT UNSIGNED",
    "FLOAT4",
    "BIT(8)",
    "YEAR",
];

/// A value of any storage class; text may be no UTF-8.
fn bind_any(random: &mut Random, arguments: &mut SqliteArguments) -> &'static str {
    let added = match random.below(6) {
        0 => arguments.add(None::<i64>),
        1 => arguments.add(random.int()),
        2 => arguments.add(random.real()),
        3 => arguments.add(random.text()),
        4 => arguments.add(random.bytes(12)),
        _ => {
            arguments.add(random.bytes(12)).expect("bytes");
            return "CAST(? AS TEXT)";
        }
    };
    added.expect("numbers, texts and bytes can be bound");
    "?"
}

#[tokio::test(flavor = "multi_thread")]
async fn any_value_in_any_type_arrives_exactly() {
    for seed in SEEDS {
        let (_keep, from, to) = files();
        let columns: Vec<String> = DECLARED
            .iter()
            .enumerate()
            .map(|(no, declared)| format!("c{no} {declared}"))
            .collect();
        script(
            &from,
            &format!("CREATE TABLE any ({});", columns.join(", ")),
        )
        .await;
        let mut random = Random(seed);
        let mut conn = connect(&from).await;
        sqlx::query("BEGIN")
            .execute(&mut conn)
            .await
            .expect("begun");
        for _ in 0..ROWS {
            let mut arguments = SqliteArguments::default();
            let marks: Vec<&str> = (0..DECLARED.len())
                .map(|_| bind_any(&mut random, &mut arguments))
                .collect();
            let sql = format!("INSERT INTO any VALUES ({})", marks.join(", "));
            let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
            query.execute(&mut conn).await.expect("any value is taken");
        }
        sqlx::query("COMMIT")
            .execute(&mut conn)
            .await
            .expect("committed");
        sqlx::Connection::close(conn).await.expect("closes");
        let inspection = copy(&from, &to).await.expect("copied");
        let table = &inspection.tables[0];
        assert_eq!(
            dump(&from, table).await,
            dump(&to, table).await,
            "seed {seed}"
        );
        // Under a rule that is about no column, nothing is changed either.
        let mut dynamic = table.clone();
        for column in &mut dynamic.columns {
            column.canonical = CanonicalType::Any;
        }
        let (_keep, _, to) = files();
        let source = connector(&from);
        let rows = rows_of(&*source, whole(&dynamic, CellForm::Canonical)).await;
        write(&to, &dynamic, &dynamic, rows).await;
        assert_eq!(
            dump(&from, table).await,
            dump(&to, table).await,
            "seed {seed}"
        );
    }
}

async fn rows_of(source: &dyn worker::connector::Connector, request: ReadRequest) -> RowBatch {
    let mut reader = source.read(request).await.expect("read");
    let batch = reader.next().await.expect("read").expect("rows");
    assert!(reader.next().await.expect("the end").is_none());
    batch
}

/// Makes `target` and loads rows that travel as `rows` says; returns what was loaded.
async fn write(
    to: &std::path::Path,
    rows: &TableSchema,
    target: &TableSchema,
    batch: RowBatch,
) -> Loaded {
    let plan = plan(rows, target, CellForm::Canonical);
    let file = connector(to);
    let create = work(TaskKind::Create, 0, std::slice::from_ref(&plan));
    file.define(create).await.expect("created");
    let columns: Vec<DigestColumn> = rows
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, CellForm::Canonical))
        .collect();
    let mut loaded = Loaded::default();
    batch.digest_into(&columns, &mut RowHasher::default(), &mut loaded.digest);
    let mut writer = file.writer(txn(0, 1), plan).await.expect("a writer");
    writer.begin(None).await.expect("begun");
    writer.load(batch).await.expect("loaded");
    writer.prepare(loaded).await.expect("prepared");
    writer.commit().await.expect("committed");
    loaded
}

/// Canonical types, and what a plan declares for each.
fn canonical_types() -> Vec<(CanonicalType, &'static str)> {
    use CanonicalType as T;
    let int = |bits, unsigned| T::Int { bits, unsigned };
    let decimal = |precision, scale| T::Decimal { precision, scale };
    vec![
        (T::Bool, "BOOLEAN"),
        (int(8, false), "TINYINT"),
        (int(32, true), "INT UNSIGNED"),
        (int(64, false), "BIGINT"),
        (int(64, true), "DECIMAL_TEXT(20,0)"),
        (decimal(15, 6), "DECIMAL(15,6)"),
        (decimal(65, 30), "DECIMAL_TEXT(65,30)"),
        (T::Numeric, "NUMERIC_TEXT"),
        (T::Float32, "FLOAT4"),
        (T::Float64, "DOUBLE"),
        (T::Text { max_chars: None }, "TEXT"),
        (
            T::Text {
                max_chars: Some(30),
            },
            "VARCHAR(30)",
        ),
        (T::Bytes { max_len: None }, "BLOB"),
        (T::Date, "DATE"),
        (T::Time { fraction: 6 }, "TIME(6)"),
        (T::DateTime { fraction: 3 }, "DATETIME(3)"),
        (T::Timestamp { fraction: 6 }, "TIMESTAMP(6)"),
        (T::Year, "YEAR"),
        (T::Json, "JSON_TEXT"),
        (T::Uuid, "UUID_TEXT"),
        (T::Inet, "INET_TEXT"),
        (T::Bit { width: 12 }, "BIT(12)"),
        (T::Bit { width: 64 }, "BIT_TEXT(64)"),
    ]
}

/// A canonical text of the type.
fn random_cell(random: &mut Random, ty: &CanonicalType) -> Vec<u8> {
    use CanonicalType as T;
    let digits = |random: &mut Random, count: u64| -> String {
        (0..count.max(1))
            .map(|_| char::from(b'0' + random.below(10) as u8))
            .collect()
    };
    let text = match ty {
        T::Bool => random.below(2).to_string(),
        T::Int {
            bits: 64,
            unsigned: true,
        } => random.next().to_string(),
        T::Int {
            bits,
            unsigned: true,
        } => (random.next() >> (64 - bits)).to_string(),
        T::Int { bits, .. } => ((random.next() as i64) >> (64 - bits)).to_string(),
        T::Decimal { precision, scale } => {
            let whole = u64::from(precision - scale);
            let (whole, scale) = (random.below(whole + 1), u64::from(*scale));
            let sign = random.pick(&["", "-"]);
            format!("{sign}{}.{}", digits(random, whole), digits(random, scale))
        }
        T::Numeric => match random.below(4) {
            0 => (*random.pick(&["NaN", "Infinity", "-Infinity", "0"])).to_owned(),
            _ => format!("{}.{}", digits(random, 40), digits(random, 40)),
        },
        T::Float32 | T::Float64 => match random.below(4) {
            0 => (*random.pick(&["NaN", "Infinity", "-Infinity", "0", "1e300"])).to_owned(),
            _ => format!("{:?}", f32::from_bits((random.next() >> 33) as u32 | 1)),
        },
        T::Text { .. } => random.text(),
        T::Bytes { .. } => return random.bytes(40),
        T::Date => (*random.pick(&DATES)).to_owned(),
        T::Time { .. } => {
            (*random.pick(&["-838:59:59.5", "24:00:00", "00:00:00.000001"])).to_owned()
        }
        T::DateTime { .. } | T::Timestamp { .. } => match *random.pick(&DATES) {
            endless if endless.contains("infinity") => endless.to_owned(),
            day => match day.strip_suffix(" BC") {
                Some(day) => format!("{day} 23:59:59.12 BC"),
                None => format!("{day} 23:59:59.120"),
            },
        },
        T::Year => format!("{:04}", random.below(10_000)),
        T::Json => (*random.pick(&[
            "{\"b\": 1.0, \"a\": [null, true]}",
            "1e2",
            "\"\\u0041\"",
            "{}",
        ]))
        .to_owned(),
        T::Uuid => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned(),
        T::Inet => (*random.pick(&["10.0.0.0/8", "::1", "2001:db8::/32", "1.2.3.4"])).to_owned(),
        T::Bit { width } => (random.next() >> (64 - width)).to_string(),
        T::Enum { .. } | T::Set { .. } | T::Any => unreachable!("not among the types"),
    };
    text.into_bytes()
}

const DATES: [&str; 6] = [
    "2024-02-29",
    "0000-00-00",
    "infinity",
    "-infinity",
    "0044-03-15 BC",
    "294276-12-31",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_canonical_type_is_read_back_equal() {
    for seed in SEEDS {
        let (keep, from, to) = files();
        script(&from, "CREATE TABLE t (a);").await;
        let inspected = connector(&from).inspect(Role::Source, &any_spec()).await;
        let mut rows = inspected.expect("a source").tables.remove(0);
        let blank = rows.columns.remove(0);
        rows.columns.clear();
        rows.native_ddl = None;
        let mut target = rows.clone();
        for (no, (canonical, declared)) in canonical_types().into_iter().enumerate() {
            let mut column = blank.clone();
            column.name = format!("c{no}");
            column.canonical = canonical;
            rows.columns.push(column.clone());
            column.native_type = declared.to_owned();
            target.columns.push(column);
        }
        let mut random = Random(seed);
        let make = |random: &mut Random| {
            let mut batch = RowBatch::new(rows.columns.len());
            for _ in 0..ROWS {
                for column in &rows.columns {
                    match random.below(10) {
                        0 => batch.push_null(),
                        _ => batch.push(&random_cell(random, &column.canonical)),
                    }
                }
            }
            batch
        };
        let loaded = write(&to, &rows, &target, make(&mut random)).await;
        let request = ReadRequest {
            canonical: rows.clone(),
            ..whole(&target, CellForm::Canonical)
        };
        let file = connector(&to);
        let back = digest(&*file, request.clone()).await.expect("read back");
        assert_eq!(back, loaded.digest, "seed {seed}");
        // Once more from there, as when the copy becomes a source of the same types.
        let again = keep.path().join("again.db");
        let rows_there = rows_of(&*file, request.clone()).await;
        let copied = write(&again, &rows, &target, rows_there).await;
        assert_eq!(copied.digest, loaded.digest, "seed {seed}");
        assert_eq!(dump(&to, &target).await, dump(&again, &target).await);
        // What the file's own catalogue makes of it holds every value.
        let inspection = inspect_for(&to, "postgres://u@h/d").await;
        let own = whole(&inspection.tables[0], CellForm::Canonical);
        let read = digest(&*file, own).await;
        assert_eq!(read.expect("every value fits").rows, ROWS as u64);
    }
}
