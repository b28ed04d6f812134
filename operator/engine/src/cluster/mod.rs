//! Everything that was read from the cluster, as it came from the caches.
//!
//! Objects are taken as they are: a missing field is an empty one, an address that is none is skipped. What can be
//! concluded from them is for the modules beside this one, whose results never depend on the order of these lists.

mod prune;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::{ConfigMap, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use crate::{exposure::DynamicRoute, ranges::Pool};

pub use prune::{
    prune_config_map, prune_daemon_set, prune_deployment, prune_node, prune_pod, prune_service, prune_slice,
};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Services of every namespace.
    pub services: Vec<Arc<Service>>,
    /// EndpointSlices of every namespace.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Pods of every namespace.
    pub pods: Vec<Arc<Pod>>,
    /// Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Daemon sets.
    pub daemon_sets: Vec<Arc<DaemonSet>>,
    /// ConfigMaps.
    pub config_maps: Vec<Arc<ConfigMap>>,
    /// Gateway API routes for UDP and TCP, where the cluster has such kinds.
    pub routes: Vec<DynamicRoute>,
    /// Pools of the network plugin, where it keeps them as objects.
    pub pools: Vec<Arc<Pool>>,
}

impl Cluster {
    /// The ConfigMap of that name.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<ConfigMap>> {
        self.config_maps
            .iter()
            .find(|map| is(&map.metadata, namespace, name))
    }

    /// The text under a key of a ConfigMap.
    #[must_use]
    pub fn text(&self, namespace: &str, name: &str, key: &str) -> Option<&str> {
        self.config_map(namespace, name)?
            .data
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// The Service of that name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services
            .iter()
            .find(|service| is(&service.metadata, namespace, name))
    }

    /// Whether a cache for DNS runs on the nodes (`NodeLocal DNSCache`).
    #[must_use]
    pub fn has_node_local_dns(&self) -> bool {
        self.daemon_sets.iter().any(|set| is_node_local(&set.metadata))
    }
}

/// Whether the object is part of `NodeLocal DNSCache`, which answers on the node and is no target of a policy.
pub(crate) fn is_node_local(meta: &ObjectMeta) -> bool {
    name(meta).contains("node-local-dns")
        || name(meta).contains("nodelocaldns")
        || ["k8s-app", "app.kubernetes.io/name"].iter().any(|key| {
            label(meta, key).is_some_and(|value| value.contains("node-local") || value == "nodelocaldns")
        })
}

/// The object's name.
pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The object's namespace.
pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// Whether the object has this name.
pub(crate) fn is(meta: &ObjectMeta, wanted_namespace: &str, wanted_name: &str) -> bool {
    name(meta) == wanted_name && namespace(meta) == wanted_namespace
}

/// The value of a label.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// The value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The keys of labels and annotations.
pub(crate) fn marks(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    meta.labels
        .iter()
        .chain(&meta.annotations)
        .flat_map(BTreeMap::keys)
        .map(String::as_str)
}

/// Whether a map selector, which must name something, picks these labels.
pub(crate) fn selects(
    selector: Option<&BTreeMap<String, String>>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    })
}

/// Whether a workload's selector picks these labels.
pub(crate) fn label_selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    let fits = expressions.iter().all(|wanted| {
        let listed = |value: &String| wanted.values.iter().flatten().any(|each| each == value);
        match wanted.operator.as_str() {
            "In" => value(&wanted.key).is_some_and(listed),
            "NotIn" => !value(&wanted.key).is_some_and(listed),
            "Exists" => value(&wanted.key).is_some(),
            "DoesNotExist" => value(&wanted.key).is_none(),
            _ => false,
        }
    });
    match &selector.match_labels {
        Some(map) if !map.is_empty() => fits && selects(Some(map), labels),
        _ => fits && !expressions.is_empty(),
    }
}

/// Addresses of a node by type, sorted.
pub(crate) fn node_addresses(node: &Node, types: &[&str]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten())
        .filter(|address| types.contains(&address.type_.as_str()))
        .filter_map(|address| address.address.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Addresses of a pod. `podIP` is the first of `podIPs` where there are any.
pub(crate) fn pod_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> + '_ {
    let status = pod.status.as_ref();
    let several = status
        .and_then(|status| status.pod_ips.as_deref())
        .unwrap_or_default();
    let one = status
        .and_then(|status| status.pod_ip.as_deref())
        .filter(|_| several.is_empty());
    several
        .iter()
        .map(|each| each.ip.as_str())
        .chain(one)
        .filter_map(|text| text.parse().ok())
}

/// Whether a pod holds its addresses: neither finished nor yet without a node.
pub(crate) fn holds_addresses(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}
