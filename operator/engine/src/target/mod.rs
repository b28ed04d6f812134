//! Which workload serves cluster DNS, and where its Corefile is.
//!
//! A policy may name the workload; otherwise it is found as clients find it: by the Service that carries the DNS
//! label, and from there by selector. A choice that is not certain is not made: the error says what was looked for
//! and what to write.

mod error;
mod service;
mod template;

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::{
    api::core::v1::PodTemplateSpec,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use tsutsumi_api::resolver_policy::{TargetRef, WorkloadKind};
use tsutsumi_model::{Endpoint, Port};

use crate::{
    cluster::{self, Cluster, Pod},
    platform::{self, Channel, Platform},
};

pub use error::TargetError;
pub use service::{DnsService, ServicePort};
pub use template::{CanaryTemplate, CorefileSource, MountedFiles, version_of_image};
pub(crate) use template::{dns_container, files as mounted_files};

/// The cluster's DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The workload.
    pub workload: Workload,
    /// The Service by which clients find it, if there is one.
    pub service: Option<DnsService>,
    /// Where the Corefile is; `None` only where the channel is [`Channel::AuditOnly`].
    pub config_map: Option<CorefileSource>,
    /// The Corefile as it stands there.
    pub corefile: Option<String>,
    /// The pods, sorted by name; those that end are not among them.
    pub pods: Vec<DnsPod>,
    /// What a canary is made from.
    pub template: CanaryTemplate,
    /// Whether its template mounts the authorities for the hop to a managed resolver.
    pub has_authority: bool,
    /// The version in the image's tag, without `v`.
    pub image_version: Option<String>,
    /// Who runs the cluster.
    pub platform: Platform,
    /// How its DNS may be changed.
    pub channel: Channel,
    /// What the user should know before the next upgrade, and the like.
    pub warnings: Vec<String>,
}

/// A workload by kind and name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A pod that serves DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsPod {
    /// Its name, in the namespace of the workload.
    pub name: String,
    /// Its UID: a new pod may come back under an old name.
    pub uid: String,
    /// The node it runs on; empty until one is chosen.
    pub node: String,
    /// Its addresses, sorted; empty until it has one.
    pub addresses: Vec<IpAddr>,
    /// The port on which it serves DNS.
    pub dns_port: Port,
    /// The port of its metrics.
    pub metrics_port: Option<Port>,
    /// Whether Kubernetes holds it for ready.
    pub ready: bool,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// Whether it mounts the authorities for the hop to a managed resolver.
    pub has_authority: bool,
    /// Restarts of its containers.
    pub restarts: u32,
}

impl DnsPod {
    /// Where it answers.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.addresses.iter().map(|address| Endpoint {
            address: *address,
            port: self.dns_port,
        })
    }
}

/// Finds the cluster's DNS, or the workload that the policy names.
pub fn find(cluster: &Cluster, wanted: Option<&TargetRef>) -> Result<Target, TargetError> {
    let (found, service) = match wanted {
        Some(wanted) => {
            let found = named(cluster, wanted)?;
            let labels = template_meta(found.template).and_then(|meta| meta.labels.as_ref());
            let service = service::of_pods(cluster, found.namespace(), labels);
            (found, service)
        }
        None => by_itself(cluster)?,
    };
    let workload = found.workload();
    let container = dns_container(found.template).ok_or_else(|| TargetError::NoContainer {
        workload: workload.to_string(),
    })?;
    let source = template::corefile_source(found.namespace(), found.template, container);
    let corefile = source
        .as_ref()
        .and_then(|source| cluster.text(&source.namespace, &source.config_map, &source.key))
        .map(str::to_owned);

    let pods = pods(cluster, &found, service.as_ref());
    let judged = platform::recognise(
        cluster,
        &platform::Subject {
            meta: found.meta,
            template: found.template,
            source: source.as_ref(),
            corefile: corefile.as_deref(),
        },
    );
    if !matches!(judged.channel, Channel::AuditOnly { .. }) {
        require_corefile(
            cluster,
            &workload,
            container,
            source.as_ref(),
            corefile.as_deref(),
        )?;
    }
    let template = template::canary(found.template, container, source.as_ref(), &pods);
    Ok(Target {
        image_version: version_of_image(&template.image),
        has_authority: template::has_authority(found.template, container),
        workload,
        service,
        config_map: source,
        corefile,
        pods,
        template,
        platform: judged.platform,
        channel: judged.channel,
        warnings: judged.warnings,
    })
}

/// A workload as it was found.
struct Found<'a> {
    kind: WorkloadKind,
    meta: &'a ObjectMeta,
    selector: &'a LabelSelector,
    template: &'a PodTemplateSpec,
}

impl<'a> Found<'a> {
    fn namespace(&self) -> &'a str {
        cluster::namespace(self.meta)
    }

    fn workload(&self) -> Workload {
        Workload {
            kind: self.kind,
            namespace: self.namespace().to_owned(),
            name: cluster::name(self.meta).to_owned(),
        }
    }

    /// Whether the pod belongs to this workload and not only looks like it.
    fn owns(&self, pod: &Pod) -> bool {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let name = cluster::name(self.meta);
        let owned = owners.iter().any(|owner| match self.kind {
            WorkloadKind::DaemonSet => owner.kind == "DaemonSet" && owner.name == name,
            WorkloadKind::Deployment => {
                let hash = cluster::label(&pod.metadata, "pod-template-hash");
                owner.kind == "ReplicaSet"
                    && hash.is_some_and(|hash| {
                        owner
                            .name
                            .strip_suffix(hash)
                            .and_then(|rest| rest.strip_suffix('-'))
                            == Some(name)
                    })
            }
        });
        owned
            && cluster::namespace(&pod.metadata) == self.namespace()
            && cluster::label_selects(self.selector, pod.metadata.labels.as_ref())
    }
}

/// Every workload, sorted.
fn workloads(cluster: &Cluster) -> Vec<Found<'_>> {
    let deployments = cluster.deployments.iter().filter_map(|each| {
        let spec = each.spec.as_ref()?;
        let (selector, template) = (&spec.selector, &spec.template);
        Some(Found {
            kind: WorkloadKind::Deployment,
            meta: &each.metadata,
            selector,
            template,
        })
    });
    let sets = cluster.daemon_sets.iter().filter_map(|each| {
        let spec = each.spec.as_ref()?;
        let (selector, template) = (&spec.selector, &spec.template);
        Some(Found {
            kind: WorkloadKind::DaemonSet,
            meta: &each.metadata,
            selector,
            template,
        })
    });
    let mut all: Vec<_> = deployments.chain(sets).collect();
    all.sort_by_key(Found::workload);
    all
}

/// The workload that the policy names.
fn named<'a>(cluster: &'a Cluster, wanted: &TargetRef) -> Result<Found<'a>, TargetError> {
    let all = workloads(cluster);
    let shown = Workload {
        kind: wanted.kind,
        namespace: wanted.namespace.clone(),
        name: wanted.name.clone(),
    }
    .to_string();
    let present = all
        .iter()
        .filter(|found| cluster::name(found.meta).contains("dns") && !cluster::is_node_local(found.meta))
        .map(|found| found.workload().to_string())
        .collect();
    let found = all
        .into_iter()
        .find(|found| found.kind == wanted.kind && cluster::is(found.meta, &wanted.namespace, &wanted.name))
        .ok_or_else(|| TargetError::NotFound {
            wanted: shown.clone(),
            present,
        })?;
    if cluster::is_node_local(found.meta) {
        return Err(TargetError::NodeLocal { wanted: shown });
    }
    Ok(found)
}

/// The workload behind the cluster's DNS Service.
fn by_itself(cluster: &Cluster) -> Result<(Found<'_>, Option<DnsService>), TargetError> {
    let service = service::of_cluster(cluster).ok_or(TargetError::NoService)?;
    let shown = format!("{}/{}", service.namespace, service.name);
    let mut behind: Vec<_> = workloads(cluster)
        .into_iter()
        .filter(|found| {
            let labels = template_meta(found.template).and_then(|meta| meta.labels.as_ref());
            found.namespace() == service.namespace
                && !cluster::is_node_local(found.meta)
                && cluster::selects(Some(&service.selector), labels)
        })
        .collect();
    if behind.len() > 1 {
        let serves = |found: &Found<'_>| cluster.pods.iter().any(|pod| found.owns(pod) && pod.ready);
        if behind.iter().any(serves) {
            behind.retain(serves);
        }
    }
    match behind.len() {
        0 => Err(TargetError::NoWorkload { service: shown }),
        1 => Ok((behind.remove(0), Some(service))),
        _ => Err(TargetError::Ambiguous {
            service: shown,
            workloads: behind.iter().map(|found| found.workload().to_string()).collect(),
        }),
    }
}

/// The pods of the workload, sorted.
fn pods(cluster: &Cluster, found: &Found<'_>, service: Option<&DnsService>) -> Vec<DnsPod> {
    let container = dns_container(found.template);
    let dns_port = template::dns_port(container, service);
    let metrics_port = template::metrics_port(container);
    let mut pods: Vec<_> = cluster
        .pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter(|pod| !pod.finished && found.owns(pod))
        .map(|pod| DnsPod {
            name: cluster::name(&pod.metadata).to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: pod.node.clone(),
            addresses: pod
                .addresses
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            dns_port,
            metrics_port,
            ready: pod.ready,
            host_network: pod.host_network,
            has_authority: pod.has_authority,
            restarts: pod.restarts,
        })
        .collect();
    pods.sort_by(|a, b| (&a.name, &a.uid).cmp(&(&b.name, &b.uid)));
    pods
}

/// A target that is to be written needs a Corefile that is there.
fn require_corefile(
    cluster: &Cluster,
    workload: &Workload,
    container: &k8s_openapi::api::core::v1::Container,
    source: Option<&CorefileSource>,
    corefile: Option<&str>,
) -> Result<(), TargetError> {
    let Some(source) = source else {
        return Err(TargetError::NoCorefileMount {
            workload: workload.to_string(),
            container: container.name.clone(),
            path: template::corefile_path(container),
        });
    };
    if corefile.is_some() {
        return Ok(());
    }
    let problem = match cluster.config_map(&source.namespace, &source.config_map) {
        None => "which is not there; create it",
        Some(_) => "which lacks that key; add the Corefile under it",
    };
    Err(TargetError::NoCorefile {
        workload: workload.to_string(),
        config_map: format!("{}/{}", source.namespace, source.config_map),
        key: source.key.clone(),
        problem,
    })
}

fn template_meta(template: &PodTemplateSpec) -> Option<&ObjectMeta> {
    template.metadata.as_ref()
}

#[cfg(test)]
mod tests;
