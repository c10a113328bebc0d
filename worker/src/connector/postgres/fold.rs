//! The rows of a range folded by the server itself: the sums of two 64-bit hashes, of different
//! seeds, of each row's text. A row's text quotes its cells, so that two rows have one text only if
//! they are equal.

use common::digest::Digest;
use common::limits;

use super::quote::{ident, qualified};
use super::reader::condition;
use super::session::{Host, Purpose};
use crate::connector::{ReadRequest, Result, Role};

/// See [`crate::connector::Connector::fold`].
pub async fn run(host: &Host, request: &ReadRequest) -> Result<Option<Digest>> {
    if request.table.copied_columns().next().is_none() {
        return Ok(None);
    }
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let mut digest = Digest::default();
    for sql in statements(host, request) {
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

fn read(row: &[Option<String>]) -> Option<Digest> {
    let [rows, one, two] = row else {
        return None;
    };
    // Each is summed modulo 2^64; the hashes are signed.
    let half = |cell: &Option<String>| {
        let sum: i128 = cell.as_deref()?.parse().ok()?;
        Some(u128::from(sum as u64))
    };
    Some(Digest {
        rows: rows.as_deref()?.parse().ok()?,
        sum: half(one)? << 64 | half(two)?,
    })
}

fn statements(host: &Host, request: &ReadRequest) -> Vec<String> {
    let table = &request.table;
    let columns: Vec<String> = { table.copied_columns() }
        .map(|column| ident(&column.name))
        .collect();
    let sum = |seed: u8| format!("COALESCE(sum(hashtextextended(r, {seed})), 0)::text");
    let select = format!(
        "SELECT count(*)::text, {}, {} FROM (SELECT ROW({})::text AS r FROM ONLY {}",
        sum(0),
        sum(1),
        columns.join(", "),
        qualified(host.schema_of(table.schema.as_deref()), &table.name)
    );
    let of = |condition: Option<String>| match condition {
        None => format!("{select}) hashed"),
        Some(condition) => format!("{select} WHERE {condition}) hashed"),
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
    fn sums_of_signed_hashes_wrap() {
        let row = ["2", "-1", "18446744073709551617"].map(|cell| Some(cell.to_owned()));
        let expected = Digest {
            rows: 2,
            sum: u128::from(u64::MAX) << 64 | 1,
        };
        assert_eq!(read(&row), Some(expected));
        assert_eq!(read(&[None, None, None]), None);
    }
}
