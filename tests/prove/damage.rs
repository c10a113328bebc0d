//! A small database of every kind of value, and one planted fault of each kind at its copy.

use crate::harness::lab::Kind;

const ROWS: u32 = 200;

/// Statements that make the source: `t` (a row has its number), `p` (two key columns), `k` (none).
pub fn source(kind: Kind, _to: Kind) -> Vec<String> {
    let (bytes, double, moment, decimal) = match kind {
        Kind::Mariadb | Kind::Mysql9 => ("BLOB", "DOUBLE", "DATETIME", "DECIMAL(38,20)"),
        Kind::Postgres => ("BYTEA", "DOUBLE PRECISION", "TIMESTAMP", "NUMERIC(38,20)"),
        // A file keeps no more digits of a number than a double has.
        Kind::Sqlite => ("BLOB", "REAL", "TEXT", "TEXT"),
    };
    let collation = match kind {
        Kind::Mariadb | Kind::Mysql9 => " COLLATE utf8mb4_general_ci",
        _ => "",
    };
    let tail = match kind {
        Kind::Mariadb | Kind::Mysql9 => " CHARACTER SET utf8mb4",
        _ => "",
    };
    let mut all = vec![
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(60){collation}, d {decimal}, \
             f {double}, b {bytes}, m {moment}){tail}"
        ),
        format!(
            "CREATE TABLE p (a VARCHAR(20) NOT NULL, n INTEGER NOT NULL, v VARCHAR(20), \
             PRIMARY KEY (a, n)){tail}"
        ),
        format!("CREATE TABLE k (x INTEGER, y VARCHAR(10)){tail}"),
    ];
    let row = |id: u32| {
        let name = match id {
            5 => "NULL".to_owned(),
            _ => format!("'name {id}'"),
        };
        let bytes = hex(kind, "00ff00");
        format!("({id}, {name}, '1.00000000000000000001', 0.3, {bytes}, '2024-01-01 12:00:00')")
    };
    let rows: Vec<String> = (1..=ROWS).map(row).collect();
    all.push(format!("INSERT INTO t VALUES {}", rows.join(", ")));
    let rows: Vec<String> = (0..60)
        .map(|n| format!("('k{}', {n}, 'v{n}')", n % 7))
        .collect();
    all.push(format!("INSERT INTO p VALUES {}", rows.join(", ")));
    let rows: Vec<String> = (0..40)
        .map(|n| format!("({}, 'y{}')", n % 5, n % 3))
        .collect();
    all.push(format!("INSERT INTO k VALUES {}", rows.join(", ")));
    all
}

fn hex(kind: Kind, digits: &str) -> String {
    match kind {
        Kind::Postgres => format!("'\\x{digits}'"),
        _ => format!("X'{digits}'"),
    }
}

/// Statements that damage the copy.
pub fn planted(_from: Kind, to: Kind) -> Vec<String> {
    let set = |id: u32, change: &str| format!("UPDATE t SET {change} WHERE id = {id}");
    vec![
        // The first and the last row of the key.
        "DELETE FROM t WHERE id = 1".to_owned(),
        format!("DELETE FROM t WHERE id = {ROWS}"),
        "INSERT INTO t (id, name) VALUES (500, 'new')".to_owned(),
        set(3, "name = 'NAME 3'"),
        set(4, "name = 'name 4 '"),
        set(5, "name = ''"),
        // Equal under the source's collation.
        set(6, "name = 'nàme 6'"),
        // One unit in the last place, and in the decimal's last place.
        set(7, "f = 0.30000000000000004"),
        set(8, "d = '1.00000000000000000002'"),
        set(9, &format!("b = {}", hex(to, "00ff01"))),
        set(10, "m = '2024-01-01 13:00:00'"),
        // Two rows with their values swapped.
        set(11, "name = 'name 12'"),
        set(12, "name = 'name 11'"),
        set(13, "f = NULL"),
        "DELETE FROM p WHERE a = 'k3' AND n = 10".to_owned(),
        "INSERT INTO p VALUES ('k3', 1000, 'v10')".to_owned(),
        // A copy more of a row without a key, and a row that isn't there at all.
        "INSERT INTO k VALUES (0, 'y0')".to_owned(),
        "INSERT INTO k VALUES (77, NULL)".to_owned(),
    ]
}

/// What must be told, and nothing else.
pub fn expected() -> Vec<String> {
    let mut all: Vec<String> = [
        "k extra 0,y0",
        "k extra 77,NULL",
        "p extra k3,1000",
        "p missing k3,10",
        "t different 10 m",
        "t different 11 name",
        "t different 12 name",
        "t different 13 f",
        "t different 3 name",
        "t different 4 name",
        "t different 5 name",
        "t different 6 name",
        "t different 7 f",
        "t different 8 d",
        "t different 9 b",
        "t extra 500",
        "t missing 1",
        "t missing 200",
    ]
    .map(str::to_owned)
    .to_vec();
    all.sort();
    all
}
