//! Everything that the objects are made from, or why there can be none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tsutsumi_api::{
    conditions::Reason,
    resolver_policy::{ClientGroup, Clients, Others, Recursion},
};
use tsutsumi_providers::{
    coredns::{Lead, bufsize::MessageBytes},
    unbound::anchors::DsRecord,
};

use super::{
    Data, LABEL, Missing, Offer,
    data::RootFiles,
    deployment_of,
    hop::{self, Hop},
    name,
};
use crate::{cluster::Cluster, platform::Channel, ranges::allow_list, resolver::Checked, target::Target};

/// Everything that the objects are made from.
pub(super) struct Wish<'a> {
    pub(super) policy: &'a str,
    pub(super) namespace: &'a str,
    pub(super) offer: &'a Offer,
    pub(super) recursion: &'a Recursion,
    /// Who may ask: the ranges of pods and nodes.
    pub(super) clients: Vec<IpNet>,
    pub(super) max_message_bytes: MessageBytes,
    /// Whether the pods of CoreDNS have addresses of IPv4, and of IPv6.
    pub(super) families: (bool, bool),
    /// The namespace of CoreDNS, and what selects its pods; none where they are in their nodes' network.
    pub(super) askers: Option<(&'a str, BTreeMap<String, String>)>,
    pub(super) probe_zones: Vec<(Lead, DsRecord)>,
    pub(super) root: RootFiles,
    /// The certificate that it shows over TLS; without one it is asked over UDP and TCP alone.
    pub(super) leaf: Option<String>,
    /// How it should be asked.
    pub(super) hop: Hop,
}

impl Wish<'_> {
    pub(super) fn name(&self) -> String {
        name(self.policy)
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "unbound"),
            ("app.kubernetes.io/part-of", "tsutsumi"),
            crate::MANAGED_BY,
            (LABEL, self.policy),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    pub(super) fn meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    /// What selects the pods; never changes, since a Deployment's selector cannot.
    pub(super) fn selector(&self) -> BTreeMap<String, String> {
        [(LABEL.to_owned(), self.policy.to_owned())].into()
    }
}

/// Collects it from the check, the cluster and what was read.
pub(super) fn wish<'a>(
    checked: &'a Checked<'_>,
    recursion: &'a Recursion,
    cluster: &'a Cluster,
    data: &Data,
    now: u64,
) -> Result<Wish<'a>, Missing> {
    let refused = |reason, message: String| Missing { reason, message };
    let target = checked
        .target
        .as_ref()
        .map_err(|error| refused(Reason::TargetNotFound, error.to_string()))?;
    let offer = cluster.installed.managed.as_ref().ok_or_else(|| {
        let message = "recursion.via: Managed needs the right to run Unbound in tsutsumi's namespace: set \
                       `managedResolver.enabled=true` in the chart's values";
        refused(Reason::Unsupported, message.to_owned())
    })?;
    if matches!(target.channel, Channel::Custom { .. }) {
        let message = "recursion.via: this platform's own Corefile forwards the root before our file is read, so \
                       nothing can lead to a resolver of ours; leave `via` out";
        return Err(refused(Reason::Unsupported, message.to_owned()));
    }
    let addresses: BTreeSet<IpAddr> = target
        .pods
        .iter()
        .flat_map(|pod| pod.addresses.iter().copied())
        .collect();
    let everybody = Clients {
        include: vec![ClientGroup::Cluster],
        cidrs: checked
            .policy
            .spec
            .clients
            .as_ref()
            .map(|clients| clients.cidrs.clone())
            .unwrap_or_default(),
        others: Others::Refuse,
        reason: None,
    };
    let mut clients = allow_list(cluster, &everybody).nets;
    // Not every node by itself: each that joins would roll Unbound anew.
    clients.retain(|net| {
        net.prefix_len() < net.max_prefix_len() || addresses.iter().any(|address| net.contains(address))
    });
    let missed = addresses
        .iter()
        .find(|address| !clients.iter().any(|net| net.contains(*address)));
    if let Some(missed) = missed {
        let message = format!(
            "a pod of CoreDNS has the address {missed}, which is in no range of the cluster that is known, so the \
             managed resolver would refuse it; add its network to `clients.cidrs`"
        );
        return Err(refused(Reason::LockOut, message));
    }
    let roots = recursion.roots.clone().unwrap_or_default();
    let root = data
        .root(&roots, recursion.validates(), now)
        .map_err(|message| refused(Reason::ResolverRefused, message))?;
    let policy = checked.policy.metadata.name.as_deref().unwrap_or_default();
    let live = deployment_of(cluster, policy);
    Ok(Wish {
        policy,
        namespace: &cluster.installed.namespace,
        offer,
        recursion,
        clients,
        max_message_bytes: checked
            .policy
            .spec
            .udp
            .and_then(|udp| MessageBytes::new(udp.max_message_bytes).ok())
            .unwrap_or(MessageBytes::UNFRAGMENTED),
        families: (
            addresses.iter().any(IpAddr::is_ipv4) || addresses.is_empty(),
            addresses.iter().any(IpAddr::is_ipv6),
        ),
        askers: askers(cluster, target),
        probe_zones: data.probe_zones(checked.probe.as_ref()),
        root,
        leaf: hop::leaf(recursion.hop, checked, data.certificates.as_ref(), live),
        hop: hop::decide(recursion.hop, target, cluster, data.certificates.as_ref(), live),
    })
}

/// What selects the pods of CoreDNS, as its workload does.
pub(crate) fn askers<'a>(
    cluster: &Cluster,
    target: &'a Target,
) -> Option<(&'a str, BTreeMap<String, String>)> {
    if target.pods.iter().any(|pod| pod.host_network) {
        return None;
    }
    let workload = &target.workload;
    let deployments = cluster
        .deployments
        .iter()
        .filter_map(|each| Some((&each.metadata, &each.spec.as_ref()?.selector)));
    let sets = cluster
        .daemon_sets
        .iter()
        .filter_map(|each| Some((&each.metadata, &each.spec.as_ref()?.selector)));
    let selector = deployments.chain(sets).find_map(|(meta, selector)| {
        (meta.name.as_ref() == Some(&workload.name) && meta.namespace.as_ref() == Some(&workload.namespace))
            .then(|| selector.match_labels.clone().unwrap_or_default())
    });
    Some((&workload.namespace, selector.unwrap_or_default()))
}
