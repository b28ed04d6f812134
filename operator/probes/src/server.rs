//! What the prober answers over mutual TLS: batches, and the names that resolvers are asked for.
//!
//! `POST /v1/probe` takes the probes of one batch as JSON and answers with as many observations; nothing is decided
//! here and nothing is kept. `POST /v1/names` takes from whom to collect names and until when, and answers with what was
//! collected so far; a prober that has no port for that answers 501.

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tsutsumi_model::{Collect, Collected, Observation, Probe, Vantage};

use crate::{
    egress::Egress,
    names::Collector,
    run::{Batch, run},
    serving::{Ports, serve_router},
    tls::Credentials,
};

/// The largest batch as JSON: 4096 probes with names of usual length.
const LARGEST_REQUEST: usize = 1024 * 1024;
/// Batches under way at one time; the next is told to come again.
const MAX_BATCHES: usize = 4;

/// Everything that a prober needs.
#[derive(Debug)]
pub struct Prober {
    /// Where the controller connects.
    pub listener: TcpListener,
    /// Where the kubelet asks for health, without TLS.
    pub health: TcpListener,
    /// Its own certificate, and the issuers of the controller's.
    pub credentials: Credentials<ServerConfig>,
    /// Where it stands.
    pub vantage: Vantage,
    /// Through what it probes.
    pub egress: Arc<Egress>,
    /// Where resolvers tell over dnstap what they are asked; none where they cannot.
    pub names: Option<TcpListener>,
}

/// Serves until `shutdown` completes, then lets what is under way end for up to ten seconds.
pub async fn serve(prober: Prober, shutdown: impl Future<Output = ()>) {
    let batches = probe_router(prober.vantage, prober.egress);
    let ports = Ports {
        listener: prober.listener,
        health: prober.health,
        credentials: prober.credentials,
    };
    let collector = prober.names.is_some().then(|| Arc::new(Collector::default()));
    let router = batches.merge(names_router(collector.clone()));
    let (stop, stopped) = watch::channel(());
    let collecting = async {
        if let Some((collector, listener)) = collector.zip(prober.names) {
            collector.serve(listener, stopped).await;
        }
    };
    let answering = async {
        serve_router(ports, router, || Ok(()), shutdown).await;
        drop(stop);
    };
    tokio::join!(answering, collecting);
}

struct Desk {
    vantage: Vantage,
    egress: Arc<Egress>,
    batches: Semaphore,
}

fn probe_router(vantage: Vantage, egress: Arc<Egress>) -> Router {
    Router::new()
        .route("/v1/probe", post(probe))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(Arc::new(Desk {
            vantage,
            egress,
            batches: Semaphore::new(MAX_BATCHES),
        }))
}

async fn probe(
    State(desk): State<Arc<Desk>>,
    Json(probes): Json<Vec<Probe>>,
) -> Result<Json<Vec<Observation>>, (StatusCode, String)> {
    let batch = Batch::try_from(probes).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let _place = desk.batches.try_acquire().map_err(|_| {
        let busy = format!("{MAX_BATCHES} batches are under way; try again when one has ended");
        (StatusCode::SERVICE_UNAVAILABLE, busy)
    })?;
    tracing::debug!(probes = batch.probes().len(), "batch begins");
    Ok(Json(run(batch, desk.vantage, &desk.egress).await))
}

fn names_router(collector: Option<Arc<Collector>>) -> Router {
    Router::new()
        .route("/v1/names", post(names))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(collector)
}

async fn names(
    State(collector): State<Option<Arc<Collector>>>,
    Json(asked): Json<Collect>,
) -> Result<Json<Collected>, (StatusCode, String)> {
    let collector = collector.ok_or_else(|| {
        let advice = "this prober has no port for dnstap; start it with `--names-address`";
        (StatusCode::NOT_IMPLEMENTED, advice.to_owned())
    })?;
    let told = collector.collect(asked);
    told.map(Json)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
