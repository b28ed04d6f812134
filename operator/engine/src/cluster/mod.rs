//! Everything that was read from the cluster, as it came from the caches.
//!
//! Objects are taken as they are: a missing field is an empty one, an address that is none is skipped. What can be
//! concluded from them is for the modules beside this one, whose results never depend on the order of these lists.
//! Of the kinds of which there are many only what facts are made from is read at all, and an [`Index`] keeps it so that
//! a look at what matters costs no more in a large cluster than in a small one.

mod bypass;
mod interest;
mod meta;
mod pod;
mod probes;
mod prune;
mod service;
mod slice;
#[cfg(test)]
mod tests;
mod whole;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::{ConfigMap, Node},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use tsutsumi_model::DomainName;

use crate::{exposure::DynamicRoute, managed::Offer, ranges::Pool};

pub use bypass::Bypasser;
pub(crate) use bypass::workload;
pub use interest::{Concern, Interest};
pub use meta::Key;
pub use pod::{Elsewhere, Pod, Pods};
pub use probes::{OutsideZone, Probes};
pub use prune::{
    prune_config_map, prune_daemon_set, prune_deployment, prune_network_policy, prune_node,
    prune_own_deployment,
};
pub use service::{Service, Services};
pub use slice::{Slice, Slices};
pub use whole::Whole;

/// What a watch keeps of the objects of one kind.
pub trait Index: Clone + Default + Send + Sync + 'static {
    /// An object as it is read.
    type Object;

    /// Puts an object in the place of the one of its name; says whether that may change a decision.
    fn put(&mut self, object: Self::Object, interest: &Interest) -> bool;

    /// Takes the object of that name out; says whether that may change a decision.
    fn remove(&mut self, object: &Self::Object, interest: &Interest) -> bool;

    /// How many objects are kept.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Services of every namespace.
    pub services: Arc<Services>,
    /// `EndpointSlices` of every namespace.
    pub slices: Arc<Slices>,
    /// Pods of the namespaces of cluster DNS and of our own.
    pub pods: Vec<Arc<Pod>>,
    /// The addresses of all other pods.
    pub elsewhere: Arc<Elsewhere>,
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
    /// Deployments of our own namespace, where managed resolvers may run.
    pub own: Vec<Arc<Deployment>>,
    /// `NetworkPolicies` of the namespaces that may be closed.
    pub network_policies: Vec<Arc<NetworkPolicy>>,
    /// What limits the traffic of pods beside `NetworkPolicies`; none where that cannot be seen.
    pub other_limits: Option<Vec<Arc<Limit>>>,
    /// Our own installation.
    pub installed: Installed,
}

/// An object of the network plugin's that limits the traffic of pods.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Limit {
    /// Its namespace; none where it holds for every namespace.
    pub namespace: Option<String>,
    /// Kind and name.
    pub object: String,
}

/// What the chart told us of our own installation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Installed {
    /// Our own namespace.
    pub namespace: String,
    /// The zone that our probe zone serves, where it runs.
    pub probe_zone: Option<DomainName>,
    /// The probe zone outside, where somebody runs one.
    pub outside_zone: Option<OutsideZone>,
    /// How managed resolvers run, where they may.
    pub managed: Option<Offer>,
    /// Namespaces in which a `NetworkPolicy` of ours may be written.
    pub closable: Vec<String>,
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

    /// The pod of that name, where pods are known in full.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.pods.iter().find(|pod| pod.is(namespace, name))
    }

    /// Lets go of what only a check looks at: while it is held, a watch has to copy what it changes.
    pub fn let_go(&mut self) {
        self.services = Arc::default();
        self.slices = Arc::default();
        self.elsewhere = Arc::default();
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
