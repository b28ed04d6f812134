//! `tsutsumi healthcheck`: asks an address over HTTP until it answers 200, for the chart's tests.
//!
//! The image has no shell and no curl. The peer is an address, never a name: cluster DNS may be what is broken. Each
//! attempt is bounded, so that a peer that swallows packets does not use up the time for all.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{self, Request, StatusCode, header::HOST, uri::PathAndQuery},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{args::HealthcheckArgs, logging::Chain};

/// How long one attempt may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait between two.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How much of a refusal's text is shown, in bytes.
const SHOWN: usize = 1024;

/// The peer did not become healthy in time.
#[derive(Debug, thiserror::Error)]
#[error("http://{peer}{path} did not answer 200 within {} s", .wait.as_secs())]
pub(crate) struct HealthcheckError {
    peer: SocketAddr,
    path: PathAndQuery,
    wait: Duration,
    source: AttemptError,
}

/// What came of the last attempt.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("cannot ask")]
    Http(#[source] hyper::Error),
    #[error("cannot write the request")]
    Request(#[source] http::Error),
    #[error("it answered {status}: {}", .text.escape_debug())]
    Status { status: StatusCode, text: String },
    #[error("no answer in time")]
    Deadline,
}

/// Asks until the answer is 200, or the time is up.
pub(crate) async fn run(args: HealthcheckArgs) -> Result<(), HealthcheckError> {
    let peer = SocketAddr::new(args.address, args.port.get());
    let until = Instant::now() + args.wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let attempt = timeout(left.min(ATTEMPT_LIMIT), ask(peer, &args.path)).await;
        let Err(source) = attempt.unwrap_or(Err(AttemptError::Deadline)) else {
            return Ok(());
        };
        if Instant::now() + RETRY_AFTER >= until {
            return Err(HealthcheckError {
                peer,
                path: args.path,
                wait: args.wait,
                source,
            });
        }
        tracing::info!(%peer, path = %args.path, error = %Chain(&source), "not healthy yet");
        sleep(RETRY_AFTER).await;
    }
}

async fn ask(peer: SocketAddr, path: &PathAndQuery) -> Result<(), AttemptError> {
    let stream = TcpStream::connect(peer).await.map_err(AttemptError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(AttemptError::Http)?;
    // Ends with the sender; what goes wrong is told there too.
    tokio::spawn(connection);
    let request = Request::get(path.as_str())
        .header(HOST, peer.to_string())
        .body(Body::empty())
        .map_err(AttemptError::Request)?;
    let answer = sender.send_request(request).await.map_err(AttemptError::Http)?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let text = to_bytes(Body::new(answer.into_body()), SHOWN)
        .await
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(AttemptError::Status { status, text })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, http::Uri};
    use tokio::net::TcpListener;
    use tsutsumi_model::Port;

    use super::*;

    fn args(peer: SocketAddr, wait: Duration) -> HealthcheckArgs {
        HealthcheckArgs {
            address: peer.ip(),
            port: Port::new(peer.port()).unwrap(),
            path: PathAndQuery::from_static("/readyz"),
            wait,
        }
    }

    /// Answers 503 this often, then 200; what was asked is kept.
    async fn server(refusals: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let app = Router::new().fallback(async move |uri: Uri| {
            let mut asked = asked.lock().unwrap();
            asked.push(uri.to_string());
            if asked.len() > refusals {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "waiting for caches\n")
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        (peer, seen)
    }

    #[tokio::test]
    async fn it_asks_again_until_the_answer_is_200() {
        let (peer, asked) = server(1).await;
        run(args(peer, Duration::from_secs(60))).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["/readyz", "/readyz"]);
    }

    #[tokio::test]
    async fn what_stays_unready_is_told_with_its_own_words() {
        let (peer, _) = server(usize::MAX).await;
        let problem = run(args(peer, Duration::from_secs(1))).await.unwrap_err();
        let told = Chain(&problem).to_string();
        for part in [
            &format!("http://{peer}/readyz did not answer 200 within 1 s"),
            "503",
            "waiting for caches",
        ] {
            assert!(told.contains(part), "{part:?} is missing in {told}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        let peer = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let problem = run(args(peer, Duration::from_secs(1))).await.unwrap_err();
        assert!(matches!(problem.source, AttemptError::Connect(_)), "{problem:?}");
    }
}
