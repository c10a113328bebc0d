//! A worker without a database: it follows the leader and answers everything at once.

use std::time::Duration;

use common::digest::Digest;
use common::directive::{Ack, Directive, Directives, Order, Outcome, Report};
use common::id::PartitionNo;
use common::limits::MESSAGE_BYTES_MAX;
use common::plan::Loaded;
use common::state::WorkerHello;
use common::task::{Settled, TaskKind, TaskResult};
use proto::v1;
use proto::v1::worker_client::WorkerClient;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::{SLOTS, fixture, job_of};

pub const UID: &str = "0123456789abcdef0123456789abcdef";

/// Works for ever, with whoever leads.
pub async fn work(n: u32, addresses: Vec<String>, partitions: u32) {
    for turn in 0usize.. {
        let address = &addresses[(turn + n as usize) % addresses.len()];
        attend(n, address, partitions).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn attend(n: u32, address: &str, partitions: u32) {
    let Ok(client) = WorkerClient::connect(format!("http://{address}")).await else {
        return;
    };
    let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (reports, queue) = mpsc::channel(8);
    let mut report = hello(n);
    if reports.send(pack(report.clone())).await.is_err() {
        return;
    }
    let Ok(stream) = client.attend(ReceiverStream::new(queue)).await else {
        return;
    };
    let mut stream = stream.into_inner();
    loop {
        let beat = tokio::time::timeout(Duration::from_millis(250), stream.next()).await;
        match beat {
            Ok(Some(Ok(message))) => {
                let directives = Directives::try_from(message).expect("a leader's message");
                let answers = directives.wanted.iter().map(|d| answer(d, partitions));
                report.acks = answers.collect();
            }
            Ok(_) => return,
            Err(_) => {}
        }
        report.seq += 1;
        if reports.send(pack(report.clone())).await.is_err() {
            return;
        }
    }
}

fn hello(n: u32) -> Report {
    let hello = WorkerHello {
        name: format!("sim{n}"),
        incarnation: 1,
        slots: SLOTS,
        version: "bench".to_owned(),
    };
    Report {
        hello,
        draining: false,
        running: Vec::new(),
        acks: Vec::new(),
        progress: Vec::new(),
        memory_bytes: 0,
        seq: 0,
    }
}

fn pack(report: Report) -> v1::Report {
    v1::Report::pack(report, job_of)
}

fn answer(directive: &Directive, partitions: u32) -> Ack {
    let lease = directive.lease;
    let outcome = match &directive.order {
        Order::Prepare {
            decided: Some(epoch),
            ..
        } => Outcome::Committed(*epoch),
        Order::Prepare { spec, .. } => Outcome::Prepared(loaded(spec.partition)),
        Order::Commit => Outcome::Committed(lease.epoch),
        Order::Run { task } => Outcome::Task(result(task, partitions)),
    };
    Ack { lease, outcome }
}

fn loaded(no: PartitionNo) -> Loaded {
    let digest = Digest {
        rows: 300_000,
        sum: u128::from(no.0) << 90,
    };
    Loaded {
        bytes: fixture::PARTITION_BYTES,
        digest,
    }
}

fn result(task: &TaskKind, partitions: u32) -> TaskResult {
    match task {
        TaskKind::Secure
        | TaskKind::Follow { .. }
        | TaskKind::Compare { .. }
        | TaskKind::Examine { .. }
        | TaskKind::Repair { .. } => {
            unreachable!("the benchmark's job neither follows nor compares")
        }
        TaskKind::Release => TaskResult::Done,
        TaskKind::Inspect { .. } => TaskResult::Inspected(Box::new(fixture::catalog(partitions))),
        TaskKind::Settle { .. } => TaskResult::Settled(Settled::Unmoved),
        TaskKind::Verify { expected, .. } => TaskResult::Digested(*expected),
        TaskKind::Resolve { .. } => TaskResult::Resolved {
            committed: 0,
            rolled_back: 0,
        },
        TaskKind::Create
        | TaskKind::Key { .. }
        | TaskKind::Index { .. }
        | TaskKind::ForeignKeys { .. }
        | TaskKind::Objects => TaskResult::Done,
    }
}
