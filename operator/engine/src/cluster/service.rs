//! Services: where they listen and to whom they lead.
//!
//! Labels and selector are read only where a Service may be that of cluster DNS.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{self, LoadBalancerIngress, ServicePort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;
use tsutsumi_model::DomainName;

use super::{
    Index, Interest, Key,
    meta::{in_namespace, lean, or_empty, watched_as},
};

/// A Service, as far as facts are made from it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(from = "Raw")]
pub struct Service {
    /// Its name, and its labels where it serves on port 53.
    pub metadata: ObjectMeta,
    /// Its type, empty where it says none.
    pub kind: String,
    /// Its addresses inside the cluster, sorted.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses of others that lead here.
    pub external_ips: Vec<IpAddr>,
    /// Whether only nodes with an endpoint of their own answer, and keep the client's address.
    pub local: bool,
    /// The families that it serves; empty where it does not say.
    pub families: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Which pods it leads to, where it serves on port 53.
    pub selector: BTreeMap<String, String>,
    /// Where its load balancer answers.
    pub ingress: Vec<LoadBalancerIngress>,
    /// The name outside that it stands for, where it is of type `ExternalName`.
    pub external_name: Option<DomainName>,
}

impl Service {
    /// Whether it may be reached from outside.
    fn leads_in(&self) -> bool {
        !self.external_ips.is_empty() || !matches!(self.kind.as_str(), "" | "ClusterIP" | "ExternalName")
    }

    fn serves_dns(&self) -> bool {
        self.ports.iter().any(|port| port.port == 53)
    }

    fn concerns(&self, key: &Key, interest: &Interest) -> bool {
        self.serves_dns()
            || self.leads_in()
            || interest.is_near(super::namespace(&self.metadata))
            || interest.is_in_front(key)
    }
}

/// All Services.
#[derive(Clone, Debug, Default)]
pub struct Services {
    all: BTreeMap<Key, Arc<Service>>,
    dns: BTreeSet<Key>,
    external: BTreeMap<Key, DomainName>,
}

impl Services {
    /// The Service of that name.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Service>> {
        self.all.get(key)
    }

    /// Those in a namespace.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        in_namespace(&self.all, namespace)
    }

    /// Those that serve on port 53.
    pub fn serving_dns(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.dns.iter().filter_map(|key| self.all.get(key))
    }

    /// The names outside for which some stand.
    #[must_use]
    pub fn external_names(&self) -> BTreeSet<DomainName> {
        self.external.values().cloned().collect()
    }
}

impl Index for Services {
    type Object = Service;

    fn put(&mut self, mut service: Service, interest: &Interest) -> bool {
        service.metadata.resource_version = None;
        let key = Key::of(&service.metadata);
        let before = self.all.get(&key);
        if before.is_some_and(|before| **before == service) {
            return false;
        }
        let concerns =
            service.concerns(&key, interest) || before.is_some_and(|before| before.concerns(&key, interest));
        if service.serves_dns() {
            self.dns.insert(key.clone());
        } else {
            self.dns.remove(&key);
        }
        match &service.external_name {
            Some(name) => self.external.insert(key.clone(), name.clone()),
            None => self.external.remove(&key),
        };
        self.all.insert(key, Arc::new(service));
        concerns
    }

    fn remove(&mut self, service: &Service, interest: &Interest) -> bool {
        let key = Key::of(&service.metadata);
        self.dns.remove(&key);
        self.external.remove(&key);
        let before = self.all.remove(&key);
        before.is_some_and(|before| before.concerns(&key, interest))
    }

    fn len(&self) -> usize {
        self.all.len()
    }
}

watched_as!(Service, v1::Service);

/// A Service as the API server sends it.
#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "lean")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_empty")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_empty")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "clusterIP", deserialize_with = "or_empty")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "or_empty")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", deserialize_with = "or_empty")]
    external_ips: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    external_name: String,
    #[serde(deserialize_with = "or_empty")]
    external_traffic_policy: String,
    #[serde(deserialize_with = "or_empty")]
    ip_families: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    ports: Vec<ServicePort>,
    #[serde(deserialize_with = "or_empty")]
    selector: BTreeMap<String, String>,
    #[serde(rename = "type", deserialize_with = "or_empty")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(deserialize_with = "or_empty")]
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
struct LoadBalancer {
    #[serde(default, deserialize_with = "or_empty")]
    ingress: Vec<LoadBalancerIngress>,
}

impl From<Raw> for Service {
    fn from(
        Raw {
            metadata,
            spec,
            status,
        }: Raw,
    ) -> Self {
        let cluster_ips: BTreeSet<IpAddr> = parsed(spec.cluster_ips.iter().chain([&spec.cluster_ip]));
        let external_ips: BTreeSet<IpAddr> = parsed(&spec.external_ips);
        let external_name = (spec.kind == "ExternalName").then(|| name_outside(&spec.external_name));
        let mut service = Self {
            metadata: ObjectMeta {
                owner_references: None,
                ..metadata
            },
            kind: spec.kind,
            cluster_ips: cluster_ips.into_iter().collect(),
            external_ips: external_ips.into_iter().collect(),
            local: spec.external_traffic_policy == "Local",
            families: spec.ip_families,
            ports: spec.ports,
            selector: spec.selector,
            ingress: status.load_balancer.ingress,
            external_name: external_name.flatten(),
        };
        if !service.serves_dns() {
            service.metadata.labels = None;
            service.selector = BTreeMap::new();
        }
        service
    }
}

/// An address is no name, although the field takes one.
fn name_outside(text: &str) -> Option<DomainName> {
    text.parse().ok().filter(|_| text.parse::<IpAddr>().is_err())
}

fn parsed<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeSet<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}
