//! Ranges of pods that kubeadm, kube-proxy and the network plugins keep in ConfigMaps.

use std::collections::BTreeSet;

use ipnet::IpNet;
use k8s_openapi::serde_json::{Value, from_str};
use serde::Deserialize;

use super::net;
use crate::cluster::{self, Cluster};

/// The part of kubeadm's `ClusterConfiguration` that is read.
#[derive(Deserialize)]
struct ClusterConfiguration {
    networking: Networking,
}

/// Its section about networks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Networking {
    #[serde(default)]
    pod_subnet: String,
}

/// The part of `KubeProxyConfiguration` that is read.
#[derive(Deserialize)]
struct KubeProxy {
    #[serde(default, rename = "clusterCIDR")]
    cluster_cidr: String,
}

/// The ranges, each with its source.
pub(super) fn pools(cluster: &Cluster) -> BTreeSet<(IpNet, String)> {
    let mut found = BTreeSet::new();
    let mut add = |texts: &str, source: &str| {
        let parts = texts.split([',', ' ', '\n']).filter_map(net);
        found.extend(parts.map(|net| (net, source.to_owned())));
    };
    if let Some(text) = cluster.text("kube-system", "kubeadm-config", "ClusterConfiguration")
        && let Ok(parsed) = serde_saphyr::from_str::<ClusterConfiguration>(text)
    {
        add(
            &parsed.networking.pod_subnet,
            "podSubnet of ConfigMap kube-system/kubeadm-config",
        );
    }
    if let Some(text) = cluster.text("kube-system", "kube-proxy", "config.conf")
        && let Ok(parsed) = serde_saphyr::from_str::<KubeProxy>(text)
    {
        add(
            &parsed.cluster_cidr,
            "clusterCIDR of ConfigMap kube-system/kube-proxy",
        );
    }
    for map in &cluster.config_maps {
        let (namespace, name) = (cluster::namespace(&map.metadata), cluster::name(&map.metadata));
        let text = |key: &str| {
            map.data
                .as_ref()
                .and_then(|data| data.get(key))
                .map(String::as_str)
        };
        match name {
            // Cilium keeps the pools there also while it hands out other addresses.
            "cilium-config"
                if matches!(
                    text("ipam"),
                    None | Some("cluster-pool" | "cluster-pool-v2beta" | "")
                ) =>
            {
                for key in ["cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr"] {
                    add(
                        text(key).unwrap_or_default(),
                        &format!("{key} of ConfigMap {namespace}/{name}"),
                    );
                }
            }
            "kube-flannel-cfg" => {
                let parsed: Value = text("net-conf.json")
                    .and_then(|text| from_str(text).ok())
                    .unwrap_or_default();
                for key in ["Network", "IPv6Network"] {
                    let text = parsed.get(key).and_then(Value::as_str).unwrap_or_default();
                    add(text, &format!("{key} of ConfigMap {namespace}/{name}"));
                }
            }
            _ => {}
        }
    }
    found
}
