//! The prober's two ports: batches over mutual TLS, and plain health for the kubelet.
//!
//! `POST /v1/probe` takes the probes of one batch as JSON and answers with as many observations; nothing is decided
//! here and nothing is kept. `GET /livez` and `GET /readyz` tell nothing but a status.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tsutsumi_model::{Observation, Probe, Vantage};

use crate::{
    egress::Egress,
    http::LARGEST_HEADER,
    run::{BATCH_DEADLINE, Batch, run},
    tls::Credentials,
};

/// The largest batch as JSON: 4096 probes with names of usual length.
const LARGEST_REQUEST: usize = 1024 * 1024;
/// Connections to one port, those that still shake hands included.
const MAX_CONNECTIONS: usize = 64;
/// Batches under way at one time; the next is told to come again.
const MAX_BATCHES: usize = 4;
/// For a handshake, and for the header of a request.
const GREETING: Duration = Duration::from_secs(5);
/// For all that a connection does: its request, the batch, its response.
const CONNECTION: Duration = Duration::from_secs(BATCH_DEADLINE.as_secs() + 20);
/// For what is under way when the end is asked for.
const GRACE: Duration = Duration::from_secs(10);
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
}

/// Serves until `shutdown` completes, then lets what is under way end for up to ten seconds.
pub async fn serve(prober: Prober, shutdown: impl Future<Output = ()>) {
    let credentials = Arc::new(prober.credentials);
    let batches = probe_router(prober.vantage, prober.egress);
    let health = health_router(Arc::clone(&credentials));
    let (stop, stopped) = watch::channel(());
    let probing = accept(prober.listener, stopped.clone(), move |stream| {
        over_tls(stream, Arc::clone(&credentials), batches.clone())
    });
    let telling = accept(prober.health, stopped, move |stream| {
        converse(stream, health.clone())
    });
    let stopping = async {
        shutdown.await;
        drop(stop);
    };
    tokio::join!(probing, telling, stopping);
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

fn health_router(credentials: Arc<Credentials<ServerConfig>>) -> Router {
    let ready = move || {
        let credentials = Arc::clone(&credentials);
        async move {
            match credentials.current() {
                Ok(_) => StatusCode::OK,
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(error, "not ready: no usable certificate files");
                    StatusCode::SERVICE_UNAVAILABLE
                }
            }
        }
    };
    Router::new()
        .route("/livez", get(|| async { StatusCode::OK }))
        .route("/readyz", get(ready))
}

/// Hands connections to `handle`, a bounded number at a time, until `stopped`.
async fn accept<F>(
    listener: TcpListener,
    mut stopped: watch::Receiver<()>,
    handle: impl Fn(TcpStream) -> F + Send,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // All three may be dropped half-way: an accepted connection is handed on in the same step.
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            (place, stream) = next(&listener, &places) => {
                let handled = handle(stream);
                connections.spawn(async move {
                    handled.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, rest).await.is_err() {
        tracing::warn!("connections still open at the end are dropped");
    }
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, TcpStream) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (place, stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn over_tls(stream: TcpStream, credentials: Arc<Credentials<ServerConfig>>, router: Router) {
    let config = match credentials.current() {
        Ok(config) => config,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "connection refused: no usable certificate files");
            return;
        }
    };
    match timeout(GREETING, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, router).await,
        Ok(Err(error)) => tracing::warn!(%error, "connection refused: no controller"),
        Err(_) => tracing::debug!("connection closed: handshake too slow"),
    }
}

/// One request on one connection.
async fn converse<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING)
        .max_buf_size(LARGEST_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection broke off"),
        Err(_) => tracing::warn!("connection closed: it took too long"),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
