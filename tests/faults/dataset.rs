//! The database the matrix moves: five small tables that refer to each other and to themselves, one
//! without a key, one empty, and a bigger one that makes at least twenty partitions; a view and a
//! trigger. The same rows on every engine, from a fixed sequence.

use std::fmt::Write;

use crate::harness::lab::Kind;

/// Rows of the bigger table.
pub const READINGS: u64 = 30_000;
/// Cuts it into about thirty partitions.
pub const PARTITION: &str = "128KiB";
/// The same in a job file.
pub const CHUNKS: &str = "[chunk]\npartition_bytes = \"128KiB\"\nbucket_bytes = \"32KiB\"\n";

const CUSTOMERS: u64 = 300;
const PRODUCTS: u64 = 120;
const ORDERS: u64 = 600;
const LOGS: u64 = 500;
const PER_STATEMENT: usize = 500;

/// The statements that make it, in order.
pub fn statements(kind: Kind) -> Vec<String> {
    let mut all = tables(kind);
    all.extend(rows(kind));
    all.extend(objects(kind));
    // Estimates decide into how many partitions a table is cut.
    all.push(match kind {
        Kind::Mariadb | Kind::Mysql9 => "ANALYZE TABLE reading".to_owned(),
        _ => "ANALYZE".to_owned(),
    });
    all
}

fn tables(kind: Kind) -> Vec<String> {
    let (bytes, double, instant) = match kind {
        Kind::Postgres => ("BYTEA", "DOUBLE PRECISION", "TIMESTAMP"),
        Kind::Sqlite => ("BLOB", "DOUBLE", "DATETIME"),
        _ => ("VARBINARY(200)", "DOUBLE", "DATETIME"),
    };
    let mut all = vec![
        format!(
            "CREATE TABLE customer (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(80) NOT NULL, \
             name VARCHAR(80), referrer BIGINT, born DATE, photo {bytes}, \
             CONSTRAINT customer_email UNIQUE (email), \
             CONSTRAINT customer_referrer FOREIGN KEY (referrer) REFERENCES customer (id))"
        ),
        "CREATE TABLE product (code VARCHAR(32) NOT NULL PRIMARY KEY, title VARCHAR(80) NOT NULL, \
         price DECIMAL(12,4), note TEXT, CONSTRAINT product_title UNIQUE (title))"
            .to_owned(),
        format!(
            "CREATE TABLE purchase (id BIGINT NOT NULL PRIMARY KEY, customer BIGINT NOT NULL, \
             placed {instant}, note TEXT, \
             CONSTRAINT purchase_customer FOREIGN KEY (customer) REFERENCES customer (id))"
        ),
        "CREATE TABLE purchase_line (purchase BIGINT NOT NULL, line_no INT NOT NULL, \
         product VARCHAR(32) NOT NULL, quantity INT, PRIMARY KEY (purchase, line_no), \
         CONSTRAINT line_purchase FOREIGN KEY (purchase) REFERENCES purchase (id), \
         CONSTRAINT line_product FOREIGN KEY (product) REFERENCES product (code))"
            .to_owned(),
        format!(
            "CREATE TABLE reading (id BIGINT NOT NULL PRIMARY KEY, sensor VARCHAR(40) NOT NULL, \
             at {instant}, value {double}, payload {bytes}, remark VARCHAR(100))"
        ),
        format!("CREATE TABLE logbook (at {instant}, line VARCHAR(100))"),
        "CREATE TABLE nothing_yet (id BIGINT NOT NULL PRIMARY KEY, x VARCHAR(10))".to_owned(),
    ];
    let index = [
        ("customer_name", "customer (name)"),
        ("purchase_placed", "purchase (placed)"),
        ("line_by_product", "purchase_line (product, quantity)"),
        ("reading_by_sensor", "reading (sensor, at)"),
        ("reading_by_value", "reading (value)"),
    ];
    all.extend(index.map(|(name, on)| format!("CREATE INDEX {name} ON {on}")));
    all
}

fn objects(kind: Kind) -> Vec<String> {
    let mut all = vec![
        "CREATE VIEW spent AS SELECT l.purchase AS purchase, SUM(p.price * l.quantity) AS total \
         FROM purchase_line l JOIN product p ON p.code = l.product GROUP BY l.purchase"
            .to_owned(),
    ];
    let trigger = match kind {
        Kind::Postgres => vec![
            "CREATE FUNCTION note_purchase() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO logbook (line) VALUES ('bought'); RETURN NEW; END $$",
            "CREATE TRIGGER purchase_noted AFTER INSERT ON purchase \
             FOR EACH ROW EXECUTE FUNCTION note_purchase()",
        ],
        Kind::Sqlite => vec![
            "CREATE TRIGGER purchase_noted AFTER INSERT ON purchase \
             BEGIN INSERT INTO logbook (line) VALUES ('bought'); END",
        ],
        _ => vec![
            "CREATE TRIGGER purchase_noted AFTER INSERT ON purchase FOR EACH ROW \
             INSERT INTO logbook (line) VALUES ('bought')",
        ],
    };
    all.extend(trigger.into_iter().map(str::to_owned));
    all
}

/// A fixed sequence that looks like chance.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn bytes(kind: Kind, n: u64, len: u64) -> String {
    let mut hex = String::new();
    for i in 0..len {
        let _ = write!(hex, "{:02x}", mixed(n * 61 + i) & 0xff);
    }
    match kind {
        Kind::Postgres => format!("'\\x{hex}'"),
        _ => format!("x'{hex}'"),
    }
}

fn instant(n: u64) -> String {
    let (day, hour, minute) = (1 + n % 28, n % 24, mixed(n) % 60);
    format!("'2024-0{}-{day:02} {hour:02}:{minute:02}:07'", 1 + n % 9)
}

/// `text`, or NULL every `each` rows.
fn sometimes(n: u64, each: u64, text: String) -> String {
    match n % each {
        0 => "NULL".to_owned(),
        _ => text,
    }
}

fn rows(kind: Kind) -> Vec<String> {
    let customer = |n: u64| {
        let referrer = sometimes(n, 3, ((n / 2).max(1)).to_string());
        let born = sometimes(n, 5, format!("'19{:02}-11-0{}'", 10 + n % 90, 1 + n % 9));
        let photo = sometimes(n, 4, bytes(kind, n, n % 40));
        format!("({n}, 'c{n}@example.org', 'Zoë {n} ''x''', {referrer}, {born}, {photo})")
    };
    let product = |n: u64| {
        let note = sometimes(n, 3, format!("'line one\nline two\t{n} \\\\ end'"));
        format!(
            "('P-{:x}', 'thing {n}', {}.{:04}, {note})",
            mixed(n),
            n % 900,
            n
        )
    };
    let purchase = |n: u64| {
        let placed = sometimes(n, 9, instant(n));
        format!("({n}, {}, {placed}, 'café {n}')", 1 + mixed(n) % CUSTOMERS)
    };
    let line = |n: u64| {
        let product = mixed(1 + mixed(n) % PRODUCTS);
        format!("({}, {}, 'P-{product:x}', {})", 1 + n / 3, n % 3, n % 7)
    };
    let reading = |n: u64| {
        let value = sometimes(n, 11, format!("{}.5", mixed(n) % 100_000));
        let payload = bytes(kind, n, 24);
        let sensor = mixed(n) % 40;
        let remark = sometimes(n, 7, format!("'remark {:x}'", mixed(n)));
        format!(
            "({}, 's-{sensor}', {}, {value}, {payload}, {remark})",
            n * 3,
            instant(n)
        )
    };
    let log = |n: u64| format!("({}, 'line {}')", instant(n), n % 50);
    let mut all = insert("customer", CUSTOMERS, customer);
    all.extend(insert("product", PRODUCTS, product));
    all.extend(insert("purchase", ORDERS, purchase));
    all.extend(insert("purchase_line", ORDERS, line));
    all.extend(insert("reading", READINGS, reading));
    all.extend(insert("logbook", LOGS, log));
    all
}

fn insert(table: &str, count: u64, row: impl Fn(u64) -> String) -> Vec<String> {
    let rows: Vec<String> = (1..=count).map(row).collect();
    let pieces = rows.chunks(PER_STATEMENT);
    pieces
        .map(|piece| format!("INSERT INTO {table} VALUES {}", piece.join(", ")))
        .collect()
}
