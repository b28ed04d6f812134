//! What limits the traffic of pods beside `NetworkPolicies`: policies of the network plugin's own. Their kinds are optional.
//!
//! Of each only that it is there is kept: whom it picks follows rules of its own. A kind whose policies always come before
//! `NetworkPolicies`, such as `AdminNetworkPolicy`, is not among them, since nothing can loosen it.

use std::sync::Arc;

use kube::{Client, ResourceExt, core::DynamicObject};
use tokio::sync::mpsc;
use tsutsumi_engine::cluster::Limit;

use super::optional::Optional;

const KINDS: [(&str, &str); 8] = [
    ("cilium.io", "CiliumClusterwideNetworkPolicy"),
    ("cilium.io", "CiliumNetworkPolicy"),
    ("crd.antrea.io", "ClusterNetworkPolicy"),
    ("crd.antrea.io", "NetworkPolicy"),
    ("crd.projectcalico.org", "GlobalNetworkPolicy"),
    ("crd.projectcalico.org", "NetworkPolicy"),
    ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy"),
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"),
];

/// Watches the kinds that the cluster has.
pub(super) async fn start(client: &Client, trigger: &mpsc::Sender<()>) -> Optional<Arc<Limit>> {
    let mut limits = Optional::default();
    for (group, kind) in KINDS {
        let read = move |object: &DynamicObject| Arc::new(read(group, kind, object));
        limits.watch(client, (group, kind), read, trigger).await;
    }
    limits
}

fn read(group: &str, kind: &str, object: &DynamicObject) -> Limit {
    let namespace = object.namespace();
    let place = namespace.as_ref().map_or_else(String::new, |of| format!("{of}/"));
    Limit {
        object: format!("{kind}.{group} {place}{}", object.name_any()),
        namespace,
    }
}
