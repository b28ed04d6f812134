//! From the recorded decision whom the resolver serves to the networks it answers.
//!
//! The list holds what the policy names and nothing else, in one canonical order. Whether it would lock out an
//! address of the cluster is checked against every node and pod that is present; Service addresses never ask, so
//! they are neither listed nor checked.

mod cni;
mod pools;

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use tsutsumi_api::resolver_policy::{ClientGroup, Clients};

use crate::cluster::{self, Cluster, Key};

pub use pools::{Pool, PoolKind};

/// RFC 1918, RFC 6598, RFC 4193, RFC 3927 and RFC 4291 (2.5.6).
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "169.254.0.0/16",
    "fe80::/10",
];

/// The `loop` plugin asks its own server once; refused, it could not see a loop (coredns `plugin/loop`).
const LOOPBACK: [&str; 2] = ["127.0.0.1/32", "::1/128"];

/// The address of `NodeLocal DNSCache` on every node, from its manifest (kubernetes/dns).
const NODE_LOCAL: &str = "169.254.20.10/32";

/// Addresses that a CNI gives to the node itself for traffic of its own processes to pods.
const TUNNELS: [&str; 9] = [
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv6WireguardInterfaceAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
];

/// Whether nobody outside has this address: [`PRIVATE`], or the host itself.
pub(crate) fn is_private(address: &IpAddr) -> bool {
    let mut nets = PRIVATE.iter().filter_map(|net| net.parse::<IpNet>().ok());
    address.is_loopback() || nets.any(|net| net.contains(address))
}

/// Whom the resolver answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowList {
    /// The networks, merged and sorted, IPv4 first.
    pub nets: Vec<IpNet>,
    /// Each network as it was found, with where it comes from; sorted.
    pub sources: Vec<(IpNet, String)>,
    /// Present addresses of the cluster that the list would refuse, sorted. While there is one, nothing is written.
    pub locked_out: Vec<LockedOut>,
}

impl AllowList {
    /// Whether the address is answered.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }

    /// Each network with where it comes from, as a person reads it.
    pub fn told(&self) -> impl Iterator<Item = String> {
        const SHOWN: usize = 3;
        self.nets.iter().map(|whole| {
            // Both lists are sorted, and of the merged networks no two overlap.
            let from = self
                .sources
                .partition_point(|(part, _)| part.network() < whole.network());
            let parts = self.sources[from..]
                .iter()
                .take_while(|(part, _)| whole.contains(part));
            let mut sources: Vec<&str> = parts.map(|(_, source)| source.as_str()).collect();
            sources.dedup();
            let more = match sources.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            sources.truncate(SHOWN);
            format!("{whole}: {}{more}", sources.join(", "))
        })
    }

    /// What to write so that nobody is locked out; `None` if nobody is.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        const SHOWN: usize = 3;
        let first = self
            .locked_out
            .iter()
            .take(SHOWN)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let more = match self.locked_out.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!self.locked_out.is_empty()).then(|| {
            format!(
                "the list would refuse {first}{more}; add `Cluster` to spec.clients.include, or where it stands there \
                 already, add the network of these addresses to spec.clients.cidrs"
            )
        })
    }
}

/// An address of the cluster that the list misses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LockedOut {
    /// The object, such as `Node worker-1` or `Pod town/web-0`.
    pub object: String,
    /// Its address.
    pub address: IpAddr,
}

impl std::fmt::Display for LockedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.object, self.address)
    }
}

/// The networks that the policy means, in this cluster.
#[must_use]
pub fn allow_list(cluster: &Cluster, clients: &Clients) -> AllowList {
    let mut sources = BTreeSet::new();
    let known = |texts: &[&str], source: &str| -> Vec<(IpNet, String)> {
        texts
            .iter()
            .filter_map(|text| net(text))
            .map(|net| (net, source.to_owned()))
            .collect()
    };
    sources.extend(known(&LOOPBACK, "the server itself"));
    if cluster.has_node_local_dns() {
        sources.extend(known(&[NODE_LOCAL], "NodeLocal DNSCache"));
    }
    for group in &clients.include {
        match group {
            ClientGroup::Private => sources.extend(known(&PRIVATE, "spec.clients.include Private")),
            ClientGroup::Cluster => sources.extend(cluster_ranges(cluster)),
        }
    }
    for cidr in &clients.cidrs {
        sources.insert((cidr.get().trunc(), "spec.clients.cidrs".to_owned()));
    }
    if clients.include.contains(&ClientGroup::Cluster) {
        let ranges: Vec<IpNet> = sources.iter().map(|(net, _)| *net).collect();
        for (address, node, what) in node_addresses(cluster) {
            if !ranges.iter().any(|net| net.contains(&address)) {
                sources.insert((IpNet::from(address), format!("{what} of Node {node}")));
            }
        }
    }
    let mut nets = IpNet::aggregate(&sources.iter().map(|(net, _)| *net).collect());
    nets.sort_unstable();
    let mut list = AllowList {
        nets,
        sources: sources.into_iter().collect(),
        locked_out: Vec::new(),
    };
    list.locked_out = locked_out(cluster, &list);
    list
}

/// Ranges of pods, from every place that tells them.
fn cluster_ranges(cluster: &Cluster) -> BTreeSet<(IpNet, String)> {
    let mut ranges = BTreeSet::new();
    for node in &cluster.nodes {
        let spec = node.spec.iter();
        let texts = spec.flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
        ranges.extend(
            texts
                .filter_map(|text| net(text))
                .map(|net| (net, format!("podCIDRs of Node {}", cluster::name(&node.metadata)))),
        );
    }
    ranges.extend(cni::pools(cluster));
    ranges.extend(cluster.pools.iter().flat_map(|pool| pool.0.iter().cloned()));
    ranges
}

/// Addresses from which a node's own processes ask.
fn node_addresses(cluster: &Cluster) -> BTreeSet<(IpAddr, &str, &'static str)> {
    let mut found = BTreeSet::new();
    for node in &cluster.nodes {
        let name = cluster::name(&node.metadata);
        for address in cluster::node_addresses(node, &["InternalIP"]) {
            found.insert((address, name, "InternalIP"));
        }
        for key in TUNNELS {
            // Calico writes the address with the length of its network.
            let text = cluster::annotation(&node.metadata, key).unwrap_or_default();
            if let Ok(address) = text.split('/').next().unwrap_or_default().parse() {
                found.insert((address, name, key));
            }
        }
    }
    found
}

/// Present addresses that the list misses.
fn locked_out(cluster: &Cluster, list: &AllowList) -> Vec<LockedOut> {
    let nodes = node_addresses(cluster)
        .into_iter()
        .map(|(address, node, _)| LockedOut {
            object: format!("Node {node}"),
            address,
        });
    let near = cluster.pods.iter().filter(|pod| !pod.finished).flat_map(|pod| {
        pod.addresses.iter().map(|address| LockedOut {
            object: format!("Pod {}", Key::of(&pod.metadata)),
            address: *address,
        })
    });
    let elsewhere = cluster
        .elsewhere
        .outside(&list.nets)
        .map(|(pod, address)| LockedOut {
            object: format!("Pod {pod}"),
            address,
        });
    let missed: BTreeSet<_> = nodes
        .chain(near)
        .chain(elsewhere)
        .filter(|each| !list.contains(each.address))
        .collect();
    missed.into_iter().collect()
}

/// A network as others write it, its host bits cleared; one that means everybody is none.
fn net(text: &str) -> Option<IpNet> {
    let net: IpNet = text.trim().parse().ok()?;
    (net.prefix_len() > 0).then(|| net.trunc())
}

#[cfg(test)]
mod tests;
