//! Fake objects of the kinds that are watched: a cluster DNS as kubeadm leaves it, and many others that have nothing to
//! do with it, as full as those of a real cluster. Nothing runs; pods carry the status that a kubelet would write.

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Node, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::subject::NAMESPACE;

/// Where cluster DNS lies.
pub(crate) const DNS_NAMESPACE: &str = "kube-system";
/// Where the many lie.
const CROWD: &str = "crowd";
/// How many creations are under way at once.
const AT_ONCE: usize = 16;
/// What an object of the crowd carries without us using it.
const FILLER: &str = "what another controller keeps here";

/// Makes what there is once: the node, both namespaces, cluster DNS' pods and endpoints, the controller's Secrets.
pub(crate) async fn foundation(client: &Client) -> Result<()> {
    for name in [NAMESPACE, CROWD] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create::<Namespace>(&Api::all(client.clone()), &namespace).await?;
    }
    for name in [
        "tsutsumi-ca",
        "tsutsumi-controller-tls",
        "tsutsumi-probe-zone-keys",
        "tsutsumi-probe-zone-tls",
        "tsutsumi-prober-tls",
    ] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        create::<Secret>(&Api::namespaced(client.clone(), NAMESPACE), &secret).await?;
    }
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1"},
        "spec": {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"]},
    });
    let nodes = Api::<Node>::all(client.clone());
    create(&nodes, &node).await?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "node1"}],
    }});
    nodes
        .patch_status("node1", &PatchParams::default(), &Patch::Merge(status))
        .await?;

    let deployments = Api::<Deployment>::namespaced(client.clone(), DNS_NAMESPACE);
    let template = deployments.get("coredns").await?.spec.context("a spec")?.template;
    let mut spec = serde_json::to_value(template.spec)?;
    spec["nodeName"] = json!("node1");
    let pods = Api::<Pod>::namespaced(client.clone(), DNS_NAMESPACE);
    for number in [2, 3] {
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "coredns-6f6b679f8f", "controller": true,
            "uid": "00000000-0000-4000-8000-000000000000",
        });
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("coredns-6f6b679f8f-{number}"),
                "labels": {"k8s-app": "kube-dns", "pod-template-hash": "6f6b679f8f"},
                "ownerReferences": [owner],
            },
            "spec": spec,
        });
        running(&pods, &pod, &format!("10.244.0.{number}"), "coredns").await?;
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-1", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [endpoint("10.244.0.2"), endpoint("10.244.0.3")],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "metrics", "port": 9153, "protocol": "TCP"},
        ],
    });
    create::<EndpointSlice>(&Api::namespaced(client.clone(), DNS_NAMESPACE), &slice).await
}

/// Grows the crowd from `from` to `to` objects: of ten, eight pods, a Service and an `EndpointSlice`.
pub(crate) async fn crowd(client: &Client, from: usize, to: usize) -> Result<()> {
    let one = |number: usize| async move {
        match number % 10 {
            0 => create::<Service>(&Api::namespaced(client.clone(), CROWD), &service(number)).await,
            1 => create::<EndpointSlice>(&Api::namespaced(client.clone(), CROWD), &slice(number)).await,
            _ => {
                let pods = Api::<Pod>::namespaced(client.clone(), CROWD);
                running(&pods, &pod(number), &address(number), "app").await
            }
        }
    };
    stream::iter(from..to)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Gives an endpoint of the crowd's first `EndpointSlice` another address.
pub(crate) async fn move_endpoint(client: &Client, number: usize) -> Result<()> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), CROWD);
    let endpoints = [endpoint(&format!("10.244.250.{}", 1 + number % 250))];
    let patch = Patch::Merge(json!({"endpoints": endpoints}));
    api.patch("app-1", &PatchParams::default(), &patch)
        .await
        .context("moving an endpoint")
        .map(drop)
}

async fn create<K>(api: &Api<K>, object: &Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object.clone())?;
    let name = object.meta().name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating {} {name}", K::kind(&())))
        .map(drop)
}

/// A pod that a kubelet has started.
async fn running(pods: &Api<Pod>, pod: &Value, address: &str, container: &str) -> Result<()> {
    create(pods, pod).await?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let since = "2026-01-01T00:00:00Z";
    let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": since});
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .map(condition);
    let status = json!({"status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "192.0.2.1",
        "startTime": since,
        "conditions": conditions,
        "containerStatuses": [{
            "name": container,
            "ready": true,
            "started": true,
            "restartCount": 0,
            "image": "registry.example/app:1.2.3",
            "imageID": "registry.example/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID": format!("containerd://{name}"),
            "state": {"running": {"startedAt": since}},
        }],
    }});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .with_context(|| format!("starting pod {name}"))
        .map(drop)
}

fn pod(number: usize) -> Value {
    let environment: Vec<_> = (0..8)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value {n} of pod {number}")}))
        .collect();
    let container = json!({
        "name": "app",
        "image": "registry.example/app:1.2.3",
        "env": environment,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("app-{number}"),
            "labels": labels(number),
            "annotations": {"example.com/checksum": FILLER, "example.com/note": FILLER},
        },
        "spec": {
            "nodeName": "node1",
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("app-{number}"), "labels": labels(number)},
        "spec": {
            "selector": {"app": format!("app-{}", number / 10)},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    })
}

fn slice(number: usize) -> Value {
    let endpoints: Vec<_> = (0..8).map(|n| endpoint(&address(number + 1 + n))).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("app-{number}"),
            "labels": {"kubernetes.io/service-name": format!("app-{}", number - 1)},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

fn endpoint(address: &str) -> Value {
    json!({"addresses": [address], "nodeName": "node1", "conditions": {"ready": true, "serving": true}})
}

fn labels(number: usize) -> Value {
    json!({
        "app": format!("app-{}", number / 10),
        "app.kubernetes.io/name": "app",
        "app.kubernetes.io/part-of": "crowd",
        "pod-template-hash": "5d4f8c7b9",
    })
}

/// Within the node's range, apart from cluster DNS.
fn address(number: usize) -> String {
    format!("10.244.{}.{}", 1 + number / 250, 1 + number % 250)
}
