//! Expressions of rules at their limits: what is too deep is an error, never a broken process.

use common::schema::TableSchema;
use common::transform::Expression;

/// Threads of the runtime have 2 MiB of stack; three quarters must do.
#[test]
fn the_deepest_expressions_are_errors_and_no_overflow() {
    let source: TableSchema = serde_json::from_value(serde_json::json!({
        "name": "t", "primary_key": [], "indexes": [], "foreign_keys": [],
        "rows_estimate": 0, "bytes_estimate": 0,
        "columns": [{"name": "a", "native_type": "bigint", "nullable": true,
                     "canonical": {"type": "int", "bits": 64, "unsigned": false},
                     "default": null, "auto_increment": false}],
    }))
    .expect("a table");
    // (deep, long): each as much as may be, and more.
    let texts: Vec<String> = [(12, 76), (2_000, 4_000)]
        .into_iter()
        .flat_map(|(deep, long)| {
            let half = deep / 2;
            [
                "(".repeat(deep) + "a" + &")".repeat(deep),
                "[".repeat(deep) + &"]".repeat(deep),
                "{1:".repeat(deep) + "a" + &"}".repeat(deep),
                "size(".repeat(deep) + "'a'" + &")".repeat(deep),
                "[1].map(x,".repeat(half) + "a" + &")".repeat(half),
                "(a==1?".repeat(half) + "a" + &":a)".repeat(half),
                "a".to_owned() + &"==1?a:a".repeat(deep),
                "!".repeat(deep) + "true",
                "-".repeat(deep) + "a",
                "!-".repeat(half) + "a",
                "a".to_owned() + &".b".repeat(long / 2),
                "a".to_owned() + &"+1".repeat(long / 2),
                "true".to_owned() + &"&&true".repeat(long / 3),
                "a in ".repeat(long / 2) + "[a]",
                "(".repeat(deep) + "a" + &"+1".repeat(long / 3) + &")".repeat(deep),
            ]
        })
        .collect();
    let stack = std::thread::Builder::new().stack_size(3 << 19);
    let work = stack.spawn(move || {
        for text in texts {
            assert!(text.len() < 2_000 || Expression::compile(&text, &source).is_err());
            if let Ok(expression) = Expression::compile(&text, &source) {
                let _ = expression.eval(&[Some(b"1")]);
            }
        }
    });
    work.expect("a thread").join().expect("no overflow");
}
