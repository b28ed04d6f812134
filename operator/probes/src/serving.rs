//! A server's two ports: one over mutual TLS, and plain health for the kubelet; or a plain one alone.
//!
//! Connections are bounded in number, in the time that they take and in the size of a header, and carry one request
//! each; what they are answered is the [`Router`]'s matter. `GET /livez` and `GET /readyz` tell nothing but a status.

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
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

use crate::{http::LARGEST_HEADER, run::BATCH_DEADLINE, tls::Credentials};

/// Connections to one port, those that still shake hands included.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// For a handshake, and for the header of a request.
pub(crate) const GREETING: Duration = Duration::from_secs(5);
/// For all that a connection does: its request, the work, its response.
pub(crate) const CONNECTION: Duration = Duration::from_secs(BATCH_DEADLINE.as_secs() + 20);
/// For what is under way when the end is asked for.
const GRACE: Duration = Duration::from_secs(10);
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a server listens, and how it proves itself.
#[derive(Debug)]
pub struct Ports {
    /// Where the controller connects.
    pub listener: TcpListener,
    /// Where the kubelet asks for health, without TLS.
    pub health: TcpListener,
    /// The own certificate, and the issuers of the controller's.
    pub credentials: Credentials<ServerConfig>,
}

/// What a server still lacks.
pub type Lack = Box<dyn Error + Send + Sync>;

/// Serves `router` until `shutdown` completes, then lets what is under way end for up to ten seconds.
///
/// Ready is who has usable certificate files and for whom `ready` names no lack.
pub async fn serve_router(
    ports: Ports,
    router: Router,
    ready: impl Fn() -> Result<(), Lack> + Clone + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let credentials = Arc::new(ports.credentials);
    let health = health_router(Arc::clone(&credentials), ready);
    let (stop, stopped) = watch::channel(());
    let answering = accept(ports.listener, stopped.clone(), move |stream| {
        over_tls(stream, Arc::clone(&credentials), router.clone())
    });
    let telling = accept(ports.health, stopped, move |stream| {
        converse(stream, health.clone())
    });
    let stopping = async {
        shutdown.await;
        drop(stop);
    };
    tokio::join!(answering, telling, stopping);
}

/// Serves `router` without TLS until `shutdown` completes, then lets what is under way end for up to ten seconds.
pub async fn serve_plain(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(());
    let answering = accept(listener, stopped, move |stream| converse(stream, router.clone()));
    let stopping = async {
        shutdown.await;
        drop(stop);
    };
    tokio::join!(answering, stopping);
}

fn health_router(
    credentials: Arc<Credentials<ServerConfig>>,
    ready: impl Fn() -> Result<(), Lack> + Clone + Send + Sync + 'static,
) -> Router {
    let ready = move || {
        let lack = credentials.current().map_err(Lack::from).and_then(|_| ready());
        async move {
            match lack {
                Ok(()) => StatusCode::OK,
                Err(error) => {
                    let error: &(dyn Error + 'static) = &*error;
                    tracing::warn!(error, "not ready");
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
pub async fn accept<F>(
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
            let error: &(dyn Error + 'static) = &error;
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
pub(crate) async fn converse<S>(stream: S, router: Router)
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
