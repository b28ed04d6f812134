//! Pods that get DNS past cluster DNS: what their specification says, and to which workload they belong.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use tsutsumi_model::Bypass;

use super::{Key, meta::or_empty};

/// A pod's `dnsConfig`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DnsConfig {
    #[serde(deserialize_with = "or_empty")]
    nameservers: Vec<String>,
}

/// How a pod gets DNS past cluster DNS. Kubernetes adds the servers of `dnsConfig` to those of any policy, and in a node's
/// network takes `ClusterFirst` for `Default`.
pub(super) fn of(dns_policy: &str, dns_config: &DnsConfig, host_network: bool) -> Option<Bypass> {
    match dns_policy {
        "ClusterFirst" | "Default" | "" if host_network => Some(Bypass::InNodeNetwork),
        "Default" => Some(Bypass::AsksAsNode),
        _ => {
            let servers = dns_config.nameservers.iter();
            let mut named: Vec<IpAddr> = servers.filter_map(|text| text.parse().ok()).collect();
            named.sort_unstable();
            named.dedup();
            (!named.is_empty()).then_some(Bypass::AsksNamed(named))
        }
    }
}

/// What a pod belongs to, such as `Deployment town/web`: a Deployment names each `ReplicaSet` after itself and a hash.
pub(crate) fn workload(meta: &ObjectMeta) -> String {
    let (namespace, name) = (super::namespace(meta), super::name(meta));
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner.filter(|owner| owner.kind != "Node") else {
        return format!("Pod {namespace}/{name}");
    };
    let hash = super::label(meta, "pod-template-hash").unwrap_or_default();
    let deployment = owner
        .name
        .strip_suffix(hash)
        .and_then(|name| name.strip_suffix('-'))
        .filter(|_| owner.kind == "ReplicaSet" && !hash.is_empty());
    match deployment {
        Some(deployment) => format!("Deployment {namespace}/{deployment}"),
        None => format!("{} {namespace}/{}", owner.kind, owner.name),
    }
}

/// A pod that is not near and gets DNS past cluster DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bypasser {
    /// Its workload, such as `Deployment town/web`.
    pub workload: Arc<str>,
    /// How.
    pub how: Bypass,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Such pods: few, beside all that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Bypassing(BTreeMap<Key, Bypasser>);

impl Bypassing {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Bypasser)> {
        self.0.iter()
    }

    /// Whether this is what is known of the pod.
    pub(super) fn is(&self, key: &Key, bypass: Option<&Bypasser>) -> bool {
        self.0.get(key) == bypass
    }

    pub(super) fn put(&mut self, key: &Key, bypass: Option<Bypasser>) {
        match bypass {
            Some(new) => self.0.insert(key.clone(), new),
            None => self.0.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn a_pod_belongs_to_what_a_person_wrote() {
        let of = |owner: Value, hash: &str| {
            let meta = json!({
                "namespace": "town",
                "name": "web-1",
                "labels": { "pod-template-hash": hash },
                "ownerReferences": [owner],
            });
            workload(&from_value(meta).unwrap())
        };
        let owner = |kind: &str, name: &str| json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true });
        assert_eq!(of(owner("ReplicaSet", "web-5dd5"), "5dd5"), "Deployment town/web");
        assert_eq!(
            of(owner("ReplicaSet", "web-5dd5"), ""),
            "ReplicaSet town/web-5dd5"
        );
        assert_eq!(of(owner("ReplicaSet", "web"), "5dd5"), "ReplicaSet town/web");
        assert_eq!(
            of(owner("StatefulSet", "db-5dd5"), "5dd5"),
            "StatefulSet town/db-5dd5"
        );
        assert_eq!(of(owner("Node", "node-a"), ""), "Pod town/web-1");
    }
}
