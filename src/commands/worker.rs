//! `sterna worker`: one worker of the cluster, until a signal, which drains it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use common::code::{Code, Failure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use worker::{WorkerConfig, WorkerHandle};

use super::coordinator::listening;
use crate::cli::WorkerArgs;
use crate::error::Result;
use crate::output;
use crate::signals::Signals;

/// What OpenMetrics text is served as.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub async fn run(args: WorkerArgs, mut signals: Signals) -> Result<u8> {
    let listener = match &args.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let name = args.name.clone().unwrap_or_else(default_name);
    let drain_ms = u64::try_from(args.drain_timeout.as_millis()).unwrap_or(u64::MAX);
    let config = WorkerConfig {
        drain_ms,
        ..WorkerConfig::new(name.as_str(), args.join, args.slots)
    };
    let worker = { worker::start(config).await }
        .map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    let worker = Arc::new(worker);
    let address = listener.as_ref().and_then(|l| l.local_addr().ok());
    let mut line = listening(None, address.map(|address| address.to_string()));
    line.push_str(&format!(" worker={name}"));
    output::line(&line)?;
    let mut servers = JoinSet::new();
    if let Some(listener) = listener {
        let router = router(Arc::clone(&worker));
        servers.spawn(async move { axum::serve(listener, router).await });
    }
    let status = tokio::select! {
        status = signals.stop_or_stdin(args.exit_with_stdin) => status,
        () = worker.finished() => return Err(Failure::new(Code::Internal, "the worker ended")),
    };
    worker.drain().await;
    servers.shutdown().await;
    Ok(status)
}

async fn listen(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("can't listen on {address}: {error}");
        Failure::new(Code::Usage, what)
    })
}

/// Unique on this machine; a name that outlives the process needs --name.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "worker",
        host => host,
    };
    format!("{host}-{}", std::process::id())
}

fn router(worker: Arc<WorkerHandle>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(worker)
}

async fn metrics(
    State(worker): State<Arc<WorkerHandle>>,
) -> ([(&'static str, &'static str); 1], String) {
    std::future::ready(([("content-type", METRICS_TYPE)], worker.metrics_text())).await
}

/// Ready = registered with a leader.
async fn ready(State(worker): State<Arc<WorkerHandle>>) -> (StatusCode, &'static str) {
    std::future::ready(match worker.id() {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no leader yet\n"),
    })
    .await
}
