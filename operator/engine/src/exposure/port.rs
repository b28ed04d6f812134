//! Which ports of which Services lead to the DNS ports of the pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::{core::v1::ServicePort, discovery::v1::EndpointPort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tsutsumi_model::Transport;
use tsutsumi_providers::coredns::corefile::{Block, Corefile};

use super::number;
use crate::{
    cluster::{Cluster, Key, Service, Slice},
    target::Target,
};

/// A port of a Service that leads to DNS.
pub(super) struct Way<'a> {
    /// The Service.
    pub(super) service: &'a Service,
    /// Its port.
    pub(super) port: &'a ServicePort,
    /// Over what.
    pub(super) transport: Transport,
    /// Nodes whose DNS pods stand behind it.
    pub(super) nodes: BTreeSet<String>,
}

/// Finds them, by the addresses in EndpointSlices.
pub(super) fn into_pods<'a>(cluster: &'a Cluster, target: &Target) -> Vec<Way<'a>> {
    let ports = dns_ports(target);
    let pods: BTreeMap<IpAddr, &str> = target
        .pods
        .iter()
        .flat_map(|pod| pod.addresses.iter().map(|address| (*address, pod.node.as_str())))
        .collect();
    let addresses = pods.keys().copied().collect();
    let mut ways: BTreeMap<(Key, i32, Transport), Way<'a>> = BTreeMap::new();
    for slice in cluster.slices.holding(&addresses) {
        let nodes = nodes_behind(slice, &pods);
        let key = slice.service_key();
        let Some(service) = cluster.services.get(&key) else {
            continue;
        };
        for port in &service.ports {
            let Some(transport) = transport(port.protocol.as_deref()) else {
                continue;
            };
            let leads = slice
                .ports
                .iter()
                .any(|end| same_port(port, end) && reaches(port, end, &ports));
            if !leads {
                continue;
            }
            let key = (key.clone(), port.port, transport);
            let way = || Way {
                service,
                port,
                transport,
                nodes: BTreeSet::new(),
            };
            ways.entry(key)
                .or_insert_with(way)
                .nodes
                .extend(nodes.iter().cloned());
        }
    }
    ways.into_values().collect()
}

/// The ports on which the pods serve plain DNS: what their Service leads to, and what the Corefile says.
pub(super) fn dns_ports(target: &Target) -> BTreeSet<i32> {
    let mut ports: BTreeSet<i32> = target.pods.iter().map(|pod| number(pod.dns_port)).collect();
    let corefile = target
        .corefile
        .as_deref()
        .and_then(|text| Corefile::parse(text).ok());
    for key in corefile.iter().flat_map(Corefile::blocks).flat_map(Block::keys) {
        ports.extend(port_of_key(key));
    }
    ports
}

/// The transport that Kubernetes' protocol names; TCP where it names none.
pub(super) fn transport(protocol: Option<&str>) -> Option<Transport> {
    match protocol {
        None | Some("TCP") => Some(Transport::Tcp),
        Some("UDP") => Some(Transport::Udp),
        Some(_) => None,
    }
}

/// The port of a server block's key that serves plain DNS: `.:5300`, `dns://example.org`, `10.in-addr.arpa`.
fn port_of_key(key: &str) -> Option<i32> {
    let plain = match key.split_once("://") {
        Some(("dns", rest)) => rest,
        Some(_) => return None,
        None => key,
    };
    match plain.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(i32::from),
        None => Some(53),
    }
}

/// Nodes of the DNS pods among the endpoints.
fn nodes_behind(slice: &Slice, pods: &BTreeMap<IpAddr, &str>) -> BTreeSet<String> {
    let nodes = slice.addresses.iter().filter_map(|address| pods.get(address));
    nodes.map(|node| (*node).to_owned()).collect()
}

/// Whether the slice's port is the Service's: they share name and protocol.
fn same_port(port: &ServicePort, end: &EndpointPort) -> bool {
    port.name.as_deref().unwrap_or_default() == end.name.as_deref().unwrap_or_default()
        && transport(port.protocol.as_deref()) == transport(end.protocol.as_deref())
}

/// Whether it arrives at a DNS port. A slice without a number leaves the port as the Service says it.
fn reaches(port: &ServicePort, end: &EndpointPort, dns: &BTreeSet<i32>) -> bool {
    let number = end.port.or(match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    });
    number.is_some_and(|number| dns.contains(&number))
}
