//! Rows of the binary log against rows of the reader, byte by byte: every change since the log began,
//! netted by whole rows, must leave exactly what the reader yields now.

mod pinned;
mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use common::change::{ChangeBatch, Op};
use common::id::TableNo;
use common::schema::{CellForm, TableSchema};
use common::value::RowBatch;
use futures::StreamExt;
use mysql_async::binlog::events::{EventData, TableMapEvent};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn};
use worker::connector::mysql::Mysql;
use worker::connector::mysql::binlog::row::RowDecoder;
use worker::connector::{Connector, Role};
use worker::secret::Secrets;

use crate::mysql9::Mysql9;
use crate::server::{as_it_is, connect_at, endpoint_at, port, spec, whole};
use crate::torture;

type Row = Vec<Option<Vec<u8>>>;
/// How often each row is there.
type Rows = BTreeMap<Row, i64>;

const FORMS: [CellForm; 2] = [CellForm::Native, CellForm::Canonical];

fn rows_of(batch: &RowBatch) -> Vec<Row> {
    let cells: Vec<Option<Vec<u8>>> = batch.cells().map(|cell| cell.map(<[u8]>::to_vec)).collect();
    let rows = cells.chunks(batch.columns().max(1));
    rows.map(<[Option<Vec<u8>>]>::to_vec).collect()
}

/// What the reader yields; Err = what it says.
async fn read(source: &Mysql, table: &TableSchema, form: CellForm) -> Result<Rows, String> {
    let mut rows = Rows::new();
    let mut reader = source
        .read(whole(table, table, form))
        .await
        .expect("opened");
    while let Some(batch) = reader.next().await.map_err(|error| error.to_string())? {
        for row in rows_of(&batch) {
            *rows.entry(row).or_default() += 1;
        }
    }
    Ok(rows)
}

/// One table's changes in one form.
struct Net {
    decoder: RowDecoder,
    columns: usize,
    rows: Rows,
    error: Option<String>,
}

impl Net {
    fn apply(&mut self, batch: &ChangeBatch) {
        let mut rows = rows_of(&batch.rows).into_iter();
        let mut add = |by: i64| {
            let row = rows.next().expect("a row for each image");
            let count = self.rows.entry(row.clone()).or_default();
            *count += by;
            if *count == 0 {
                self.rows.remove(&row);
            }
        };
        for op in &batch.ops {
            match op {
                Op::Insert => add(1),
                Op::Delete => add(-1),
                Op::Update => {
                    add(-1);
                    add(1);
                }
                Op::Truncate => panic!("no row event truncates"),
            }
        }
    }
}
/// A net for each table, in both forms.
fn empty(tables: &[TableSchema], mariadb: bool) -> BTreeMap<String, [Net; 2]> {
    let mut nets: BTreeMap<String, [Net; 2]> = BTreeMap::new();
    for table in tables {
        let net = |form| {
            let mut plan = as_it_is(table);
            plan.form = form;
            let (decoder, error) = match RowDecoder::new(&plan, TableNo(0), mariadb) {
                Ok(decoder) => (decoder, None),
                Err(error) => {
                    plan.form = CellForm::Native;
                    let other = RowDecoder::new(&plan, TableNo(0), mariadb).expect("native");
                    (other, Some(error.to_string()))
                }
            };
            Net {
                decoder,
                columns: table.copied_columns().count(),
                rows: Rows::new(),
                error,
            }
        };
        nets.insert(table.name.clone(), FORMS.map(net));
    }
    nets
}

/// Changes of `database` by table and form, from a place in the log to another, or its end.
async fn net(
    port: u16,
    database: &str,
    tables: &[TableSchema],
    from: &(Vec<u8>, u64),
    until: Option<(Vec<u8>, u64)>,
) -> BTreeMap<String, [Net; 2]> {
    let until = match until {
        Some(until) => until,
        None => end(port).await,
    };
    assert_eq!(from.0, until.0, "one file");
    let mut conn = connect_at(port, "").await;
    let mariadb = is_mariadb(&mut conn).await;
    let mut nets = empty(tables, mariadb);
    if mariadb {
        conn.query_drop("SET @mariadb_slave_capability=4")
            .await
            .expect("set");
    }
    // The server ends an older reader of the same number.
    static NUMBER: AtomicU32 = AtomicU32::new(4_000_000_000);
    let request = BinlogStreamRequest::new(NUMBER.fetch_add(1, Ordering::Relaxed))
        .with_filename(&from.0)
        .with_pos(from.1);
    let mut stream = conn.get_binlog_stream(request).await.expect("a stream");
    let mut maps: BTreeMap<u64, TableMapEvent<'static>> = BTreeMap::new();
    while let Some(event) = stream.next().await {
        let event = event.expect("an event");
        if u64::from(event.header().log_pos()) > until.1 {
            break;
        }
        let last = u64::from(event.header().log_pos()) == until.1;
        // An event the library has no name for has no data.
        match event.read_data().expect("known") {
            Some(EventData::TableMapEvent(map)) => {
                maps.insert(map.table_id(), map.into_owned());
            }
            Some(EventData::RowsEvent(rows)) => {
                let map = &maps[&rows.table_id()];
                let forms = match map.database_name() == database {
                    true => nets.get_mut(map.table_name().as_ref()),
                    false => None,
                };
                let nets = forms.into_iter().flatten();
                for net in nets.filter(|net| net.error.is_none()) {
                    let mut batch = ChangeBatch {
                        table: TableNo(0),
                        ops: Vec::new(),
                        rows: RowBatch::new(net.columns),
                        old_is_key: false,
                        unchanged: Vec::new(),
                    };
                    match net.decoder.decode(map, &rows, &mut batch) {
                        Ok(()) => net.apply(&batch),
                        Err(error) => net.error = Some(error.to_string()),
                    }
                }
            }
            _ => {}
        }
        if last {
            break;
        }
    }
    stream.close().await.expect("closed");
    nets
}

async fn is_mariadb(conn: &mut Conn) -> bool {
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.expect("asked");
    version.is_some_and(|version| version.contains("MariaDB"))
}

/// Where the log ends.
async fn end(port: u16) -> (Vec<u8>, u64) {
    let mut conn = connect_at(port, "").await;
    let sql = match is_mariadb(&mut conn).await {
        true => "SHOW MASTER STATUS",
        false => "SHOW BINARY LOG STATUS",
    };
    let row: mysql_async::Row = conn.query_first(sql).await.expect("asked").expect("a log");
    (row.get(0).expect("a file"), row.get(1).expect("an offset"))
}

/// What differs between the log and the reader, table by table.
async fn differences(port: u16, database: &str, from: &(Vec<u8>, u64)) -> Vec<String> {
    let source = Mysql::new(&endpoint_at(port, database), &Secrets::default()).expect("valid");
    let inspection = source
        .inspect(Role::Source, &spec())
        .await
        .expect("inspected");
    let nets = net(port, database, &inspection.tables, from, None).await;
    let mut differences = Vec::new();
    for table in &inspection.tables {
        for (form, net) in FORMS.into_iter().zip(&nets[&table.name]) {
            let read = read(&source, table, form).await;
            let place = format!("{} {form:?}", table.name);
            match (read, &net.error) {
                (Ok(read), None) if read == net.rows => {}
                (Ok(read), None) => {
                    let gone = |a: &Rows, b: &Rows| -> Vec<String> {
                        let rows = a.iter().filter(|(row, count)| b.get(*row) != Some(count));
                        rows.take(3)
                            .map(|(row, count)| shown(row, *count))
                            .collect()
                    };
                    differences.push(format!(
                        "{place}: read {:?} but the log has {:?}",
                        gone(&read, &net.rows),
                        gone(&net.rows, &read)
                    ));
                }
                // Both refuse the same value.
                (Err(one), Some(other)) if one == *other => {}
                (read, error) => {
                    differences.push(format!("{place}: {:?} {error:?}", read.err()));
                }
            }
        }
    }
    differences
}

fn shown(row: &Row, count: i64) -> String {
    let cell = |cell: &Option<Vec<u8>>| match cell {
        None => "NULL".to_owned(),
        Some(bytes) => bytes[..bytes.len().min(60)].escape_ascii().to_string(),
    };
    let cells: Vec<String> = row.iter().map(cell).collect();
    format!("{count} x ({})", cells.join(" | "))
}

async fn tortured(port: u16) -> Vec<String> {
    let from = end(port).await;
    torture::load(port);
    let mut found = differences(port, "torture", &from).await;
    let mut conn = connect_at(port, "torture").await;
    conn.query_drop("SET foreign_key_checks=0, sql_mode=''")
        .await
        .expect("set");
    for table in [
        "t_int",
        "t_num",
        "t_time",
        "t_bin",
        "t_str",
        "t_enumset",
        "t_set64",
        "t_json",
        "t_geo",
        "t_cs",
        "gen_cols",
        "invis",
    ] {
        let sql = format!("UPDATE {table} SET id = id + 1000");
        conn.query_drop(&sql).await.expect("updated");
    }
    found.extend(differences(port, "torture", &from).await);
    found
}

#[tokio::test]
async fn the_log_has_what_the_reader_reads_on_mariadb() {
    let _turn = torture::TURN.lock().await;
    assert_eq!(tortured(port()).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_log_has_what_the_reader_reads_on_mysql_9() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let _turn = torture::TURN.lock().await;
    assert_eq!(tortured(server.port).await, Vec::<String>::new());
}
