//! The control plane from end to end over real gRPC, without a database.

mod support;

use common::code::Code;
use common::state::Phase;
use proto::v1;
use support::{DEADLINE, wait_status};
use support::{FakeWorker, Manner, admin, coordinator, events, spec, status, submit, uid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn http(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_all_the_way_and_its_transcript_can_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let coordinator = coordinator(dir.path()).await;
    let mut admin = admin(&coordinator).await;
    let submitted = submit(&mut admin, &spec("shop"), &uid(1)).await;
    assert_eq!(submitted.phase, Phase::Checking);
    assert!(
        submitted
            .limited_by
            .expect("a reason")
            .contains("no worker")
    );
    let again = submit(&mut admin, &spec("shop"), &uid(1)).await;
    assert_eq!(again.id, submitted.id, "the same request is the same job");

    let address = coordinator.grpc_address().to_string();
    let _worker = FakeWorker::start(address, Manner::new("w1"));
    let done = wait_status(&mut admin, "shop", |s| s.phase.is_ended()).await;
    assert_eq!(done.phase, Phase::Completed, "{done:#?}");
    assert_eq!(done.api_version, "v1");
    assert!(done.verified && done.partitions.total > 4);
    assert_eq!(done.partitions.committed, done.partitions.total);
    assert_eq!(done.partitions.redone, 0);
    assert_eq!(done.rows_copied, u64::from(done.partitions.total) * 10);
    assert_eq!(done.tables.len(), 2);
    assert_eq!(done.exit_code, 0);

    let lines = events(&mut admin, "shop").await;
    let of_first: Vec<&str> = lines
        .iter()
        .filter(|line| line["partition"] == 0)
        .map(|line| line["event"].as_str().expect("a name"))
        .collect();
    assert_eq!(of_first, ["assigned", "prepared", "decided", "committed"]);
    let prepared = lines
        .iter()
        .find(|line| line["event"] == "prepared" && line["partition"] == 0)
        .expect("a prepared line");
    assert_eq!(prepared["job"], "shop");
    assert_eq!(prepared["rows"], 10);
    assert_eq!(prepared["epoch"], 1);
    let digest = format!("10:{:032x}", 1);
    assert_eq!(prepared["digest"], digest.as_str());
    assert!(prepared["seq"].is_u64() && prepared["at_ms"].is_u64());

    let http_address = coordinator.http_address().expect("HTTP is on");
    assert!(http(http_address, "/readyz").await.contains("200 OK"));
    assert!(http(http_address, "/healthz").await.contains("200 OK"));
    let metrics = http(http_address, "/metrics").await;
    for line in [
        "sterna_job_state{job=\"shop\",state=\"Completed\"} 1",
        "sterna_workers{state=\"live\"} 1",
        "sterna_table_rows_copied_total{job=\"shop\",table=\"users\"} 10",
        "sterna_raft_is_leader 1",
        "sterna_build_info{",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_worker_held_is_done_by_another_under_a_higher_epoch() {
    let dir = tempfile::tempdir().expect("a directory");
    let coordinator = coordinator(dir.path()).await;
    let mut admin = admin(&coordinator).await;
    let address = coordinator.grpc_address().to_string();
    let stuck = Manner {
        never_prepares: true,
        ..Manner::new("w1")
    };
    let mut first = FakeWorker::start(address.clone(), stuck);
    submit(&mut admin, &spec("shop"), &uid(1)).await;
    let copying = first.wanted.wait_for(|wanted| wanted.len() == 4);
    let held = tokio::time::timeout(DEADLINE, copying).await;
    drop(held.expect("in time").expect("attached"));
    wait_status(&mut admin, "shop", |s| s.phase == Phase::Copying).await;
    drop(first);

    let _second = FakeWorker::start(address, Manner::new("w2"));
    let done = wait_status(&mut admin, "shop", |s| s.phase.is_ended()).await;
    assert_eq!(done.phase, Phase::Completed, "{done:#?}");
    assert_eq!(done.partitions.redone, 4);
    let lines = events(&mut admin, "shop").await;
    let redone = lines
        .iter()
        .filter(|line| line["event"] == "committed" && line["epoch"] == 2);
    assert_eq!(redone.count(), 4);
    let all = events(&mut admin, "").await;
    let lost = all
        .iter()
        .find(|line| line["event"] == "worker_lost")
        .expect("the loss is in the journal");
    assert_eq!(lost["leases"], 4);
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_one_name_waits_for_the_first_to_be_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let coordinator = coordinator(dir.path()).await;
    let mut admin = admin(&coordinator).await;
    let address = coordinator.grpc_address().to_string();
    let mut first = FakeWorker::start(address.clone(), Manner::new("w"));
    let attached = tokio::time::timeout(DEADLINE, first.wanted.changed()).await;
    attached.expect("in time").expect("attached");
    let twin = Manner {
        incarnation: 2,
        ..Manner::new("w")
    };
    let mut second = FakeWorker::start(address, twin);
    let quiet = std::time::Duration::from_millis(700);
    let none = tokio::time::timeout(quiet, second.wanted.changed()).await;
    assert!(none.is_err(), "the second one must wait");
    drop(first);
    let attached = tokio::time::timeout(DEADLINE, second.wanted.changed()).await;
    attached.expect("in time").expect("attached");

    let reply = admin.list_workers(v1::Empty {}).await.expect("workers");
    let list: serde_json::Value = serde_json::from_slice(&reply.into_inner().json).expect("JSON");
    assert_eq!(list["workers"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["workers"][0]["health"], "live");
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_get_one_clear_error_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let coordinator = coordinator(dir.path()).await;
    let mut admin = admin(&coordinator).await;
    let mut bad = spec("a b");
    bad.source.url = "oracle:x".to_owned();
    let request = v1::SubmitJobRequest {
        spec: proto::to_json(&bad),
        uid: uid(1).to_string(),
    };
    let refused = admin.submit_job(request).await.expect_err("two problems");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let failure = proto::failure_of(&refused).expect("a failure");
    assert_eq!(failure.code, Code::JobFile);
    assert!(failure.what.contains("name:") && failure.what.contains("source.url:"));

    submit(&mut admin, &spec("shop"), &uid(1)).await;
    let twice = v1::SubmitJobRequest {
        spec: proto::to_json(&spec("shop")),
        uid: uid(2).to_string(),
    };
    let refused = admin.submit_job(twice).await.expect_err("the name is used");
    let failure = proto::failure_of(&refused).expect("a failure");
    assert_eq!(failure.code, Code::JobExists);

    let nobody = v1::GetJobRequest {
        job: "nobody".to_owned(),
    };
    let refused = admin.get_job(nobody).await.expect_err("no such job");
    let failure = proto::failure_of(&refused).expect("a failure");
    assert_eq!(failure.code, Code::NoSuchJob);

    let intent = |intent: &str| v1::SetIntentRequest {
        job: "shop".to_owned(),
        intent: intent.to_owned(),
    };
    admin.set_intent(intent("pause")).await.expect("paused");
    admin.set_intent(intent("cancel")).await.expect("cancelled");
    let cancelled = status(&mut admin, "shop").await;
    assert_eq!(
        (cancelled.phase, cancelled.exit_code),
        (Phase::Cancelled, 7)
    );
    let refused = admin.set_intent(intent("run")).await;
    let failure = proto::failure_of(&refused.expect_err("it is over"));
    assert_eq!(failure.expect("a failure").code, Code::WrongState);
    coordinator.shutdown().await;
}
