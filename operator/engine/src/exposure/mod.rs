//! Every way by which the outside reaches the DNS pods.
//!
//! Services are found by the addresses in their EndpointSlices, in all namespaces and whether or not they have a
//! selector: what matters is where packets go, not what was meant. A Service that is reached inside the cluster only
//! is no exposure.

mod port;
mod routes;

use std::{collections::BTreeSet, net::IpAddr};

use tsutsumi_model::{ClientAddress, Endpoint, Exposure, Port, Reach, Transport};

use crate::{
    cluster::{self, Cluster, Service},
    target::Target,
};

pub use routes::{Backend, DynamicRoute};

/// Types of node addresses that a node port listens on.
const NODE_ADDRESSES: [&str; 2] = ["ExternalIP", "InternalIP"];

/// Finds them.
#[must_use]
pub fn find(cluster: &Cluster, target: &Target) -> Reach {
    let ways = port::into_pods(cluster, target);
    let mut exposures: Vec<Exposure> = ways.iter().flat_map(|way| service(cluster, way)).collect();
    exposures.extend(host(cluster, target));
    exposures.extend(routes::gateway(cluster, &ways));
    exposures.extend(routes::ingress_maps(cluster, &ways));
    let inside = ways.iter().flat_map(|way| {
        let addresses = way.service.cluster_ips.iter();
        addresses.filter_map(|address| Endpoint::of(*address, way.port.port))
    });
    Reach {
        exposures: merged(exposures),
        direct: sorted(
            target
                .pods
                .iter()
                .flat_map(|pod| pod.endpoints().collect::<Vec<_>>()),
        ),
        inside: sorted(inside),
    }
}

/// The ways through one port of a Service.
fn service(cluster: &Cluster, way: &port::Way<'_>) -> Vec<Exposure> {
    let meta = &way.service.metadata;
    let object = format!("Service {}/{}", cluster::namespace(meta), cluster::name(meta));
    let local = way.service.local;
    let exposure =
        |endpoints: Vec<Endpoint>, hostnames: Vec<String>, client_address: ClientAddress| Exposure {
            object: object.clone(),
            endpoints,
            transports: vec![way.transport],
            hostnames,
            client_address,
        };
    let by_policy = || {
        if local {
            ClientAddress::Kept
        } else {
            hidden_by_policy(way.service)
        }
    };

    let mut plain = Vec::new();
    if let Some(number) = node_port(way) {
        plain.extend(
            node_endpoints(cluster, |name| !local || way.nodes.contains(name))
                .filter(|address| family_fits(way.service, *address))
                .filter_map(|address| Endpoint::of(address, number)),
        );
    }
    let external = way.service.external_ips.iter();
    plain.extend(external.filter_map(|address| Endpoint::of(*address, way.port.port)));

    let mut proxied = Vec::new();
    let mut hostnames = Vec::new();
    if way.service.kind == "LoadBalancer" {
        for ingress in &way.service.ingress {
            let endpoint = ingress
                .ip
                .as_ref()
                .and_then(|ip| Endpoint::of(ip.parse().ok()?, way.port.port));
            match endpoint {
                Some(endpoint) if ingress.ip_mode.as_deref() == Some("Proxy") => proxied.push(endpoint),
                Some(endpoint) => plain.push(endpoint),
                None => hostnames.extend(ingress.hostname.clone()),
            }
        }
    }

    let mut found = Vec::new();
    if !plain.is_empty() {
        found.push(exposure(sorted(plain), Vec::new(), by_policy()));
    }
    if !hostnames.is_empty() {
        hostnames.sort_unstable();
        hostnames.dedup();
        found.push(exposure(Vec::new(), hostnames, by_policy()));
    }
    if !proxied.is_empty() {
        found.push(exposure(
            sorted(proxied),
            Vec::new(),
            hidden_by_proxy(way.service),
        ));
    }
    found
}

/// The ways through the nodes' own addresses: host network and host ports of the DNS pods.
fn host(cluster: &Cluster, target: &Target) -> Vec<Exposure> {
    let mut found = Vec::new();
    for pod in &target.pods {
        let whole = cluster.pods.iter().find(|each| {
            each.is(&target.workload.namespace, &pod.name)
                && each.metadata.uid.as_deref().unwrap_or_default() == pod.uid
        });
        let addresses: Vec<IpAddr> = node_endpoints(cluster, |name| name == pod.node).collect();
        let exposure = |what: &str, endpoints: Vec<Endpoint>, transports: Vec<Transport>| Exposure {
            object: format!("{} ({what})", target.workload),
            endpoints: sorted(endpoints),
            transports,
            hostnames: Vec::new(),
            client_address: ClientAddress::Kept,
        };
        if pod.host_network {
            let all = addresses.iter().chain(&pod.addresses);
            let endpoints = all
                .map(|address| Endpoint {
                    address: *address,
                    port: pod.dns_port,
                })
                .collect();
            found.push(exposure(
                "host network",
                endpoints,
                vec![Transport::Udp, Transport::Tcp],
            ));
            continue;
        }
        for port in whole.iter().flat_map(|pod| &pod.host_ports) {
            let Some(number) = port.host_port else {
                continue;
            };
            let Some(transport) = port::transport(port.protocol.as_deref()) else {
                continue;
            };
            if !port::dns_ports(target).contains(&port.container_port) {
                continue;
            }
            let at = match port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) {
                Some(ip) if ip.is_loopback() => continue,
                Some(ip) if !ip.is_unspecified() => vec![ip],
                _ => addresses.clone(),
            };
            let endpoints: Vec<_> = at
                .iter()
                .filter_map(|address| Endpoint::of(*address, number))
                .collect();
            found.push(exposure("host port", endpoints, vec![transport]));
        }
    }
    found.retain(|exposure| !exposure.endpoints.is_empty());
    found
}

/// The clients' addresses are replaced by a node's: `externalTrafficPolicy: Cluster` masquerades.
fn hidden_by_policy(service: &Service) -> ClientAddress {
    let (namespace, name) = (
        cluster::namespace(&service.metadata),
        cluster::name(&service.metadata),
    );
    ClientAddress::Hidden {
        why: "externalTrafficPolicy is Cluster, so the address of a node stands in for the client's"
            .to_owned(),
        cure: format!(
            r#"kubectl -n {namespace} patch service {name} -p '{{"spec":{{"externalTrafficPolicy":"Local"}}}}'"#
        ),
    }
}

/// The load balancer opens connections of its own (`ipMode: Proxy`); no setting of the Service changes that.
fn hidden_by_proxy(service: &Service) -> ClientAddress {
    let (namespace, name) = (
        cluster::namespace(&service.metadata),
        cluster::name(&service.metadata),
    );
    ClientAddress::Hidden {
        why: "the load balancer passes traffic on as a proxy (ipMode Proxy), so its address stands in for the client's"
            .to_owned(),
        cure: format!(r#"kubectl -n {namespace} patch service {name} -p '{{"spec":{{"type":"ClusterIP"}}}}'"#),
    }
}

/// The node port, where the type has one that counts.
fn node_port(way: &port::Way<'_>) -> Option<i32> {
    let kind = way.service.kind.as_str();
    way.port
        .node_port
        .filter(|port| *port != 0 && matches!(kind, "NodePort" | "LoadBalancer"))
}

/// Addresses of the nodes whose names fit.
fn node_endpoints(cluster: &Cluster, fits: impl Fn(&str) -> bool) -> impl Iterator<Item = IpAddr> {
    cluster
        .nodes
        .iter()
        .filter(move |node| fits(cluster::name(&node.metadata)))
        .flat_map(|node| cluster::node_addresses(node, &NODE_ADDRESSES))
}

/// Whether the Service serves addresses of this family; one that does not say serves every family.
fn family_fits(service: &Service, address: IpAddr) -> bool {
    let families = &service.families;
    let own = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    families.is_empty() || families.iter().any(|family| family == own)
}

fn sorted(endpoints: impl IntoIterator<Item = Endpoint>) -> Vec<Endpoint> {
    endpoints
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Puts together what one object opens: first the endpoints of one transport, then the transports of the same
/// endpoints.
fn merged(exposures: Vec<Exposure>) -> Vec<Exposure> {
    let by_endpoints = fold(exposures, |one, other| {
        // A name that nothing resolves stays apart from the addresses that are probed.
        let same =
            one.transports == other.transports && one.hostnames.is_empty() == other.hostnames.is_empty();
        if same {
            one.endpoints = sorted(one.endpoints.drain(..).chain(other.endpoints.iter().copied()));
            one.hostnames.extend(other.hostnames.iter().cloned());
            one.hostnames.sort_unstable();
            one.hostnames.dedup();
        }
        same
    });
    let mut all = fold(by_endpoints, |one, other| {
        let same = one.endpoints == other.endpoints && one.hostnames == other.hostnames;
        if same {
            one.transports.extend(&other.transports);
            one.transports.sort_unstable();
            one.transports.dedup();
        }
        same
    });
    all.sort();
    all
}

/// Merges values of one object and one answer about client addresses wherever `merge` does so.
fn fold(mut exposures: Vec<Exposure>, merge: impl Fn(&mut Exposure, &Exposure) -> bool) -> Vec<Exposure> {
    exposures.sort();
    let mut kept: Vec<Exposure> = Vec::new();
    for exposure in exposures {
        let alike = |one: &&mut Exposure| {
            one.object == exposure.object && one.client_address == exposure.client_address
        };
        if !kept
            .iter_mut()
            .filter(|one| alike(one))
            .any(|one| merge(one, &exposure))
        {
            kept.push(exposure);
        }
    }
    kept
}

/// A port number as Kubernetes writes it.
fn number(port: Port) -> i32 {
    i32::from(port.get())
}

#[cfg(test)]
mod tests;
