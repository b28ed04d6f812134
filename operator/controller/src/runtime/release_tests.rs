//! A small API server that knows policies by name, and the controller's pods.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::runtime::{
    testing::{self, Asked, Told},
    writer::PATCH_DID_NOT_APPLY,
};

const SCALE: &str = "/apis/apps/v1/namespaces/dyke/deployments/tsutsumi-controller/scale";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/dyke/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/dyke/replicasets";
const PODS: &str = "/api/v1/namespaces/dyke/pods";
const POLICIES: &str = "/apis/tsutsumi.dev/v1alpha1/resolverpolicies";

/// What the cluster holds and was asked.
#[derive(Default)]
struct Cluster {
    /// Name and phase.
    pods: Vec<(&'static str, &'static str)>,
    /// Whether a watch tells that the first pod went; else it stays silent.
    pods_end: bool,
    no_deployment: bool,
    /// What is still to be seen, one after the other: the generations that were seen of the Deployment and of its
    /// `ReplicaSet`, and the pods that the latter wants.
    unseen: Vec<(i64, i64, i32)>,
    policies: BTreeMap<&'static str, Value>,
    /// How often somebody else is quicker.
    races: usize,
    /// The policy whose change is refused.
    refused: &'static str,
    asked: Vec<String>,
    patches: Vec<Value>,
}

fn policy(name: &'static str, finalizers: &[&str]) -> (&'static str, Value) {
    let metadata = json!({"name": name, "resourceVersion": "7", "finalizers": finalizers});
    let head = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    (name, head)
}

fn pod((name, phase): &(&str, &str)) -> Value {
    json!({"metadata": {"name": name, "namespace": "dyke", "resourceVersion": "1"}, "status": {"phase": phase}})
}

impl Cluster {
    fn answer(&mut self, asked: &Asked) -> Told {
        let ok = |value| Told::Answer(StatusCode::OK, value);
        let watches = asked.query.contains("watch=true");
        let what = if watches { "WATCH" } else { asked.method.as_str() };
        self.asked.push(format!("{what} {}", asked.path));
        match (asked.path.as_str(), what) {
            (SCALE, "PATCH") if self.no_deployment => missing(),
            (SCALE, "PATCH") => {
                self.patches.push(asked.body.clone());
                ok(json!({"metadata": {"name": "tsutsumi-controller"}, "spec": {"replicas": 0}}))
            }
            (DEPLOYMENTS, "GET") if self.no_deployment => {
                ok(json!({"metadata": {"resourceVersion": "1"}, "items": []}))
            }
            (DEPLOYMENTS, "GET") => {
                assert!(
                    asked.query.contains("metadata.name%3Dtsutsumi-controller"),
                    "{}",
                    asked.query
                );
                ok(json!({"metadata": {"resourceVersion": "1"}, "items": [self.deployment()]}))
            }
            (SETS, "GET") => {
                assert!(asked.query.contains("component%3Dcontroller"), "{}", asked.query);
                ok(json!({"metadata": {"resourceVersion": "1"}, "items": [self.set()]}))
            }
            (DEPLOYMENTS | SETS, "WATCH") if self.unseen.is_empty() => Told::Silence,
            (DEPLOYMENTS, "WATCH") => {
                self.unseen.remove(0);
                ok(json!({"type": "MODIFIED", "object": self.deployment()}))
            }
            (SETS, "WATCH") => {
                self.unseen.remove(0);
                ok(json!({"type": "MODIFIED", "object": self.set()}))
            }
            (PODS, "GET") => {
                assert!(asked.query.contains("component%3Dcontroller"), "{}", asked.query);
                let items: Vec<_> = self.pods.iter().map(pod).collect();
                ok(json!({"metadata": {"resourceVersion": "1"}, "items": items}))
            }
            (PODS, "WATCH") if self.pods_end && !self.pods.is_empty() => {
                let gone = pod(&self.pods.remove(0));
                ok(json!({"type": "DELETED", "object": gone}))
            }
            (PODS, "WATCH") => Told::Silence,
            (POLICIES, "GET") => {
                let items: Vec<_> = self.policies.values().collect();
                ok(json!({"metadata": {"resourceVersion": "1"}, "items": items}))
            }
            (path, _) => match path
                .strip_prefix(POLICIES)
                .and_then(|rest| rest.strip_prefix('/'))
            {
                Some(name) => self.policy(name, asked),
                None => panic!("not ours to ask: {what} {path}"),
            },
        }
    }

    fn deployment(&self) -> Value {
        let (seen, ..) = self.unseen.first().copied().unwrap_or((2, 2, 0));
        let metadata = json!({"name": "tsutsumi-controller", "namespace": "dyke", "generation": 2, "resourceVersion": "1"});
        json!({"metadata": metadata, "status": {"observedGeneration": seen}})
    }

    fn set(&self) -> Value {
        let (_, seen, wanted) = self.unseen.first().copied().unwrap_or((2, 2, 0));
        let metadata =
            json!({"name": "controller-set", "namespace": "dyke", "generation": 2, "resourceVersion": "1"});
        let spec = json!({"replicas": wanted, "selector": {}});
        json!({"metadata": metadata, "spec": spec, "status": {"observedGeneration": seen, "replicas": 0}})
    }

    fn policy(&mut self, name: &str, asked: &Asked) -> Told {
        if name == self.refused {
            return testing::refusal(StatusCode::FORBIDDEN, "Forbidden", "no");
        }
        let Some(policy) = self.policies.get_mut(name) else {
            return missing();
        };
        if asked.method == Method::GET {
            return Told::Answer(StatusCode::OK, policy.clone());
        }
        if self.races > 0 {
            self.races -= 1;
            let version: u64 = policy["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            policy["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        }
        let patch: JsonPatch = serde_json::from_value(asked.body.clone()).unwrap();
        self.patches.push(asked.body.clone());
        if json_patch::patch(policy, &patch).is_ok() {
            return Told::Answer(StatusCode::OK, policy.clone());
        }
        testing::refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", PATCH_DID_NOT_APPLY)
    }
}

fn missing() -> Told {
    testing::refusal(StatusCode::NOT_FOUND, "NotFound", "gone")
}

async fn released(cluster: Cluster) -> (Result<(), ReleaseError>, Arc<Mutex<Cluster>>) {
    let cluster = Arc::new(Mutex::new(cluster));
    let api = Arc::clone(&cluster);
    let client = testing::client(move |asked| api.lock().unwrap().answer(&asked));
    let args = ReleaseArgs {
        namespace: "dyke".to_owned(),
        deployment: "tsutsumi-controller".to_owned(),
    };
    (release(&client, &args).await, cluster)
}

fn finalizers(cluster: &Mutex<Cluster>, name: &str) -> Value {
    cluster.lock().unwrap().policies[name]["metadata"]["finalizers"].clone()
}

#[tokio::test(start_paused = true)]
async fn policies_are_let_go_once_no_controller_runs() {
    let (outcome, cluster) = released(Cluster {
        pods: vec![("controller-0", "Running"), ("controller-evicted", "Failed")],
        pods_end: true,
        policies: [
            policy("ours", &[FINALIZER]),
            policy("shared", &["example.org/hold", FINALIZER]),
            policy("theirs", &["example.org/hold"]),
        ]
        .into(),
        ..Cluster::default()
    })
    .await;
    outcome.unwrap();
    assert_eq!(finalizers(&cluster, "ours"), json!([]));
    assert_eq!(finalizers(&cluster, "shared"), json!(["example.org/hold"]));
    assert_eq!(finalizers(&cluster, "theirs"), json!(["example.org/hold"]));
    let cluster = cluster.lock().unwrap();
    let order = [
        format!("PATCH {SCALE}"),
        format!("GET {DEPLOYMENTS}"),
        format!("GET {SETS}"),
        format!("GET {PODS}"),
        format!("WATCH {PODS}"),
        format!("GET {POLICIES}"),
        format!("PATCH {POLICIES}/ours"),
        format!("PATCH {POLICIES}/shared"),
    ];
    assert_eq!(cluster.asked, order);
    assert_eq!(cluster.patches[0], json!({"spec": {"replicas": 0}}));
    let tested = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"});
    assert_eq!(cluster.patches[1][0], tested);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_meanwhile_is_read_again() {
    let (outcome, cluster) = released(Cluster {
        policies: [policy("ours", &[FINALIZER])].into(),
        races: 2,
        ..Cluster::default()
    })
    .await;
    outcome.unwrap();
    assert_eq!(finalizers(&cluster, "ours"), json!([]));
    let tested: Vec<_> = cluster.lock().unwrap().patches[1..]
        .iter()
        .map(|patch| patch[0]["value"].clone())
        .collect();
    assert_eq!(tested, ["7", "8", "9"]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_never_stands_still_is_told() {
    let (outcome, _) = released(Cluster {
        policies: [policy("ours", &[FINALIZER])].into(),
        races: usize::MAX,
        ..Cluster::default()
    })
    .await;
    assert!(
        matches!(outcome, Err(ReleaseError::Contended { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_run_finds_nothing_to_do() {
    let (outcome, cluster) = released(Cluster {
        no_deployment: true,
        policies: [policy("ours", &[])].into(),
        ..Cluster::default()
    })
    .await;
    outcome.unwrap();
    assert!(cluster.lock().unwrap().patches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_policy_is_touched_while_a_controller_may_run() {
    let (outcome, cluster) = released(Cluster {
        pods: vec![("controller-0", "Running"), ("controller-1", "Running")],
        policies: [policy("ours", &[FINALIZER])].into(),
        ..Cluster::default()
    })
    .await;
    let problem = outcome.unwrap_err().to_string();
    assert!(problem.contains("controller-0, controller-1"), "{problem}");
    let cluster = cluster.lock().unwrap();
    assert!(
        cluster.asked.iter().all(|asked| !asked.contains(POLICIES)),
        "{:?}",
        cluster.asked
    );
}

/// No pod is there, and one may still come: first the Deployment is behind, then the `ReplicaSet` wants one, then it is
/// behind.
#[tokio::test(start_paused = true)]
async fn pods_are_looked_for_once_none_can_come_up_any_more() {
    let (outcome, cluster) = released(Cluster {
        unseen: vec![(1, 2, 0), (2, 2, 1), (2, 1, 0)],
        policies: [policy("ours", &[FINALIZER])].into(),
        ..Cluster::default()
    })
    .await;
    outcome.unwrap();
    assert_eq!(finalizers(&cluster, "ours"), json!([]));
    let order = [
        format!("PATCH {SCALE}"),
        format!("GET {DEPLOYMENTS}"),
        format!("WATCH {DEPLOYMENTS}"),
        format!("GET {SETS}"),
        format!("WATCH {SETS}"),
        format!("WATCH {SETS}"),
        format!("GET {PODS}"),
        format!("GET {POLICIES}"),
        format!("PATCH {POLICIES}/ours"),
    ];
    assert_eq!(cluster.lock().unwrap().asked, order);
}

#[tokio::test(start_paused = true)]
async fn one_policy_that_cannot_be_let_go_does_not_hold_the_others() {
    let (outcome, cluster) = released(Cluster {
        policies: [policy("a", &[FINALIZER]), policy("b", &[FINALIZER])].into(),
        refused: "a",
        ..Cluster::default()
    })
    .await;
    let problem = outcome.unwrap_err().to_string();
    assert!(problem.contains("`a`"), "{problem}");
    assert_eq!(finalizers(&cluster, "b"), json!([]));
}
