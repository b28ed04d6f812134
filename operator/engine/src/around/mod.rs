//! Which workloads get DNS past cluster DNS, and the `NetworkPolicies` that would keep them from it.
//!
//! Which namespaces are closed is a person's decision ([`close`]). Exempt is what has to work before cluster DNS does,
//! and what the policy names.

pub mod close;
mod network_policy;
mod selector;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{api::networking::v1::NetworkPolicy, apimachinery::pkg::apis::meta::v1::LabelSelector};
use tsutsumi_api::resolver_policy::{ClientGroup, Clients, Others, WaysAround};
use tsutsumi_model::{Bypass, Detour, Reach};

use crate::{
    cluster::{self, Cluster, Pod, workload},
    ranges::allow_list,
    target::Target,
};

/// The key under which the `NetworkPolicies` stand beside the evidence.
pub const KEY: &str = "DNS-11.networkpolicies.yaml";
/// The most workloads that are told one by one, and the most namespaces for which a `NetworkPolicy` is shown.
const MAX_DETOURS: usize = 128;
const MAX_NAMESPACES: usize = 32;
/// Where Kubernetes keeps what a node itself needs.
const SYSTEM: &str = "kube-system";

/// The label of a pod that tries a Corefile.
const CANARY: &str = "tsutsumi.dev/canary";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Workloads that get DNS past cluster DNS, sorted; without those that may.
    pub detours: Vec<Detour>,
    /// How many pods may, by why.
    pub exempt: BTreeMap<String, usize>,
    /// Resolvers outside that the policy names, sorted.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of the cluster that it names among them: a probe that a user sends goes nowhere inside.
    pub not_outside: Vec<IpAddr>,
    /// What would close these ways, for each namespace where one can; sorted.
    pub policies: Vec<NetworkPolicy>,
}

/// Looks at every pod.
#[must_use]
pub fn find(cluster: &Cluster, target: &Target, reach: &Reach, asked: &WaysAround) -> Found {
    let mut found = Found::default();
    let serves = |address: IpAddr| {
        let mut dns = cluster.services.serving_dns();
        dns.any(|service| service.cluster_ips.contains(&address))
    };
    let inside = allow_list(cluster, &everybody());
    let named: BTreeSet<IpAddr> = asked.resolvers.iter().map(|address| address.get()).collect();
    (found.not_outside, found.resolvers) = named
        .into_iter()
        .partition(|address| inside.contains(*address) || serves(*address));
    let mut counts: BTreeMap<(String, Bypass), usize> = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    let bypasses = Bypasses::of(cluster, target, reach);
    for pod in bypasses.list {
        if let Some(why) = pod.part.or_else(|| may(&pod.namespace, &pod.how, asked)) {
            *found.exempt.entry(why.to_owned()).or_default() += 1;
            continue;
        }
        if matches!(pod.how, Bypass::AsksNamed(_) | Bypass::AsksAsNode) {
            namespaces.insert(pod.namespace);
        }
        *counts.entry((pod.workload, pod.how)).or_default() += 1;
    }
    let caches = counts.keys().any(|(_, how)| *how == Bypass::AnswersOnNode);
    found.detours = counts
        .into_iter()
        .map(|((workload, how), pods)| Detour { workload, how, pods })
        .take(MAX_DETOURS)
        .collect();
    // Where pods ask a cache on their node, a rule for cluster DNS alone would cut them off. Cluster DNS and the managed
    // resolver ask others by trade.
    let system = [SYSTEM, &target.workload.namespace, &cluster.installed.namespace];
    if !caches {
        found.policies = namespaces
            .iter()
            .filter(|namespace| !system.contains(&namespace.as_str()))
            .take(MAX_NAMESPACES)
            .map(|namespace| {
                network_policy::egress(namespace, LabelSelector::default(), cluster, target, reach)
            })
            .collect();
    }
    found
}

/// The `NetworkPolicies` as `kubectl apply` takes them, with what each workload does as comments in front.
///
/// # Errors
/// If one has no form in YAML, which none of ours is.
pub fn text(found: &Found) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::from(
        "# What keeps the pods of these namespaces from DNS past cluster DNS: ports 53 and 853 lead there alone.\n\
         # Read them before you apply them; tsutsumi applies its own only where `waysAround.close` says so.\n",
    );
    for Detour { workload, how, pods } in &found.detours {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {workload}: {how:?}, pods: {pods}");
    }
    for policy in &found.policies {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(policy)?);
    }
    Ok(text)
}

/// A pod that gets DNS past cluster DNS.
#[derive(Clone, Debug)]
struct Passing {
    namespace: String,
    workload: String,
    how: Bypass,
    labels: BTreeMap<String, String>,
    /// Why it may: it is a part of DNS, or of us.
    part: Option<&'static str>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
struct Bypasses {
    list: Vec<Passing>,
    /// Whether a cache answers pods on their nodes.
    caches: bool,
}

impl Bypasses {
    fn of(cluster: &Cluster, target: &Target, reach: &Reach) -> Self {
        let ours: BTreeSet<IpAddr> = reach
            .inside
            .iter()
            .chain(&reach.direct)
            .map(|at| at.address)
            .collect();
        // Whom it names may be cluster DNS itself.
        let passes = |how: &Bypass| match how {
            Bypass::AsksNamed(named) => !named.iter().all(|address| ours.contains(address)),
            Bypass::AnswersOnNode | Bypass::AsksAsNode | Bypass::InNodeNetwork => true,
        };
        // A canary lives for seconds and serves nobody.
        let stays = |pod: &&Arc<Pod>| !pod.finished && pod.label(CANARY).is_none();
        let near = cluster.pods.iter().filter(stays).filter_map(|pod| {
            let how = pod.bypass.clone().filter(passes)?;
            Some(Passing {
                namespace: cluster::namespace(&pod.metadata).to_owned(),
                workload: workload(&pod.metadata),
                how,
                labels: pod.metadata.labels.clone().unwrap_or_default(),
                part: part(cluster, target, pod),
            })
        });
        let elsewhere = cluster.elsewhere.bypassing().filter(|(_, pod)| passes(&pod.how));
        let elsewhere = elsewhere.map(|(key, pod)| Passing {
            namespace: key.to_string().split('/').next().unwrap_or_default().to_owned(),
            workload: pod.workload.to_string(),
            how: pod.how.clone(),
            labels: pod.labels.clone(),
            part: None,
        });
        let list: Vec<_> = near.chain(elsewhere).collect();
        let caches = list.iter().any(|pod| pod.how == Bypass::AnswersOnNode);
        Self {
            caches: caches || cluster.has_node_local_dns(),
            list,
        }
    }
}

/// Every range of the cluster.
fn everybody() -> Clients {
    Clients {
        include: vec![ClientGroup::Cluster],
        cidrs: vec![],
        others: Others::Refuse,
        reason: None,
    }
}

/// Why a pod near cluster DNS may ask others: it is a part of DNS, or of us.
fn part(cluster: &Cluster, target: &Target, pod: &Pod) -> Option<&'static str> {
    let namespace = cluster::namespace(&pod.metadata);
    let name = cluster::name(&pod.metadata);
    if namespace == target.workload.namespace && target.pods.iter().any(|each| each.name == name) {
        return Some("of cluster DNS itself");
    }
    let ours = ["app.kubernetes.io/name", "app.kubernetes.io/part-of"]
        .iter()
        .any(|key| pod.label(key) == Some("tsutsumi"));
    (namespace == cluster.installed.namespace && ours)
        .then_some("of tsutsumi, which has to work when cluster DNS does not")
}

/// Why a pod may get DNS past cluster DNS, wherever it is.
fn may(namespace: &str, how: &Bypass, asked: &WaysAround) -> Option<&'static str> {
    if asked.exempt_namespaces.iter().any(|exempt| exempt == namespace) {
        Some("in namespaces that the policy exempts")
    } else if namespace == SYSTEM && *how == Bypass::InNodeNetwork {
        Some("in the network of a node in kube-system, which nodes need before cluster DNS is there")
    } else {
        None
    }
}
