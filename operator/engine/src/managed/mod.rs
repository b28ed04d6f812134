//! The managed resolver: an Unbound of ours in our own namespace, as objects that should be there.
//!
//! [`decide`] says from a policy and the facts what should run, whether it does, and who may be asked there. The
//! configuration lies in an immutable ConfigMap that is named by its content, so a pod keeps the one that it came up
//! with; a container of the same image checks it before Unbound starts, and no old pod goes before a new one serves. So
//! a configuration that Unbound refuses takes nothing away.

mod budget;
mod config;
mod data;
mod deployment;
mod network_policy;
mod progress;
mod service;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sha2::{Digest, Sha256};
use tsutsumi_api::{
    conditions::Reason,
    resolver_policy::{ClientGroup, Clients, Others, Recursion, Via},
};
use tsutsumi_model::{DomainName, Endpoint};
use tsutsumi_providers::{
    coredns::bufsize::MessageBytes,
    unbound::{anchors::DsRecord, profile::RenderError},
};

use crate::{
    cluster::{Cluster, Key},
    platform::Channel,
    ranges::allow_list,
    resolver::Checked,
    target::Target,
};

pub use data::Data;

/// What the names of everything of a managed resolver begin with.
pub const PREFIX: &str = "tsutsumi-unbound-";
/// The label of everything of a managed resolver; its value is the policy.
pub const LABEL: &str = "tsutsumi.dev/unbound";
/// The label of a pod with the identity of its configuration.
const CONFIG: &str = "tsutsumi.dev/config";
/// The annotation of the Deployment with the digest of all that was applied, itself last.
const APPLIED: &str = "tsutsumi.dev/applied";

/// How managed resolvers run, as the chart says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The container image, with `unbound` and its tools in its path.
    pub image: String,
    /// When it is pulled, as in a Pod.
    pub pull_policy: String,
    /// How many pods.
    pub replicas: u16,
}

/// What is true of a policy's managed resolver.
#[derive(Clone, Debug, PartialEq)]
pub enum Managed {
    /// The policy wants none.
    Unwanted(Leftover),
    /// It cannot be made; what runs stays.
    Refused {
        /// For a program.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// It should run.
    Wanted(Box<Wanted>),
}

/// What is left of a managed resolver that is not wanted any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Leftover {
    /// Nothing.
    #[default]
    Nothing,
    /// Objects that the Corefile may still lead to: they stay.
    Asked,
    /// Objects that nothing leads to.
    Idle,
}

/// A managed resolver that should run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is made of.
    pub objects: Objects,
    /// Tells these objects from others.
    pub digest: String,
    /// Whether the objects were applied as they are here, as far as is seen.
    pub applied: bool,
    /// Whether it answers for the probe zone.
    pub knows_probe_zone: bool,
    /// Where it is asked once it serves this configuration, or why it does not yet.
    pub serving: Result<Endpoint, Missing>,
}

/// Why a resolver does not serve what it should.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// For a program.
    pub reason: Reason,
    /// For a person.
    pub message: String,
}

/// The objects, all in our own namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The configuration, immutable and named by its content.
    pub config: ConfigMap,
    /// The address that CoreDNS asks.
    pub service: Service,
    /// Who may reach it, and whom it may reach.
    pub network_policy: NetworkPolicy,
    /// How many pods may be taken away at once.
    pub budget: PodDisruptionBudget,
    /// The pods. To be applied last: it tells that the others were.
    pub deployment: Deployment,
}

impl Managed {
    /// Whom to ask; none where it does not serve, or is not wanted.
    #[must_use]
    pub fn server(&self) -> Option<Endpoint> {
        match self {
            Self::Wanted(wanted) => wanted.serving.as_ref().ok().copied(),
            Self::Unwanted(_) | Self::Refused { .. } => None,
        }
    }

    /// Why it does not serve what it should; none where it does, or is not wanted.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        match self {
            Self::Unwanted(_) => None,
            Self::Refused { reason, message } => Some(Missing {
                reason: *reason,
                message: message.clone(),
            }),
            Self::Wanted(wanted) => wanted.serving.as_ref().err().cloned(),
        }
    }
}

/// The name of a policy's Deployment, Service, budget and NetworkPolicy.
#[must_use]
pub fn name(policy: &str) -> String {
    format!("{PREFIX}{policy}")
}

/// Where a pod of a managed resolver is asked.
#[must_use]
pub const fn endpoint(address: IpAddr) -> Endpoint {
    Endpoint {
        address,
        port: config::DNS,
    }
}

/// What should run for a policy, from the check, the cluster and what was read for it. `now` is in seconds since 1970.
#[must_use]
pub fn decide(checked: &Checked<'_>, cluster: &Cluster, data: &Data, now: u64) -> Managed {
    // One that goes wants its way back, and one that another policy precedes wants nothing.
    let stands = checked.policy.metadata.deletion_timestamp.is_none() && checked.conflict.is_none();
    let recursion = checked.policy.spec.recursion.as_ref();
    let Some(recursion) = recursion.filter(|recursion| recursion.via == Some(Via::Managed) && stands) else {
        return Managed::Unwanted(leftover(checked, cluster));
    };
    let made = wish(checked, recursion, cluster, data, now).and_then(|wish| wanted(&wish, cluster));
    match made {
        Ok(wanted) => Managed::Wanted(Box::new(wanted)),
        Err(Missing { reason, message }) => Managed::Refused { reason, message },
    }
}

impl Default for Managed {
    fn default() -> Self {
        Self::Unwanted(Leftover::Nothing)
    }
}

/// A Corefile that is not known, or an address that is not, may lead to what is left.
fn leftover(checked: &Checked<'_>, cluster: &Cluster) -> Leftover {
    let policy = checked.policy.metadata.name.as_deref().unwrap_or_default();
    if deployment_of(cluster, policy).is_none() {
        return Leftover::Nothing;
    }
    let key = Key::new(&cluster.installed.namespace, &name(policy));
    let service = cluster.services.get(&key);
    let corefile = checked
        .target
        .as_ref()
        .ok()
        .and_then(|target| target.corefile.as_deref());
    let leads = |text: &str| {
        let mut addresses = service.iter().flat_map(|service| &service.cluster_ips);
        addresses.any(|address| text.contains(&address.to_string()))
    };
    if corefile.is_none_or(leads) {
        Leftover::Asked
    } else {
        Leftover::Idle
    }
}

/// Everything that the objects are made from.
struct Wish<'a> {
    policy: &'a str,
    namespace: &'a str,
    offer: &'a Offer,
    recursion: &'a Recursion,
    /// Who may ask: the ranges of pods and nodes.
    clients: Vec<IpNet>,
    max_message_bytes: MessageBytes,
    /// Whether the pods of CoreDNS have addresses of IPv4, and of IPv6.
    families: (bool, bool),
    /// The namespace of CoreDNS, and what selects its pods; none where they are in their nodes' network.
    askers: Option<(&'a str, BTreeMap<String, String>)>,
    probe_zone: Option<(DomainName, Endpoint, DsRecord)>,
    hints: String,
    anchors: String,
}

impl Wish<'_> {
    fn name(&self) -> String {
        name(self.policy)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "unbound"),
            ("app.kubernetes.io/part-of", "tsutsumi"),
            ("app.kubernetes.io/managed-by", "tsutsumi"),
            (LABEL, self.policy),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    /// What selects the pods; never changes, since a Deployment's selector cannot.
    fn selector(&self) -> BTreeMap<String, String> {
        [(LABEL.to_owned(), self.policy.to_owned())].into()
    }
}

fn wish<'a>(
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
    let (hints, anchors) = data
        .root(&roots, recursion.validates(), now)
        .map_err(|message| refused(Reason::ResolverRefused, message))?;
    Ok(Wish {
        policy: checked.policy.metadata.name.as_deref().unwrap_or_default(),
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
        probe_zone: data.probe_zone(checked.probe.as_ref()),
        hints,
        anchors,
    })
}

/// What selects the pods of CoreDNS, as its workload does.
fn askers<'a>(cluster: &Cluster, target: &'a Target) -> Option<(&'a str, BTreeMap<String, String>)> {
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

fn wanted(wish: &Wish<'_>, cluster: &Cluster) -> Result<Wanted, Missing> {
    let impossible = |what: &str, error: &dyn std::error::Error| Missing {
        reason: Reason::ResolverRefused,
        message: format!("{what} cannot be made: {error}"),
    };
    let (config, identity) =
        config::config(wish).map_err(|error: RenderError| impossible("Unbound's configuration", &error))?;
    let mut objects = Objects {
        service: service::service(wish),
        network_policy: network_policy::network_policy(wish),
        budget: budget::budget(wish),
        deployment: deployment::deployment(wish, &config, &identity)
            .map_err(|error| impossible("Unbound's Deployment", &error))?,
        config,
    };
    let digest = digest(&objects).map_err(|error| impossible("Unbound's objects", &error))?;
    let annotations = objects.deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(APPLIED.to_owned(), digest.clone());
    let live = deployment_of(cluster, wish.policy);
    let key = Key::new(wish.namespace, &wish.name());
    let service = cluster.services.get(&key);
    Ok(Wanted {
        digest,
        applied: service.is_some()
            && live.is_some_and(|live| progress::is_applied(live, &objects.deployment, APPLIED)),
        knows_probe_zone: wish.probe_zone.is_some(),
        serving: progress::serving(wish, &identity, &objects.deployment, live, service, &cluster.pods),
        objects,
    })
}

fn deployment_of<'a>(cluster: &'a Cluster, policy: &str) -> Option<&'a Deployment> {
    let name = name(policy);
    let is_it = |meta: &ObjectMeta| {
        meta.name.as_ref() == Some(&name)
            && meta.namespace.as_ref() == Some(&cluster.installed.namespace)
            && meta.deletion_timestamp.is_none()
    };
    let mut own = cluster.own.iter();
    own.find(|each| is_it(&each.metadata)).map(AsRef::as_ref)
}

/// Twelve hexadecimal digits that tell these objects from others.
fn digest(objects: &Objects) -> Result<String, serde_json::Error> {
    let all = serde_json::to_vec(&(
        &objects.config,
        &objects.service,
        &objects.network_policy,
        &objects.budget,
        &objects.deployment,
    ))?;
    let hash = Sha256::digest(all);
    Ok(hash
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
