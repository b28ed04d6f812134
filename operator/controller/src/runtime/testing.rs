//! A stand-in for the API server: one closure that answers every request.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower_test::mock;

use super::{
    diagnostics::Diagnostics,
    lease::{Keeper, Leadership, Seat, Timing},
    metrics::Metrics,
    writer::FaultSwitch,
};

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// What goes out.
pub(crate) enum Told {
    /// An answer.
    Answer(StatusCode, Value),
    /// Nothing, ever.
    Silence,
}

/// A client whose requests the closure answers, one after the other.
pub(crate) fn client(answer: impl Fn(Asked) -> Told + Send + 'static) -> Client {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let asked = Asked {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            };
            match answer(asked) {
                Told::Answer(status, value) => {
                    let response = Response::builder().status(status);
                    send.send_response(response.body(Body::from(value.to_string().into_bytes())).unwrap());
                }
                Told::Silence => unanswered.push(send),
            }
        }
    });
    Client::new(service, "dyke")
}

/// A refusal, as the API server words it.
pub(crate) fn refusal(status: StatusCode, reason: &str, message: &str) -> Told {
    let code = status.as_u16();
    Told::Answer(
        status,
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// An API server that knows one object, and its resourceVersion.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneObject(Arc<Mutex<(u64, Option<Value>)>>);

impl OneObject {
    /// The object as it stands.
    pub(crate) fn get(&self) -> Option<Value> {
        self.0.lock().unwrap().1.clone()
    }

    /// Changes it as somebody else.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        let version = state.0.to_string();
        let object = state.1.get_or_insert_with(|| json!({"metadata": {}}));
        change(object);
        object["metadata"]["resourceVersion"] = json!(version);
    }

    /// Answers GET, POST and merge PATCH.
    pub(crate) fn answer(&self, asked: &Asked) -> Told {
        match (&asked.method, self.get()) {
            (&Method::GET, Some(object)) => Told::Answer(StatusCode::OK, object),
            (&Method::POST, None) => {
                self.change(|object| *object = asked.body.clone());
                Told::Answer(StatusCode::CREATED, self.get().unwrap())
            }
            (&Method::POST, Some(_)) => refusal(StatusCode::CONFLICT, "AlreadyExists", "there"),
            (&Method::PATCH, Some(object)) => {
                let wanted = &asked.body["metadata"]["resourceVersion"];
                if *wanted != object["metadata"]["resourceVersion"] {
                    return refusal(StatusCode::CONFLICT, "Conflict", "changed");
                }
                self.change(|object| json_patch::merge(object, &asked.body));
                Told::Answer(StatusCode::OK, self.get().unwrap())
            }
            _ => refusal(StatusCode::NOT_FOUND, "NotFound", "gone"),
        }
    }
}

/// A keeper of the lease `tsutsumi` under this identity.
pub(crate) fn keeper(
    client: Client,
    identity: &str,
    registry: &mut Registry,
    faults: FaultSwitch,
) -> (Keeper, Leadership) {
    let metrics = Metrics::register(registry);
    let seat = Seat {
        namespace: "dyke",
        lease: "tsutsumi",
        identity,
    };
    Keeper::new(
        client,
        &seat,
        Timing::default(),
        metrics,
        Diagnostics::default(),
        faults,
    )
}
