//! Sample data for `sterna demo`, the same at every run, and a proof of its copy that shares no
//! code with the copier: another reader, another order, another algorithm.

use std::path::Path;

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// What one database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProof {
    pub table: String,
    pub rows: u64,
    /// FNV-1a over all rows as SQL literals, sorted.
    pub hash: u64,
}

const TABLES: &str = "
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    city TEXT,
    joined DATETIME NOT NULL,
    UNIQUE (email));
CREATE TABLE products (
    sku TEXT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    weight REAL,
    photo BLOB);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    placed_at DATETIME NOT NULL,
    note TEXT);
CREATE TABLE order_items (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    line INTEGER NOT NULL,
    sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL,
    price_cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE INDEX orders_by_customer ON orders (customer_id);
CREATE INDEX order_items_by_sku ON order_items (sku);";

/// Makes the sample database with about `rows` rows in four related tables; `path` must not exist.
pub async fn create(path: &Path, rows: u32) -> Result<(), sqlx::Error> {
    let mut conn = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .pragma("synchronous", "OFF")
        .connect()
        .await?;
    let rows = rows.max(1_000);
    let (customers, products, orders) = (rows / 10, rows / 100, rows * 3 / 10);
    let mut script = String::from("BEGIN;");
    script.push_str(TABLES);
    script.push_str(&fill(
        "customers",
        customers,
        "i, 'Customer ' || i || char(0x1F426 + i % 40), 'c' || i || '@example.org', \
         CASE i % 7 WHEN 0 THEN NULL ELSE 'Città ' || (i * 7919 % 500) END, \
         datetime(1500000000 + i * 977 % 200000000, 'unixepoch')",
    ));
    script.push_str(&fill(
        "products",
        products,
        "printf('SKU-%06d', i * 7 % 999983), 'Product ' || i, i * 37 % 100000, \
         i * 1.1 / 3.0, CAST(printf('%.*c', i % 200, char(65 + i % 26)) AS BLOB)",
    ));
    script.push_str(&fill(
        "orders",
        orders,
        &format!(
            "i, 1 + i * 48271 % {customers}, datetime(1600000000 + i * 13, 'unixepoch'), \
             CASE i % 3 WHEN 0 THEN NULL ELSE printf('%.*c', i % 60, 'x') || ' it''s ' || i END"
        ),
    ));
    script.push_str(&fill(
        "order_items",
        rows - customers - products - orders,
        &format!(
            "1 + (i - 1) / 2, 1 + (i - 1) % 2, \
             printf('SKU-%06d', (1 + i * 31 % {products}) * 7 % 999983), 1 + i % 9, i * 37 % 100000"
        ),
    ));
    script.push_str("COMMIT;");
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut conn)
        .await?;
    conn.close().await
}

/// One INSERT of rows i = 1, 2, … n.
fn fill(table: &str, n: u32, values: &str) -> String {
    format!(
        "INSERT INTO {table} WITH RECURSIVE n(i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT {values} FROM n;"
    )
}

/// Reads everything in the database that isn't Sterna's or SQLite's own, table by table.
pub async fn proof(path: &Path) -> Result<Vec<TableProof>, sqlx::Error> {
    let mut conn = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .connect()
        .await?;
    let names = sqlx::query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    );
    let names = names.fetch_all(&mut conn).await?;
    let mut proofs = Vec::new();
    for row in names {
        proofs.push(table_proof(&mut conn, row.try_get(0)?).await?);
    }
    conn.close().await?;
    Ok(proofs)
}

async fn table_proof(
    conn: &mut SqliteConnection,
    table: String,
) -> Result<TableProof, sqlx::Error> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns = sqlx::query("SELECT name FROM pragma_table_info(?) ORDER BY cid")
        .bind(&table)
        .fetch_all(&mut *conn)
        .await?;
    let mut cells = Vec::new();
    for column in columns {
        let name: String = column.try_get(0)?;
        cells.push(format!("quote(t.{})", quoted(&name)));
    }
    let sql = format!(
        "SELECT {} AS literals FROM {} AS t ORDER BY literals",
        cells.join(" || ',' || "),
        quoted(&table),
    );
    let (mut rows, mut hash) = (0, 0xcbf2_9ce4_8422_2325);
    let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(conn);
    while let Some(row) = found.try_next().await? {
        rows += 1;
        let literals: &str = row.try_get(0)?;
        for byte in literals.bytes().chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(TableProof { table, rows, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_sample_is_the_same_each_time_and_a_changed_cell_is_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        let (a, b) = (dir.path().join("a.db"), dir.path().join("b.db"));
        create(&a, 2_000).await.expect("made");
        create(&b, 2_000).await.expect("made");
        let first = proof(&a).await.expect("read");
        assert_eq!(first, proof(&b).await.expect("read"));
        assert_eq!(first.iter().map(|t| t.rows).sum::<u64>(), 2_000);
        let mut conn = SqliteConnectOptions::new()
            .filename(&b)
            .connect()
            .await
            .expect("opened");
        let broken = sqlx::query("SELECT count(*) FROM pragma_foreign_key_check");
        let broken: i64 = { broken.fetch_one(&mut conn).await }.expect("asked").get(0);
        assert_eq!(broken, 0);
        sqlx::query("UPDATE orders SET note = '' WHERE id = 3")
            .execute(&mut conn)
            .await
            .expect("changed");
        let second = proof(&b).await.expect("read");
        let differ = first.iter().zip(&second).filter(|(a, b)| a != b);
        assert_eq!(differ.count(), 1);
    }
}
