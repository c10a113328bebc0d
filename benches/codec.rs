//! What a worker's own work on rows costs: COPY's text in and out, LOAD DATA's text out.
//! `cargo bench --workspace --bench codec [FILTER]`.

use std::hint::black_box;
use std::sync::Arc;

use common::value::RowBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use worker::bench::{Encoder, Field, Shape, decode_row, infile};

/// Bytes that are sent at once.
const PIECE: usize = 256 << 10;

criterion_group!(codec, copy, load_data);
criterion_main!(codec);

/// Rows as sysbench's, in COPY's text.
fn lines() -> Vec<String> {
    let (c, pad) = ("c".repeat(120), "p".repeat(60));
    let line = |n: u32| format!("{n}\t{}\t{c}\t{pad}", n ^ 77);
    (0..5_000).map(line).collect()
}

fn fields(shape: Shape) -> Vec<Field> {
    let field = |name: &str| Field {
        name: name.to_owned(),
        shape,
    };
    ["id", "k", "c", "pad"].map(field).into()
}

fn decoded(lines: &[String], fields: &[Field]) -> RowBatch {
    let mut batch = RowBatch::new(fields.len());
    for line in lines {
        decode_row("t", fields, line.as_bytes(), &mut batch).expect("rows of COPY");
    }
    batch
}

fn copy(criterion: &mut Criterion) {
    let lines = lines();
    let mut group = criterion.benchmark_group("copy");
    group.throughput(Throughput::Elements(lines.len() as u64));
    for (name, shape) in [("as it is", Shape::Escaped), ("text", Shape::Text)] {
        let fields = fields(shape);
        group.bench_function(format!("decode, {name}"), |b| {
            b.iter(|| black_box(decoded(&lines, &fields)));
        });
        let batch = decoded(&lines, &fields);
        group.bench_function(format!("encode, {name}"), |b| {
            b.iter(|| {
                let mut encoder = Encoder::new("t", &fields, &batch);
                let mut piece = Vec::new();
                loop {
                    piece.clear();
                    encoder.fill(&mut piece, PIECE).expect("cells that fit");
                    if black_box(&piece).is_empty() {
                        break;
                    }
                }
            });
        });
    }
    group.finish();
}

fn load_data(criterion: &mut Criterion) {
    let lines = lines();
    let batch = Arc::new(decoded(&lines, &fields(Shape::Text)));
    let mut group = criterion.benchmark_group("load data");
    group.throughput(Throughput::Elements(lines.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            let pieces = infile::stream(Arc::clone(&batch)).collect::<Vec<_>>();
            black_box(futures::executor::block_on(pieces)).len()
        });
    });
    group.finish();
}
