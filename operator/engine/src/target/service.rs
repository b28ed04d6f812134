//! The Service by which clients find cluster DNS.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{api::core::v1::ServicePort as KubePort, apimachinery::pkg::util::intstr::IntOrString};
use tsutsumi_model::{Endpoint, Transport};

use crate::cluster::{self, Cluster, Service};

/// Labels that cluster DNS carries, in the order of trust: Kubernetes' own, the Helm chart's, OpenShift's.
const LABELS: [(&str, Option<&str>); 3] = [
    ("k8s-app", Some("kube-dns")),
    ("app.kubernetes.io/name", Some("coredns")),
    ("dns.operator.openshift.io/owning-dns", None),
];

/// The Service in front of the DNS pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses inside the cluster, sorted; empty for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// The ports numbered 53.
    pub ports: Vec<ServicePort>,
    /// Which pods it leads to.
    pub selector: BTreeMap<String, String>,
}

/// A port of the Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// Over what.
    pub transport: Transport,
    /// The port of the pods, by number or by name.
    pub target: IntOrString,
}

impl DnsService {
    /// Where clients in the cluster ask.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.cluster_ips
            .iter()
            .filter_map(|address| Endpoint::of(*address, 53))
            .collect()
    }
}

/// The Service of cluster DNS, by label.
pub(super) fn of_cluster(cluster: &Cluster) -> Option<DnsService> {
    let candidates = cluster.services.serving_dns().filter_map(|service| {
        let rank = LABELS.iter().position(|(key, value)| {
            cluster::label(&service.metadata, key)
                .is_some_and(|present| value.is_none_or(|wanted| wanted == present))
        })?;
        Some((rank, dns_service(service)?))
    });
    candidates
        .min_by_key(|(rank, service)| (*rank, preference(service)))
        .map(|(_, service)| service)
}

/// The Service that leads to pods with these labels.
pub(super) fn of_pods(
    cluster: &Cluster,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Option<DnsService> {
    cluster
        .services
        .of_namespace(namespace)
        .filter_map(|service| dns_service(service))
        .filter(|service| cluster::selects(Some(&service.selector), labels))
        .min_by_key(preference)
}

/// Smaller is better: kube-system, the usual names, an address that pods are told; then by name, so that a choice
/// never depends on order.
fn preference(service: &DnsService) -> (bool, bool, bool, String, String) {
    (
        service.namespace != "kube-system",
        !matches!(service.name.as_str(), "kube-dns" | "coredns" | "dns-default"),
        service.cluster_ips.is_empty(),
        service.namespace.clone(),
        service.name.clone(),
    )
}

/// Reads a Service that serves on port 53 and has a selector.
fn dns_service(service: &Service) -> Option<DnsService> {
    let selector = &service.selector;
    if selector.is_empty()
        || cluster::is_node_local(&service.metadata)
        || selector.values().any(|value| value.contains("node-local"))
    {
        return None;
    }
    let mut ports: Vec<_> = service
        .ports
        .iter()
        .filter(|port| port.port == 53)
        .filter_map(dns_port)
        .collect();
    ports.sort_by_key(|port| port.transport);
    if ports.is_empty() || service.kind == "ExternalName" {
        return None;
    }
    Some(DnsService {
        namespace: cluster::namespace(&service.metadata).to_owned(),
        name: cluster::name(&service.metadata).to_owned(),
        cluster_ips: service.cluster_ips.clone(),
        ports,
        selector: selector.clone(),
    })
}

fn dns_port(port: &KubePort) -> Option<ServicePort> {
    let transport = match port.protocol.as_deref() {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        Some(_) => return None,
    };
    Some(ServicePort {
        transport,
        target: port.target_port.clone().unwrap_or(IntOrString::Int(port.port)),
    })
}
