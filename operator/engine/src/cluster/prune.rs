//! What enters a cache of an object of the kinds of which there are few.
//!
//! Everything that no fact is made from is dropped before it is kept. Pruning twice is pruning once. Of `managedFields` the names of those who own content stay, because they tell
//! who else writes.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, DeploymentStatus},
        core::v1::{
            ConfigMap, Container, Node, NodeSpec, NodeStatus, NodeSystemInfo, PodSpec, PodTemplateSpec,
        },
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::managed;

/// Annotations of others that facts are made from.
const ANNOTATIONS: [&str; 8] = [
    "argocd.argoproj.io/",
    "eks.amazonaws.com/",
    "meta.helm.sh/",
    "network.cilium.io/",
    "objectset.rio.cattle.io/id",
    "objectset.rio.cattle.io/owner",
    "projectcalico.org/",
    "tsutsumi.dev/",
];

/// Keys of ConfigMaps that hold a cluster's ranges.
const RANGE_KEYS: [&str; 6] = [
    "ClusterConfiguration",
    "cluster-pool-ipv4-cidr",
    "cluster-pool-ipv6-cidr",
    "config.conf",
    "ipam",
    "net-conf.json",
];

/// Keeps ranges, addresses and what tells the platform.
pub fn prune_node(node: &mut Node) {
    prune_meta(&mut node.metadata, None);
    node.spec = node.spec.take().map(|spec| NodeSpec {
        pod_cidr: spec.pod_cidr,
        pod_cidrs: spec.pod_cidrs,
        provider_id: spec.provider_id,
        ..NodeSpec::default()
    });
    node.status = node.status.take().map(|status| NodeStatus {
        addresses: status.addresses,
        node_info: status.node_info.map(|info| NodeSystemInfo {
            kubelet_version: info.kubelet_version,
            os_image: info.os_image,
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    });
}

/// Keeps the selector and what a canary is made from.
pub fn prune_deployment(deployment: &mut Deployment) {
    prune_meta(&mut deployment.metadata, Some("f:spec"));
    deployment.spec = deployment.spec.take().map(|spec| DeploymentSpec {
        replicas: spec.replicas,
        selector: spec.selector,
        template: template(spec.template),
        ..DeploymentSpec::default()
    });
    deployment.status = None;
}

/// Keeps how far the managed resolver has come; of our other Deployments, what never changes by itself.
pub fn prune_own_deployment(deployment: &mut Deployment) {
    let status = deployment.status.take().map(|status| DeploymentStatus {
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        replicas: status.replicas,
        updated_replicas: status.updated_replicas,
        ..DeploymentStatus::default()
    });
    prune_deployment(deployment);
    let ours = deployment
        .metadata
        .name
        .as_deref()
        .is_some_and(|name| name.starts_with(managed::PREFIX));
    deployment.status = status.filter(|_| ours);
}

/// Keeps the selector and what a canary is made from.
pub fn prune_daemon_set(set: &mut DaemonSet) {
    prune_meta(&mut set.metadata, Some("f:spec"));
    set.spec = set.spec.take().map(|spec| DaemonSetSpec {
        selector: spec.selector,
        template: template(spec.template),
        ..DaemonSetSpec::default()
    });
    set.status = None;
}

/// Keeps the content where it may be a Corefile, a range, a map of an ingress controller or our own authorities, and of
/// others the keys.
pub fn prune_config_map(map: &mut ConfigMap) {
    prune_meta(&mut map.metadata, Some("f:data"));
    map.binary_data = None;
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let about_dns = name.contains("dns")
        || name == managed::hop::AUTHORITY
        || map.data.iter().flatten().any(|(key, value)| {
            key.contains("Corefile")
                || value
                    .lines()
                    .any(|line| line.trim_start().starts_with("kubernetes cluster."))
        });
    if about_dns {
        return;
    }
    for (key, value) in map.data.iter_mut().flatten() {
        let port_of_ingress = key.parse::<u16>().is_ok();
        if !port_of_ingress && !RANGE_KEYS.contains(&key.as_str()) {
            *value = String::new();
        }
    }
}

/// Keeps whom it picks and what leaves them.
pub fn prune_network_policy(policy: &mut NetworkPolicy) {
    prune_meta(&mut policy.metadata, Some("f:spec"));
    if let Some(spec) = &mut policy.spec {
        spec.ingress = None;
    }
}

/// Keeps what identifies the object and who owns its content.
fn prune_meta(meta: &mut ObjectMeta, content: Option<&str>) {
    let whole = std::mem::take(meta);
    let annotations: Option<BTreeMap<_, _>> = whole.annotations.map(|all| {
        all.into_iter()
            .filter(|(key, _)| ANNOTATIONS.iter().any(|kept| key.starts_with(kept)))
            .collect()
    });
    let managers = whole
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .filter_map(|mut entry| {
            let owns = match &entry.fields_v1 {
                Some(fields) => fields.0.get(content?).is_some(),
                None => true,
            };
            entry.fields_v1 = None;
            entry.fields_type = None;
            owns.then_some(entry)
        });
    *meta = ObjectMeta {
        managed_fields: content
            .map(|_| managers.collect::<Vec<_>>())
            .filter(|all| !all.is_empty()),
        annotations: annotations.filter(|all| !all.is_empty()),
        creation_timestamp: whole.creation_timestamp,
        deletion_timestamp: whole.deletion_timestamp,
        generation: whole.generation,
        labels: whole.labels,
        name: whole.name,
        namespace: whole.namespace,
        owner_references: whole.owner_references,
        resource_version: whole.resource_version,
        uid: whole.uid,
        ..ObjectMeta::default()
    };
}

/// Keeps of a pod template what a canary is made from.
fn template(template: PodTemplateSpec) -> PodTemplateSpec {
    let metadata = template.metadata.map(|mut meta| {
        prune_meta(&mut meta, None);
        meta
    });
    let container = |container: Container| Container {
        name: container.name,
        image: container.image,
        args: container.args,
        command: container.command,
        env: container.env,
        env_from: container.env_from,
        ports: container.ports,
        security_context: container.security_context,
        volume_mounts: container.volume_mounts,
        working_dir: container.working_dir,
        ..Container::default()
    };
    let spec = template.spec.map(|spec| PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        host_network: spec.host_network,
        node_selector: spec.node_selector,
        security_context: spec.security_context,
        tolerations: spec.tolerations,
        volumes: spec.volumes,
        ..PodSpec::default()
    });
    PodTemplateSpec { metadata, spec }
}
