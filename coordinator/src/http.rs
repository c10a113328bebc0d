//! HTTP for machines that watch: metrics and health. Says nothing a secret could be in.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use crate::shared::Shared;

#[derive(Clone)]
struct Door {
    shared: Shared,
    metrics: Arc<Metrics>,
}

/// All routes.
pub(crate) fn router(shared: Shared) -> Router {
    let metrics = Arc::new(Metrics::new(shared.clone()));
    Router::new()
        .route("/", get(root))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Door { shared, metrics })
}

async fn root() -> &'static str {
    "sterna coordinator\n/metrics  /healthz  /readyz\ncommands: sterna jobs, sterna status -j NAME\n"
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: somebody leads, and what is proposed here can be written down.
async fn readyz(Extract(door): Extract<Door>) -> Response {
    let role = door.shared.role();
    let trouble = if door.shared.stop.is_cancelled() {
        Some("stopping")
    } else if !role.leading && role.leader.is_none() {
        Some("no leader is known")
    } else if door.shared.tally.is_storage_full() {
        Some("the state directory is full")
    } else {
        None
    };
    match trouble {
        None => "ready\n".into_response(),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")).into_response(),
    }
}

async fn metrics_text(Extract(door): Extract<Door>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match door.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
