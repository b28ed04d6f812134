//! The port: `/metrics` for Prometheus, `/livez` and `/readyz` for the kubelet.
//!
//! Both of the latter say nothing about Unbound. The exporter stands in Unbound's own pod, and a pod whose numbers
//! are missing must resolve on.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tsutsumi_probes::serve_plain;

use crate::{metrics, scrape::Asker, socket::SocketPath};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that the exporter needs.
#[derive(Debug)]
pub struct Exporter {
    /// Where Prometheus and the kubelet ask.
    pub listener: TcpListener,
    /// Where Unbound is asked.
    pub socket: SocketPath,
}

/// Serves until `shutdown` completes.
pub async fn serve(exporter: Exporter, shutdown: impl Future<Output = ()>) {
    let asker = Arc::new(Asker::new(exporter.socket));
    serve_plain(exporter.listener, router(asker), shutdown).await;
}

fn router(asker: Arc<Asker>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async || "ok\n"))
        .route("/metrics", get(page))
        .with_state(asker)
}

async fn page(State(asker): State<Arc<Asker>>) -> Response {
    let answer = asker.ask().await.ok();
    match metrics::page(answer, asker.questions.clone()) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}
