//! Watches against a stand-in that answers request by request, and is silent at the end.

use std::{collections::VecDeque, sync::Mutex};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tsutsumi_engine::cluster::{Concern, Pod, Pods};

use super::*;
use crate::runtime::testing::{Told, client};

/// What a watch was told, and what came of it.
struct Run {
    kept: Kept<Pods>,
    /// The query of each request.
    queries: Vec<String>,
    triggers: usize,
}

/// Watches pods until every answer was taken in, with `near` as the one near namespace and 10.0.0.0/8 served.
async fn run(answers: impl IntoIterator<Item = Told>) -> Run {
    let left = Mutex::new(VecDeque::from_iter(answers));
    let queries = Arc::new(Mutex::new(Vec::new()));
    let taken_in = Arc::new(Notify::new());
    let client = client({
        let (queries, taken_in) = (Arc::clone(&queries), Arc::clone(&taken_in));
        move |asked| {
            // The next request comes when the last answer is taken in.
            let Some(answer) = left.lock().unwrap().pop_front() else {
                taken_in.notify_one();
                return Told::Silence;
            };
            queries.lock().unwrap().push(asked.query);
            answer
        }
    });
    let mut interest = Interest::near(vec!["near".to_owned()]);
    interest.set(
        "town",
        Concern {
            served: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            ..Concern::default()
        },
    );
    let (trigger, mut triggered) = mpsc::channel(16);
    let watches = Watches {
        interest: Arc::new(RwLock::new(interest)),
        trigger,
    };
    let kept = watches.keep(Api::<Pod>::all(client), None, |_| {});
    taken_in.notified().await;
    let mut triggers = 0;
    while triggered.try_recv().is_ok() {
        triggers += 1;
    }
    let queries = queries.lock().unwrap().clone();
    Run {
        kept,
        queries,
        triggers,
    }
}

impl Run {
    fn near(&self) -> Vec<String> {
        let pods = self.kept.state().near();
        pods.iter()
            .map(|pod| pod.metadata.name.clone().unwrap())
            .collect()
    }
}

fn pod(namespace: &str, name: &str, address: &str, version: u32) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name, "resourceVersion": version.to_string() },
        "spec": { "containers": [{ "name": "it", "image": "it" }] },
        "status": { "podIP": address },
    })
}

fn near(name: &str) -> Value {
    pod("near", name, "10.0.0.1", 1)
}

fn list(items: &[Value], next: Option<&str>) -> Told {
    let metadata = json!({ "resourceVersion": "1", "continue": next });
    Told::Answer(
        StatusCode::OK,
        json!({ "kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items }),
    )
}

/// One event, after which the watch ends.
fn event(kind: &str, object: &Value) -> Told {
    Told::Answer(StatusCode::OK, json!({ "type": kind, "object": object }))
}

fn expired() -> Told {
    let status = json!({
        "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version",
    });
    event("ERROR", &status)
}

fn down() -> Told {
    Told::Answer(StatusCode::INTERNAL_SERVER_ERROR, json!({ "message": "down" }))
}

#[tokio::test(start_paused = true)]
async fn a_list_is_known_with_its_last_page() {
    let half = run([list(&[near("a")], Some("more"))]).await;
    assert_eq!((half.near(), half.triggers), (vec![], 0));
    assert!(!*half.kept.listed.borrow());

    let whole = run([list(&[near("a")], Some("more")), list(&[near("b")], None)]).await;
    assert_eq!((whole.near(), whole.triggers), (vec!["a".into(), "b".into()], 1));
    whole.kept.synced().await;
    let [first, second] = whole.queries.as_slice() else {
        panic!("{:?}", whole.queries)
    };
    assert!(
        first.contains("limit=100") && !first.contains("continue"),
        "{first}"
    );
    assert!(second.contains("continue=more"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_list_anew_takes_away_what_is_gone() {
    let run = run([
        list(&[near("a"), near("b")], None),
        expired(),
        list(&[near("a")], Some("more")),
        down(),
        list(&[near("b"), near("c")], None),
    ])
    .await;
    assert_eq!(
        run.near(),
        ["b", "c"],
        "neither of the first list nor of the half one"
    );
    assert_eq!(run.triggers, 2, "one for each list");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_late_or_cut_off_takes_nothing_away() {
    let run = run([
        list(&[near("a"), near("b")], None),
        down(),
        expired(),
        list(&[near("b")], Some("more")),
        down(),
    ])
    .await;
    assert_eq!(run.near(), ["a", "b"]);
    assert_eq!(run.triggers, 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_triggers_once_if_it_matters_and_else_never() {
    let served = |version| pod("far", "served", "10.0.0.7", version);
    let nothing = run([
        list(&[near("a")], None),
        event("ADDED", &served(2)),
        event("MODIFIED", &served(3)),
        event("DELETED", &served(4)),
        event("MODIFIED", &pod("near", "a", "10.0.0.1", 5)),
        event(
            "BOOKMARK",
            &json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "resourceVersion": "9" } }),
        ),
    ])
    .await;
    assert_eq!(nothing.triggers, 1, "the list alone");
    assert!(
        nothing.queries[6 - 1].contains("resourceVersion=5"),
        "{:?}",
        nothing.queries
    );

    for (kind, object) in [
        ("ADDED", pod("far", "outside", "192.0.2.7", 2)),
        ("ADDED", pod("near", "b", "10.0.0.2", 2)),
        ("MODIFIED", pod("near", "a", "10.0.0.2", 2)),
        ("DELETED", pod("near", "a", "10.0.0.1", 2)),
    ] {
        let one = run([list(&[near("a")], None), event(kind, &object)]).await;
        assert_eq!(one.triggers, 2, "{kind} {object}");
    }
}
