//! Pools against an API server that has Calico's kind alone.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::json;

use super::*;
use crate::runtime::testing::{self, Asked, Told, refusal};

const POOLS: &str = "/apis/crd.projectcalico.org/v1/ippools";

fn ok(value: Value) -> Told {
    Told::Answer(StatusCode::OK, value)
}

fn pool(name: &str, version: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPPool",
        "metadata": {"name": name, "resourceVersion": version},
        "spec": {"cidr": cidr},
    })
}

/// What discovery says of a cluster with Calico.
fn discovery(path: &str) -> Option<Told> {
    let version = json!({"groupVersion": "crd.projectcalico.org/v1", "version": "v1"});
    match path {
        "/apis" => Some(ok(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [{"name": "crd.projectcalico.org", "versions": [version], "preferredVersion": version}],
        }))),
        "/apis/crd.projectcalico.org/v1" => Some(ok(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "crd.projectcalico.org/v1",
            "resources": [{
                "name": "ippools", "singularName": "ippool", "namespaced": false, "kind": "IPPool",
                "verbs": ["get", "list", "watch"],
            }],
        }))),
        _ => None,
    }
}

/// An API server whose answers about pools are these, one after the other; then it is silent.
fn server(answers: Vec<Told>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let mut answers = answers.into_iter();
    let answers = Mutex::new(move || answers.next());
    let client = testing::client(move |request: Asked| {
        discovery(&request.path).unwrap_or_else(|| {
            let verb = if request.query.contains("watch=true") {
                "WATCH"
            } else {
                "LIST"
            };
            log.lock().unwrap().push(format!("{verb} {}", request.path));
            (answers.lock().unwrap())().unwrap_or(Told::Silence)
        })
    });
    (client, asked)
}

fn list(items: &[Value]) -> Told {
    ok(
        json!({"kind": "IPPoolList", "apiVersion": "crd.projectcalico.org/v1", "metadata": {"resourceVersion": "5"}, "items": items}),
    )
}

fn event(kind: &str, object: &Value) -> Told {
    ok(json!({"type": kind, "object": object}))
}

fn read(name: &str, cidr: &str) -> Arc<Pool> {
    PoolKind::CalicoIpPool.read(name, &json!({"cidr": cidr})).into()
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_comes_and_one_that_goes_are_seen_at_once() {
    let (client, asked) = server(vec![
        list(&[pool("first", "4", "10.48.0.0/16")]),
        event("ADDED", &pool("second", "6", "10.49.0.0/16")),
        // Nothing that is kept of it has changed.
        event("MODIFIED", &pool("second", "7", "10.49.0.0/16")),
        event("DELETED", &pool("first", "8", "10.48.0.0/16")),
    ]);
    let (trigger, mut triggered) = mpsc::channel(8);
    let pools = start(&client, &trigger).await;
    pools.synced().await;
    for _ in ["first came", "second came", "first went"] {
        triggered.recv().await.unwrap();
    }
    assert_eq!(pools.state(), [read("second", "10.49.0.0/16")]);
    assert!(triggered.is_empty(), "a change of nothing pulled the trigger");
    assert_eq!(
        asked.lock().unwrap()[..2],
        [format!("LIST {POOLS}"), format!("WATCH {POOLS}")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_read_stops_nothing_and_is_read_once_it_may() {
    let forbidden = || refusal(StatusCode::FORBIDDEN, "Forbidden", "ippools is forbidden");
    let (client, _) = server(vec![
        forbidden(),
        forbidden(),
        list(&[pool("late", "4", "10.48.0.0/16")]),
    ]);
    let (trigger, mut triggered) = mpsc::channel(8);
    let pools = start(&client, &trigger).await;
    pools.synced().await;
    assert_eq!(pools.state(), []);
    triggered.recv().await.unwrap();
    assert_eq!(pools.state(), [read("late", "10.48.0.0/16")]);
}

#[tokio::test]
async fn a_cluster_without_such_kinds_has_no_pools() {
    let client = testing::client(|_| ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})));
    let (trigger, _triggered) = mpsc::channel(1);
    let pools = start(&client, &trigger).await;
    pools.synced().await;
    assert_eq!(pools.state(), []);
}
