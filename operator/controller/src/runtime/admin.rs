//! The one port for machines and people: metrics, health, log level, diagnostics.
//!
//! `/livez` says that the process turns; it depends on nothing else, least of all on leadership or on a CRD.
//! `/readyz` waits for every gate. What changes or shows the inside (`/log-level`, `/debug/state`) is for callers on
//! the pod's own loopback: `kubectl port-forward` gets there, a neighbour in the cluster does not.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::{diagnostics::Diagnostics, logging::LevelHandle, metrics, shutdown::Shutdown};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The longest log filter that is read, in bytes.
const FILTER_LIMIT: usize = 1024;

/// What the port shows.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// What `/metrics` renders.
    pub(crate) registry: Arc<Registry>,
    /// What `/readyz` waits for.
    pub(crate) readiness: Readiness,
    /// What `/debug/state` shows.
    pub(crate) diagnostics: Diagnostics,
    /// What `/log-level` changes.
    pub(crate) level: LevelHandle,
}

/// The gates that must be open before the process counts as ready; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

/// One thing that must be so before the process counts as ready.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// A closed gate; the name is what `/readyz` says it waits for.
    pub(crate) fn gate(&self, name: &'static str) -> Gate {
        self.lock().insert(name, false);
        Gate {
            readiness: self.clone(),
            name,
        }
    }

    /// The gates that are still closed.
    fn waiting(&self) -> Vec<&'static str> {
        self.lock()
            .iter()
            .filter(|(_, open)| !**open)
            .map(|(name, _)| *name)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        // A panic while the lock was held leaves a whole map behind: every change is a single insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Opens the gate.
    pub(crate) fn open(&self) {
        self.set(true);
    }

    /// Opens or closes the gate.
    pub(crate) fn set(&self, open: bool) {
        self.readiness.lock().insert(self.name, open);
    }
}

/// Serves until shutdown.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, shutdown: Shutdown) -> io::Result<()> {
    let app = router(admin).into_make_service_with_connect_info::<SocketAddr>();
    let stop = async move { shutdown.requested().await };
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}

fn router(admin: Admin) -> Router {
    let local = Router::new()
        .route("/log-level", put(log_level))
        .route("/debug/state", get(state))
        .layer(DefaultBodyLimit::max(FILTER_LIMIT))
        .layer(middleware::from_fn(loopback_only));
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(local)
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    let waiting = admin.readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}\n", waiting.join(", ")),
        )
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match metrics::render(&admin.registry) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}

async fn state(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(admin.diagnostics.snapshot())
}

async fn log_level(State(admin): State<Admin>, filter: String) -> (StatusCode, String) {
    match admin.level.set(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "log level changed");
            (StatusCode::OK, "ok\n".to_owned())
        }
        Err(problem) => (StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

async fn loopback_only(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if is_loopback(peer.ip()) {
        return next.run(request).await;
    }
    let hint = "only from the pod's own loopback; use `kubectl port-forward`\n";
    (StatusCode::FORBIDDEN, hint).into_response()
}

fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
    };

    use super::*;
    use crate::runtime::shutdown::Trigger;

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        diagnostics: Diagnostics,
        level: LevelHandle,
        trigger: Trigger,
        task: JoinHandle<io::Result<()>>,
        _steered: Box<dyn std::any::Any>,
    }

    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (level, steered) = LevelHandle::detached();
        let mut registry = Registry::default();
        metrics::Metrics::register(&mut registry);
        let admin = Admin {
            registry: Arc::new(registry),
            readiness: Readiness::default(),
            diagnostics: Diagnostics::default(),
            level,
        };
        let (trigger, shutdown) = Shutdown::pair();
        Running {
            address,
            readiness: admin.readiness.clone(),
            diagnostics: admin.diagnostics.clone(),
            level: admin.level.clone(),
            trigger,
            task: tokio::spawn(serve(listener, admin, shutdown)),
            _steered: Box::new(steered),
        }
    }

    async fn ask(running: &Running, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn ready_only_when_every_gate_is_open_and_alive_before() {
        let running = start().await;
        let (caches, prober) = (running.readiness.gate("caches"), running.readiness.gate("prober"));
        caches.open();
        assert_eq!(
            ask(&running, "GET", "/readyz", "").await,
            (503, "waiting for prober\n".into())
        );
        assert_eq!(ask(&running, "GET", "/livez", "").await.0, 200);
        prober.open();
        assert_eq!(ask(&running, "GET", "/readyz", "").await.0, 200);
    }

    #[tokio::test]
    async fn the_log_level_changes_or_the_right_form_is_named() {
        let running = start().await;
        assert_eq!(ask(&running, "PUT", "/log-level", "debug").await.0, 200);
        assert_eq!(running.level.current(), "debug");
        let (status, message) = ask(&running, "PUT", "/log-level", "loud").await;
        assert_eq!(status, 400);
        assert!(
            message.contains("`loud`") && message.contains("info,kube=warn"),
            "{message}"
        );
        assert_eq!(
            ask(&running, "PUT", "/log-level", &"x".repeat(FILTER_LIMIT + 1))
                .await
                .0,
            413
        );
        assert_eq!(running.level.current(), "debug");
    }

    #[tokio::test]
    async fn metrics_and_state_are_shown() {
        let running = start().await;
        running.diagnostics.put("lease", "claim", &"nobody");
        assert_eq!(
            ask(&running, "GET", "/debug/state", "").await.1,
            r#"{"lease":{"claim":"nobody"}}"#
        );
        let (_, text) = ask(&running, "GET", "/metrics", "").await;
        assert!(
            text.contains("tsutsumi_build_info{version=") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn it_ends_when_asked_to() {
        let running = start().await;
        running.trigger.fire();
        running.task.await.unwrap().unwrap();
    }

    #[test]
    fn a_neighbour_is_no_loopback() {
        for (address, is) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.7", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), is, "{address}");
        }
    }
}
