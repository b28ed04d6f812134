//! Pods: in full where cluster DNS and our own are, by their addresses alone elsewhere.
//!
//! A cluster has many pods, and all that can matter of one that neither serves DNS nor is ours is an address outside
//! what is served. These addresses are kept in order, so that those outside any networks are found without a look at
//! the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use k8s_openapi::{
    api::core::v1::{self, ContainerPort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;
use tsutsumi_model::Bypass;

use super::{
    Index, Interest, Key,
    bypass::{self, Bypasser, Bypassing, DnsConfig, workload},
    meta::{lean, or_empty, watched_as},
};
use crate::managed::hop;

/// A pod, as far as facts are made from it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(from = "Raw")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all of them may be true at once"
)]
pub struct Pod {
    /// Name, UID, labels, owners, and when it came and goes.
    pub metadata: ObjectMeta,
    /// The node it runs on; empty until one is chosen.
    pub node: String,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// Whether it mounts the authorities for the hop to a managed resolver, where a Corefile looks for them.
    pub has_authority: bool,
    /// The image of its first container.
    pub image: String,
    /// The ports that it opens on its node.
    pub host_ports: Vec<ContainerPort>,
    /// How it gets DNS past cluster DNS, if it does. Whom it names may still be cluster DNS itself.
    pub bypass: Option<Bypass>,
    /// Its addresses, the first of them first.
    pub addresses: Vec<IpAddr>,
    /// Whether it has finished, and holds its addresses no longer.
    pub finished: bool,
    /// Whether Kubernetes holds it for ready.
    pub ready: bool,
    /// Restarts of its containers.
    pub restarts: u32,
    /// What a container said when it ended.
    pub last_words: Option<String>,
    /// Why it does not come up: what a container said that had to end well before the others, or why an image cannot
    /// run; at most 512 characters.
    pub trouble: Option<String>,
}

impl Pod {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        super::label(&self.metadata, key)
    }

    /// Whether it has this name.
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        super::is(&self.metadata, namespace, name)
    }
}

/// All pods.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    near: BTreeMap<Key, Arc<Pod>>,
    elsewhere: Arc<Elsewhere>,
}

/// Addresses of the pods that are not near, and which of them get DNS past cluster DNS.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    bypassing: Bypassing,
    by_pod: BTreeMap<Key, Arc<[IpAddr]>>,
    by_address: BTreeSet<(IpAddr, Key)>,
}

impl Pods {
    /// Those in the namespaces of cluster DNS and our own.
    #[must_use]
    pub fn near(&self) -> Vec<Arc<Pod>> {
        self.near.values().cloned().collect()
    }

    /// The others.
    #[must_use]
    pub fn elsewhere(&self) -> Arc<Elsewhere> {
        Arc::clone(&self.elsewhere)
    }
}

impl Elsewhere {
    /// The addresses that none of the networks holds.
    pub fn outside<'a>(&'a self, nets: &[IpNet]) -> impl Iterator<Item = (&'a Key, IpAddr)> + use<'a> {
        gaps(nets).into_iter().flat_map(|(first, last)| {
            self.by_address
                .range((first, Key::least())..)
                .take_while(move |(address, _)| *address <= last)
                .map(|(address, key)| (key, *address))
        })
    }

    /// The pods that get DNS past cluster DNS, by name.
    pub fn bypassing(&self) -> impl Iterator<Item = (&Key, &Bypasser)> {
        self.bypassing.iter()
    }

    /// Sets the addresses of a pod; says which it had.
    fn put(&mut self, key: &Key, addresses: &[IpAddr]) -> Arc<[IpAddr]> {
        let before = self.remove(key);
        self.by_address
            .extend(addresses.iter().map(|address| (*address, key.clone())));
        self.by_pod.insert(key.clone(), addresses.into());
        before
    }

    /// The pod is gone; says which addresses it had.
    fn remove(&mut self, key: &Key) -> Arc<[IpAddr]> {
        let before = self.by_pod.remove(key).unwrap_or_default();
        for address in before.iter() {
            self.by_address.remove(&(*address, key.clone()));
        }
        before
    }
}

impl Index for Pods {
    type Object = Pod;

    fn put(&mut self, mut pod: Pod, interest: &Interest) -> bool {
        let key = Key::of(&pod.metadata);
        if interest.is_near(super::namespace(&pod.metadata)) {
            pod.metadata.resource_version = None;
            if self.near.get(&key).is_some_and(|before| **before == pod) {
                return false;
            }
            self.near.insert(key, Arc::new(pod));
            return true;
        }
        let held: &[IpAddr] = if pod.finished { &[] } else { &pod.addresses };
        let bypass = pod.bypass.take().filter(|_| !pod.finished).map(|how| Bypasser {
            workload: workload(&pod.metadata).into(),
            how,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
        });
        let news = !self.elsewhere.bypassing.is(&key, bypass.as_ref());
        if news {
            Arc::make_mut(&mut self.elsewhere).bypassing.put(&key, bypass);
        }
        let matters = news && interest.has_bypasses();
        if self
            .elsewhere
            .by_pod
            .get(&key)
            .is_some_and(|before| **before == *held)
        {
            return matters;
        }
        let before = Arc::make_mut(&mut self.elsewhere).put(&key, held);
        before
            .iter()
            .chain(held)
            .any(|address| interest.is_outside(*address))
            || matters
    }

    fn remove(&mut self, pod: &Pod, interest: &Interest) -> bool {
        let key = Key::of(&pod.metadata);
        if self.near.remove(&key).is_some() {
            return true;
        }
        let elsewhere = Arc::make_mut(&mut self.elsewhere);
        let bypassed = !elsewhere.bypassing.is(&key, None);
        elsewhere.bypassing.put(&key, None);
        let before = elsewhere.remove(&key);
        bypassed && interest.has_bypasses() || before.iter().any(|address| interest.is_outside(*address))
    }

    fn len(&self) -> usize {
        self.near.len() + self.elsewhere.by_pod.len()
    }
}

watched_as!(Pod, v1::Pod);

/// The addresses between the networks, both ends included, as ranges in order.
fn gaps(nets: &[IpNet]) -> Vec<(IpAddr, IpAddr)> {
    let four = |bits: u128| IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX)));
    let six = |bits: u128| IpAddr::V6(Ipv6Addr::from(bits));
    let ends = |family: fn(&IpNet) -> Option<(u128, u128)>| nets.iter().filter_map(family).collect();
    let fours = between(ends(four_ends), u128::from(u32::MAX));
    let sixes = between(ends(six_ends), u128::MAX);
    let fours = fours.into_iter().map(|(first, last)| (four(first), four(last)));
    fours
        .chain(sixes.into_iter().map(|(first, last)| (six(first), six(last))))
        .collect()
}

fn four_ends(net: &IpNet) -> Option<(u128, u128)> {
    let IpNet::V4(net) = net else { return None };
    Some((u32::from(net.network()).into(), u32::from(net.broadcast()).into()))
}

fn six_ends(net: &IpNet) -> Option<(u128, u128)> {
    let IpNet::V6(net) = net else { return None };
    Some((net.network().into(), net.broadcast().into()))
}

/// What lies from 0 to `end` and in none of the stretches.
fn between(mut taken: Vec<(u128, u128)>, end: u128) -> Vec<(u128, u128)> {
    taken.sort_unstable();
    let mut free = Vec::new();
    let mut next = 0;
    for (first, last) in taken {
        if first > next {
            free.push((next, first - 1));
        }
        match last.checked_add(1) {
            Some(after) => next = next.max(after),
            None => return free,
        }
    }
    if next <= end {
        free.push((next, end));
    }
    free
}

/// A pod as the API server sends it.
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
    #[serde(deserialize_with = "or_empty")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_empty")]
    dns_config: DnsConfig,
    #[serde(deserialize_with = "or_empty")]
    dns_policy: String,
    #[serde(deserialize_with = "or_empty")]
    host_network: bool,
    #[serde(deserialize_with = "or_empty")]
    node_name: String,
    #[serde(deserialize_with = "or_empty")]
    volumes: Vec<Volume>,
}

impl Spec {
    /// Whether a container has the whole ConfigMap with the authorities at its place.
    fn has_authority(&self) -> bool {
        let held = self
            .volumes
            .iter()
            .filter(|volume| volume.config_map.name == hop::AUTHORITY);
        let mut mounts = self
            .containers
            .iter()
            .flat_map(|container| &container.volume_mounts);
        let names: Vec<&str> = held.map(|volume| volume.name.as_str()).collect();
        mounts.any(|mount| {
            let there = mount.mount_path.trim_end_matches('/') == hop::FOLDER && mount.sub_path.is_empty();
            there && names.contains(&mount.name.as_str())
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    #[serde(deserialize_with = "or_empty")]
    name: String,
    #[serde(deserialize_with = "or_empty")]
    config_map: ConfigMapVolume,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigMapVolume {
    #[serde(deserialize_with = "or_empty")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeMount {
    #[serde(deserialize_with = "or_empty")]
    name: String,
    #[serde(deserialize_with = "or_empty")]
    mount_path: String,
    #[serde(deserialize_with = "or_empty")]
    sub_path: String,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "or_empty")]
    image: String,
    #[serde(default, deserialize_with = "or_empty")]
    ports: Vec<ContainerPort>,
    #[serde(default, rename = "volumeMounts", deserialize_with = "or_empty")]
    volume_mounts: Vec<VolumeMount>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(deserialize_with = "or_empty")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_empty")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_empty")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_empty")]
    phase: String,
    #[serde(rename = "podIP", deserialize_with = "or_empty")]
    pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "or_empty")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    restart_count: i32,
    #[serde(default, deserialize_with = "or_empty")]
    state: ContainerState,
    #[serde(default, deserialize_with = "or_empty")]
    last_state: ContainerState,
}

impl ContainerStatus {
    /// The end of a container that had to end well, as far as it did not.
    fn failure(&self) -> Option<String> {
        let ends = [&self.state.terminated, &self.last_state.terminated];
        let end = ends.into_iter().find(|end| end.exit_code != 0)?;
        let said = end.message.as_deref().map_or("", str::trim);
        Some(if said.is_empty() {
            format!("it ended with exit status {} and said nothing", end.exit_code)
        } else {
            said.to_owned()
        })
    }

    /// Why the container cannot be started, where that does not pass by itself.
    fn obstacle(&self) -> Option<String> {
        let waiting = &self.state.waiting;
        let passing = ["", "ContainerCreating", "CrashLoopBackOff", "PodInitializing"];
        let reason = Some(waiting.reason.as_str()).filter(|reason| !passing.contains(reason))?;
        Some(format!(
            "{reason}: {}",
            waiting.message.as_deref().unwrap_or("no more is told")
        ))
    }
}

#[derive(Default, Deserialize)]
struct ContainerState {
    #[serde(default, deserialize_with = "or_empty")]
    terminated: Terminated,
    #[serde(default, deserialize_with = "or_empty")]
    waiting: Waiting,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    #[serde(deserialize_with = "or_empty")]
    reason: String,
    message: Option<String>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

impl From<Raw> for Pod {
    fn from(
        Raw {
            metadata,
            spec,
            status,
        }: Raw,
    ) -> Self {
        // `podIP` is the first of `podIPs` where there are any.
        let several = status.pod_ips.iter().map(|each| each.ip.as_str());
        let one = Some(status.pod_ip.as_str()).filter(|_| status.pod_ips.is_empty());
        let first = &status.init_container_statuses;
        let trouble = first
            .iter()
            .find_map(ContainerStatus::failure)
            .or_else(|| {
                let mut all = first.iter().chain(&status.container_statuses);
                all.find_map(ContainerStatus::obstacle)
            })
            .map(|text| text.chars().take(512).collect());
        let containers = status.container_statuses.into_iter();
        let (restarts, last_words) = containers.fold((0, None), |(restarts, words), each| {
            let more = u32::try_from(each.restart_count).unwrap_or_default();
            (restarts + more, words.or(each.state.terminated.message))
        });
        let bypass = if super::is_node_local(&metadata) {
            Some(Bypass::AnswersOnNode)
        } else {
            bypass::of(&spec.dns_policy, &spec.dns_config, spec.host_network)
        };
        Self {
            has_authority: spec.has_authority(),
            metadata,
            bypass,
            node: spec.node_name,
            host_network: spec.host_network,
            image: spec
                .containers
                .first()
                .map(|first| first.image.clone())
                .unwrap_or_default(),
            host_ports: spec
                .containers
                .into_iter()
                .flat_map(|container| container.ports)
                .filter(|port| port.host_port.is_some_and(|number| number != 0))
                .collect(),
            addresses: several.chain(one).filter_map(|text| text.parse().ok()).collect(),
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            ready: status
                .conditions
                .iter()
                .any(|condition| condition.kind == "Ready" && condition.status == "True"),
            restarts,
            last_words,
            trouble,
        }
    }
}
