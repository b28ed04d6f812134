//! Which changes are worth a reconcile: those of what a decision was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Cluster, Key};
use crate::resolver::check::Checked;

/// What makes a change matter.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    near: Vec<String>,
    policies: BTreeMap<String, Concern>,
}

/// What one policy's decisions were made from, beside what is near.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Concern {
    /// The networks that are served; a pod outside them matters at once.
    pub served: Option<Vec<IpNet>>,
    /// The addresses of the DNS pods; what leads there may expose them.
    pub dns: BTreeSet<IpAddr>,
    /// The Services in front of these addresses, whether or not they are there.
    pub services: BTreeSet<Key>,
    /// Whether it matters which pods get DNS past cluster DNS.
    pub bypasses: bool,
}

impl Concern {
    /// What a check was made from.
    #[must_use]
    pub fn of(checked: &Checked<'_>, cluster: &Cluster) -> Self {
        let pods = checked.target.iter().flat_map(|target| &target.pods);
        let dns: BTreeSet<IpAddr> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
        let services = cluster.slices.holding(&dns).map(|slice| slice.service_key());
        Self {
            served: checked.allow.as_ref().map(|allow| allow.nets.clone()),
            services: services.collect(),
            dns,
            bypasses: checked.around.is_some(),
        }
    }
}

impl Interest {
    /// Every pod and Service in these namespaces matters: those of cluster DNS and our own.
    #[must_use]
    pub fn near(namespaces: Vec<String>) -> Self {
        Self {
            near: namespaces,
            policies: BTreeMap::new(),
        }
    }

    /// Sets what a policy's decisions were made from. Where that is news, a change may have passed unseen.
    pub fn set(&mut self, policy: &str, concern: Concern) -> bool {
        if self.policies.get(policy) == Some(&concern) {
            return false;
        }
        self.policies.insert(policy.to_owned(), concern);
        true
    }

    /// The policy is gone.
    pub fn forget(&mut self, policy: &str) {
        self.policies.remove(policy);
    }

    /// Whether the namespace is near.
    pub(super) fn is_near(&self, namespace: &str) -> bool {
        self.near.iter().any(|near| near == namespace)
    }

    /// Whether a policy does not serve the address.
    pub(super) fn is_outside(&self, address: IpAddr) -> bool {
        let mut served = self.policies.values().filter_map(|each| each.served.as_ref());
        served.any(|nets| !nets.iter().any(|net| net.contains(&address)))
    }

    /// Whether a policy asks which pods get DNS past cluster DNS.
    pub(super) fn has_bypasses(&self) -> bool {
        self.policies.values().any(|each| each.bypasses)
    }

    /// Whether a DNS pod has the address.
    pub(super) fn is_dns(&self, address: IpAddr) -> bool {
        self.policies.values().any(|each| each.dns.contains(&address))
    }

    /// Whether the Service stands in front of DNS pods.
    pub(super) fn is_in_front(&self, service: &Key) -> bool {
        self.policies.values().any(|each| each.services.contains(service))
    }
}
