//! Between the controller and the API server: passes every call on, keeps a list of them, and lets rules spoil some.
//!
//! It listens without TLS on loopback in the controller's own network, and calls the API server as the administrator:
//! what the controller may do is tested elsewhere.

use std::{
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    call::{Call, Verb},
    fault::{Fault, Rule},
    stream::spoil,
};
use crate::place::Place;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, Broken>;

/// How long a call may hang before the connection ends: longer than the controller waits for a write, and what it
/// reads without a limit must not hang for ever either.
const HANGS_FOR: Duration = Duration::from_secs(7);

/// A connection that ends before its answer.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection ends here")
    }
}

impl std::error::Error for Broken {}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Made {
    /// Which.
    pub call: Call,
    /// Its number among those like it, from 1.
    pub nth: usize,
    /// What the API server answered, if it was asked and has.
    pub status: Option<StatusCode>,
    /// Whether a rule spoiled it.
    pub spoiled: bool,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    made: Vec<Made>,
}

struct Shared {
    upstream: Client,
    state: Mutex<State>,
    /// Changes with every call that is spoiled or answered.
    news: watch::Sender<u64>,
}

/// The proxy while it listens.
pub struct Proxy {
    /// Where.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    /// Listens on a free port of loopback in this place.
    ///
    /// # Errors
    /// If it cannot.
    pub fn start(place: &Place, upstream: Client) -> Result<Self> {
        let listener =
            place.run(|| TcpListener::bind("127.0.0.1:0").context("listening for the controller"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
            news: watch::Sender::new(0),
        });
        let serving = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(|request| handle(Arc::clone(&shared), request));
                    // A connection that a rule ends is no error of ours.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        Ok(Self {
            address,
            shared,
            listening,
        })
    }

    /// Forgets what was, and spoils from now on what these rules name.
    pub fn arm(&self, rules: Vec<Rule>) {
        *self.shared.state() = State {
            rules,
            made: Vec::new(),
        };
    }

    /// Spoils nothing any more.
    pub fn pardon(&self) {
        self.shared.state().rules.clear();
    }

    /// What has been called so far.
    #[must_use]
    pub fn made(&self) -> Vec<Made> {
        self.shared.state().made.clone()
    }

    /// Waits until what was called satisfies.
    pub async fn until(&self, mut enough: impl FnMut(&[Made]) -> bool) {
        let mut news = self.shared.news.subscribe();
        while !enough(&self.shared.state().made) {
            // The sender lives as long as this value.
            let _ = news.changed().await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call into the list; its place there, and what is to go wrong with it.
    fn enter(&self, call: Call) -> (usize, Option<Fault>) {
        let mut state = self.state();
        let nth = 1 + state.made.iter().filter(|made| made.call == call).count();
        let rule = state.rules.iter_mut().find(|rule| rule.concerns(&call, nth));
        let fault = rule.map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        });
        let spoiled = fault.is_some();
        state.made.push(Made {
            call,
            nth,
            status: None,
            spoiled,
        });
        let index = state.made.len() - 1;
        drop(state);
        self.news.send_modify(|count| *count += 1);
        (index, fault)
    }

    fn answered(&self, index: usize, status: StatusCode) {
        // A run that has ended meanwhile has another list.
        if let Some(made) = self.state().made.get_mut(index) {
            made.status = Some(status);
        }
        self.news.send_modify(|count| *count += 1);
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let call = Call::read(request.method(), request.uri());
    let watches = call.verb == Verb::Watch;
    let (index, fault) = shared.enter(call);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    match &fault {
        Some(Fault::Answer(code)) => return Ok(refusal(*code)),
        Some(Fault::Replay(body)) => return Ok(json_answer(StatusCode::OK, body.clone())),
        Some(Fault::Hang) => {
            sleep(HANGS_FOR).await;
            return Err(Broken);
        }
        Some(Fault::Hold(gate)) => gate.passed().await,
        _ => {}
    }
    let mut onward = Request::builder().method(parts.method);
    if let Some(target) = parts.uri.path_and_query() {
        onward = onward.uri(target.as_str());
    }
    if let Some(headers) = onward.headers_mut() {
        *headers = passed_on(parts.headers);
    }
    let onward = onward.body(body.to_vec().into()).map_err(|_| Broken)?;
    let answer = shared.upstream.send(onward).await.map_err(|_| Broken)?;
    shared.answered(index, answer.status());
    let (mut parts, body) = answer.into_parts();
    parts.headers = passed_on(parts.headers);
    if watches {
        let body = match fault {
            Some(Fault::Spoil(how)) if parts.status.is_success() => {
                StreamBody::new(futures::StreamExt::map(spoil(body, how), |line| {
                    line.map(Frame::data)
                }))
                .boxed_unsync()
            }
            // Lost with its first event, or even before.
            Some(Fault::LoseReply | Fault::Reset | Fault::Truncate) => return Err(Broken),
            _ => body.map_err(io::Error::other).boxed_unsync(),
        };
        return Ok(Response::from_parts(parts, body));
    }
    let whole = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    let body = match fault {
        Some(Fault::LoseReply) => return Err(Broken),
        Some(Fault::Silence) => {
            sleep(HANGS_FOR).await;
            return Err(Broken);
        }
        Some(Fault::Reset) => {
            let cut = stream::iter([Ok(Frame::data(half)), Err(io::ErrorKind::ConnectionReset.into())]);
            StreamBody::new(cut).boxed_unsync()
        }
        Some(Fault::Truncate) => full(half),
        _ => full(whole),
    };
    Ok(Response::from_parts(parts, body))
}

/// Without what belongs to one connection, or tells a length that may change.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::HOST,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    headers
}

/// What an API server says when it refuses.
fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": "refused for a test",
        "reason": reason,
        "code": code,
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_answer(code, status.to_string().into());
    if code == StatusCode::TOO_MANY_REQUESTS {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn json_answer(code: StatusCode, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
