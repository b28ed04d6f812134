//! What of an object enters a cache.
//!
//! A cluster has many pods and few that serve DNS, so everything that no fact is made from is dropped before it is
//! kept. Pruning twice is pruning once. Of `managedFields` the names of those who own content stay, because they tell
//! who else writes.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec},
        core::v1::{
            ConfigMap, Container, ContainerState, ContainerStatus, Node, NodeSpec, NodeStatus,
            NodeSystemInfo, Pod, PodSpec, PodStatus, PodTemplateSpec, Service, ServiceSpec, ServiceStatus,
        },
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

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

/// Keeps what tells where a Service listens and to whom it leads.
pub fn prune_service(service: &mut Service) {
    prune_meta(&mut service.metadata, None);
    service.spec = service.spec.take().map(|spec| ServiceSpec {
        cluster_ip: spec.cluster_ip,
        cluster_ips: spec.cluster_ips,
        external_ips: spec.external_ips,
        external_traffic_policy: spec.external_traffic_policy,
        ip_families: spec.ip_families,
        ports: spec.ports,
        selector: spec.selector,
        type_: spec.type_,
        ..ServiceSpec::default()
    });
    service.status = service.status.take().map(|status| ServiceStatus {
        load_balancer: status.load_balancer,
        ..ServiceStatus::default()
    });
}

/// Keeps addresses, ports and the Service's name.
pub fn prune_slice(slice: &mut EndpointSlice) {
    prune_meta(&mut slice.metadata, None);
    for endpoint in &mut slice.endpoints {
        let whole = std::mem::take(endpoint);
        *endpoint = Endpoint {
            addresses: whole.addresses,
            node_name: whole.node_name,
            ..Endpoint::default()
        };
    }
}

/// Keeps addresses, ports that matter to DNS, and whether the pod serves.
pub fn prune_pod(pod: &mut Pod) {
    prune_meta(&mut pod.metadata, None);
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        host_network: spec.host_network,
        node_name: spec.node_name,
        containers: compact(
            spec.containers
                .into_iter()
                .map(container_of_pod)
                .filter(|each| each.ports.is_some()),
        ),
        ..PodSpec::default()
    });
    pod.status = pod.status.take().map(|status| PodStatus {
        phase: status.phase,
        pod_ip: status.pod_ip,
        pod_ips: status.pod_ips,
        conditions: status
            .conditions
            .map(|all| compact(all.into_iter().filter(|condition| condition.type_ == "Ready"))),
        container_statuses: status.container_statuses.map(|all| {
            let kept = |status: ContainerStatus| ContainerStatus {
                name: status.name,
                restart_count: status.restart_count,
                // What a canary said when it ended.
                state: status
                    .state
                    .and_then(|state| state.terminated)
                    .map(|ended| ContainerState {
                        terminated: Some(ended),
                        ..ContainerState::default()
                    }),
                ..ContainerStatus::default()
            };
            compact(all.into_iter().map(kept))
        }),
        ..PodStatus::default()
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

/// Keeps the content where it may be a Corefile, a range or a map of an ingress controller, and of others the keys.
pub fn prune_config_map(map: &mut ConfigMap) {
    prune_meta(&mut map.metadata, Some("f:data"));
    map.binary_data = None;
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let about_dns = name.contains("dns")
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

/// Keeps of a pod's container the ports by which DNS or its metrics are found, and host ports.
fn container_of_pod(container: Container) -> Container {
    let matters = |name: Option<&str>, number: i32, host: Option<i32>| {
        host.is_some_and(|port| port != 0)
            || matches!(number, 53 | 9153)
            || name.is_some_and(|name| name.contains("dns") || name == "metrics")
    };
    let ports = container.ports.map(|all| {
        all.into_iter()
            .filter(|port| matters(port.name.as_deref(), port.container_port, port.host_port))
            .collect::<Vec<_>>()
    });
    Container {
        name: container.name,
        ports: ports.filter(|all| !all.is_empty()),
        ..Container::default()
    }
}

/// Collects anew: a `collect` in place would keep the room of everything that was dropped.
fn compact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    kept.extend(items);
    kept.shrink_to_fit();
    kept
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
