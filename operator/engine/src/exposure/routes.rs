//! Ways through a proxy of the cluster: Gateway API routes, and the maps of ingress-nginx.
//!
//! A proxy opens connections of its own, so the DNS pods see its address instead of the client's.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ConfigMap;
use tsutsumi_model::{ClientAddress, Endpoint, Exposure, Transport};

use super::{NODE_ADDRESSES, port::Way, sorted};
use crate::cluster::{self, Cluster};

/// A route of the Gateway API for UDP or TCP, with its Gateways looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DynamicRoute {
    /// `UDPRoute` or `TCPRoute`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Over what it carries.
    pub transport: Transport,
    /// Where it leads.
    pub backends: Vec<Backend>,
    /// Where the Gateways' listeners are that it is attached to.
    pub listeners: Vec<Endpoint>,
}

/// A port of a Service behind a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// Its port.
    pub port: u16,
}

impl Backend {
    /// Whether it leads to DNS.
    fn is(&self, way: &Way<'_>) -> bool {
        cluster::is(&way.service.metadata, &self.namespace, &self.service)
            && way.port.port == i32::from(self.port)
    }
}

/// Routes that lead to DNS.
pub(super) fn gateway(cluster: &Cluster, ways: &[Way<'_>]) -> Vec<Exposure> {
    let leads = |route: &&DynamicRoute| {
        let to_dns = |backend: &Backend| {
            ways.iter()
                .any(|way| backend.is(way) && way.transport == route.transport)
        };
        route.backends.iter().any(to_dns)
    };
    cluster
        .routes
        .iter()
        .filter(leads)
        .map(|route| Exposure {
            object: format!("{} {}/{}", route.kind, route.namespace, route.name),
            endpoints: sorted(route.listeners.iter().copied()),
            transports: vec![route.transport],
            hostnames: Vec::new(),
            client_address: ClientAddress::Hidden {
                why: "the Gateway passes traffic on as a proxy, so its address stands in for the client's"
                    .to_owned(),
                cure: format!(
                    "kubectl -n {} delete {} {}",
                    route.namespace,
                    route.kind.to_ascii_lowercase(),
                    route.name
                ),
            },
        })
        .collect()
}

/// Entries of ingress-nginx's maps (`--tcp-services-configmap`, `--udp-services-configmap`) that lead to DNS.
pub(super) fn ingress_maps(cluster: &Cluster, ways: &[Way<'_>]) -> Vec<Exposure> {
    let mut found = Vec::new();
    for map in &cluster.config_maps {
        let (namespace, name) = (cluster::namespace(&map.metadata), cluster::name(&map.metadata));
        let Some(transport) = transport(name) else {
            continue;
        };
        for (key, value) in map.data.iter().flatten() {
            let (Ok(port), Some(backend)) = (key.parse::<u16>(), backend(value)) else {
                continue;
            };
            if !ways.iter().any(|way| leads(&backend, way, transport)) {
                continue;
            }
            found.push(Exposure {
                object: format!("ConfigMap {namespace}/{name} (port {port})"),
                endpoints: sorted(published(cluster, map, port, transport)),
                transports: vec![transport],
                hostnames: Vec::new(),
                client_address: ClientAddress::Hidden {
                    why: "the ingress controller passes traffic on as a proxy, so its address stands in for the \
                          client's"
                        .to_owned(),
                    cure: format!(
                        r#"kubectl -n {namespace} patch configmap {name} --type=json -p '[{{"op":"remove","path":"/data/{key}"}}]'"#
                    ),
                },
            });
        }
    }
    found
}

/// Whether the entry leads to this port, which the map names by number or by name.
fn leads(backend: &(String, String, String), way: &Way<'_>, transport: Transport) -> bool {
    let (namespace, service, port) = backend;
    cluster::is(&way.service.metadata, namespace, service)
        && way.transport == transport
        && (way.port.port.to_string() == *port || way.port.name.as_ref() == Some(port))
}

/// What a map of that name carries; the controller's manifests and chart call them so.
fn transport(name: &str) -> Option<Transport> {
    let is = |word: &str| name == format!("{word}-services") || name.ends_with(&format!("-{word}"));
    if is("udp") {
        Some(Transport::Udp)
    } else {
        is("tcp").then_some(Transport::Tcp)
    }
}

/// Reads `namespace/service:port[:PROXY[:PROXY]]`.
fn backend(value: &str) -> Option<(String, String, String)> {
    let (namespace, rest) = value.trim().split_once('/')?;
    let mut parts = rest.split(':');
    let (service, port) = (parts.next()?, parts.next()?);
    let any_empty = namespace.is_empty() || service.is_empty() || port.is_empty();
    (!any_empty).then(|| (namespace.to_owned(), service.to_owned(), port.to_owned()))
}

/// Where the controller's Services, which stand beside the map, publish the port.
fn published(cluster: &Cluster, map: &ConfigMap, port: u16, transport: Transport) -> Vec<Endpoint> {
    let nodes: Vec<IpAddr> = cluster
        .nodes
        .iter()
        .flat_map(|node| cluster::node_addresses(node, &NODE_ADDRESSES))
        .collect();
    let mut found = Vec::new();
    for service in cluster.services.of_namespace(cluster::namespace(&map.metadata)) {
        let ports = service.ports.iter().filter(|each| {
            each.port == i32::from(port)
                && super::port::transport(each.protocol.as_deref()) == Some(transport)
        });
        for each in ports {
            let balancers = service
                .ingress
                .iter()
                .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok());
            let ips = balancers.chain(service.external_ips.iter().copied());
            found.extend(ips.filter_map(|ip| Endpoint::of(ip, each.port)));
            let node_port = each.node_port.filter(|number| *number != 0);
            found.extend(
                nodes
                    .iter()
                    .filter_map(|address| node_port.and_then(|number| Endpoint::of(*address, number))),
            );
        }
    }
    found
}
