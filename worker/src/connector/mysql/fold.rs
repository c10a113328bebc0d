//! The rows of a range folded by the server itself: `SUM` of both halves of 128 bits of each row's
//! hash, MD5 in MariaDB, SHA-256 in MySQL, whose newer versions have no MD5. The text that is hashed
//! gives each cell's length before its bytes, and another letter for NULL, so that two rows have one
//! text only if they are equal.

use common::digest::Digest;
use common::limits;

use super::quote::table_name;
use super::reader::condition;
use super::session::{Host, Purpose};
use super::types;
use crate::connector::{ReadRequest, Result, Role};

/// See [`crate::connector::Connector::fold`].
pub async fn run(host: &Host, request: &ReadRequest) -> Result<Option<Digest>> {
    if request.table.copied_columns().next().is_none() {
        return Ok(None);
    }
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let mut digest = Digest::default();
    let mariadb = session.facts.mariadb;
    for sql in statements(&host.database, request, mariadb) {
        let rows = session
            .rows_within(&sql, limits::TRANSFER_DEADLINE_MS)
            .await?;
        let Some(part) = rows.first().and_then(|row| read(row)) else {
            return Ok(None);
        };
        digest += part;
    }
    Ok(Some(digest))
}

/// None: some row was too long for the server to put together, or something isn't a number.
fn read(row: &[Option<String>]) -> Option<Digest> {
    let [rows, unhashed, high, low] = row else {
        return None;
    };
    let number = |cell: &Option<String>| cell.as_deref()?.parse::<u128>().ok();
    if number(unhashed)? != 0 {
        return None;
    }
    // Each half is summed modulo 2^64.
    let half = |cell| Some(u128::from(number(cell)? as u64));
    Some(Digest {
        rows: u64::try_from(number(rows)?).ok()?,
        sum: half(high)? << 64 | half(low)?,
    })
}

fn statements(database: &str, request: &ReadRequest, mariadb: bool) -> Vec<String> {
    let cells = request.table.copied_columns().map(|column| {
        let bytes = format!("CAST({} AS BINARY)", types::select(column, request.form));
        format!("IFNULL(CONCAT('v', LENGTH({bytes}), ':', {bytes}), 'n')")
    });
    let row = format!("CONCAT({})", cells.collect::<Vec<_>>().join(", "));
    let hash = match mariadb {
        true => format!("MD5({row})"),
        false => format!("SHA2({row}, 256)"),
    };
    let half = |from: u32| {
        let digits = format!("CONV(SUBSTR(h, {from}, 16), 16, 10)");
        format!("COALESCE(SUM(CAST({digits} AS UNSIGNED)), 0)")
    };
    let select = format!(
        "SELECT /* sterna */ COUNT(*), COALESCE(SUM(h IS NULL), 0), {}, {} FROM (SELECT \
         {hash} AS h FROM {}",
        half(1),
        half(17),
        table_name(database, &request.table)
    );
    let of = |condition: Option<String>| match condition {
        None => format!("{select}) AS hashed"),
        Some(condition) => format!("{select} WHERE {condition}) AS hashed"),
    };
    match request.ranges.is_empty() {
        true => vec![of(None)],
        false => { request.ranges.iter() }
            .map(|range| of(condition(&request.key, range)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_summed_apart_and_what_was_not_hashed_is_seen() {
        let row = |cells: [&str; 4]| cells.map(|cell| Some(cell.to_owned()));
        let found = read(&row(["3", "0", "18446744073709551617", "5"]));
        let expected = Digest {
            rows: 3,
            sum: 1 << 64 | 5,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(read(&row(["3", "1", "7", "5"])), None);
        assert_eq!(read(&[Some("3".to_owned()), None]), None);
    }
}
