//! The objects of the world, as kubelet, the workload controllers and the chart make them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Node, Pod, Secret},
        discovery::v1::EndpointSlice,
    },
    serde::{Serialize, de::DeserializeOwned},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    network::{NODE, Network, PODS},
    node,
    world::SETTLES,
};
use crate::{
    cluster::{Cluster, DNS, DNS_NAMESPACE},
    dns::{API, Question, ask},
    install::NAMESPACE,
    wait,
};

/// The pod of the prober.
pub const PROBER: &str = "tsutsumi-prober";
/// The pods of cluster DNS, as a `ReplicaSet` would have named them.
const PODS_OF_DNS: [&str; 2] = ["coredns-faults-1", "coredns-faults-2"];
const HASH: &str = "faults";

/// An open resolver that needs no API server and no upstream. Without `reload`, whose clock would come between: the
/// node makes pods read a new text by a signal.
pub const COREFILE: &str = r".:53 {
    errors
    ready
    hosts {
       10.96.0.1 kubernetes.default.svc.cluster.local
    }
    template ANY ANY test no-such-service.default.svc.cluster.local {
       rcode NXDOMAIN
    }
    prometheus :9153
    cache 30
    loadbalance
}
";

/// Makes everything that does not run, and removes pods that an earlier world left.
///
/// # Errors
/// If the API server refuses something.
pub async fn set(cluster: &Cluster) -> Result<()> {
    let client = || cluster.client.clone();
    apply(
        &Api::<Namespace>::all(client()),
        json!({"metadata": {"name": NAMESPACE}}),
    )
    .await?;
    for secret in [
        "tsutsumi-ca",
        "tsutsumi-controller-tls",
        "tsutsumi-probe-zone-keys",
        "tsutsumi-probe-zone-tls",
        "tsutsumi-prober-tls",
    ] {
        apply(
            &cluster.within::<Secret>(NAMESPACE),
            json!({"metadata": {"name": secret}}),
        )
        .await?;
    }
    let now = DeleteParams::default().grace_period(0);
    for namespace in [NAMESPACE, DNS_NAMESPACE] {
        let pods = cluster.within::<Pod>(namespace);
        pods.delete_collection(&now, &ListParams::default()).await?;
    }
    let nodes = Api::<Node>::all(client());
    apply(&nodes, node(node::NAME, PODS)).await?;
    let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": NODE}]}});
    nodes
        .patch_status(node::NAME, &PatchParams::default(), &Patch::Merge(addresses))
        .await?;
    cluster.write_corefile(COREFILE, "e2e").await?;
    let prober = json!({
        "metadata": {"name": PROBER, "labels": {
            "app.kubernetes.io/name": "tsutsumi",
            "app.kubernetes.io/component": "prober",
        }},
        "spec": {"nodeName": node::NAME, "containers": [{"name": "prober", "image": "tsutsumi"}]},
    });
    apply(&cluster.within::<Pod>(NAMESPACE), prober).await
}

/// Makes the pods of cluster DNS and waits until they answer.
///
/// # Errors
/// If they do not.
pub async fn dns(cluster: &Cluster) -> Result<()> {
    let deployment = cluster.within::<Deployment>(DNS_NAMESPACE).get(DNS).await?;
    let template = deployment.spec.context("a Deployment has a spec")?.template;
    let mut spec = serde_json::to_value(template.spec)?;
    spec["nodeName"] = node::NAME.into();
    // Nobody makes classes and accounts here.
    for absent in ["priorityClassName", "serviceAccountName", "serviceAccount"] {
        spec[absent] = Value::Null;
    }
    for name in PODS_OF_DNS {
        let mut labels = serde_json::to_value(template.metadata.as_ref().map(|meta| &meta.labels))?;
        labels["pod-template-hash"] = HASH.into();
        let owner = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": format!("{DNS}-{HASH}"),
            "uid": "00000000-0000-0000-0000-000000000001",
            "controller": true,
        });
        let pod = json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
            "spec": spec,
        });
        apply(&cluster.within::<Pod>(DNS_NAMESPACE), pod).await?;
    }
    wait::until("cluster DNS answers", SETTLES, async || {
        let pods = cluster.dns_pods().await?;
        ensure!(pods.len() == PODS_OF_DNS.len(), "there are {} pods", pods.len());
        for pod in pods {
            let seen = ask(&Network::world(), (pod.address, 53).into(), &Question::a(API))?;
            ensure!(seen.is_some(), "{} does not answer", pod.name);
        }
        Ok(())
    })
    .await?;
    let pods = cluster.dns_pods().await?;
    let endpoints = pods.iter().map(|pod| {
        json!({
            "addresses": [pod.address],
            "conditions": {"ready": true},
            "nodeName": node::NAME,
            "targetRef": {"kind": "Pod", "namespace": DNS_NAMESPACE, "name": pod.name},
        })
    });
    let slice = json!({
        "metadata": {"name": "kube-dns-faults", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    });
    apply(&cluster.within::<EndpointSlice>(DNS_NAMESPACE), slice).await
}

/// A node with this range of pods.
#[must_use]
pub fn node(name: &str, pods: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"podCIDR": pods, "podCIDRs": [pods]}})
}

/// Makes an object, or makes it so.
///
/// # Errors
/// If the API server refuses it.
pub async fn apply<K>(api: &Api<K>, mut object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    object["apiVersion"] = K::api_version(&()).into();
    object["kind"] = K::kind(&()).into();
    let name = object["metadata"]["name"]
        .as_str()
        .context("an object has a name")?;
    let params = PatchParams::apply("e2e").force();
    api.patch(name, &params, &Patch::Apply(&object))
        .await
        .with_context(|| format!("making {} {name}", K::kind(&())))?;
    Ok(())
}
