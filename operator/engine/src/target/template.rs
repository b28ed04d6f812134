//! What the pod template says: which container serves, where its Corefile comes from, what a canary needs.

use k8s_openapi::{
    api::core::v1::{
        Container, EnvVar, KeyToPath, PodSecurityContext, PodTemplateSpec, SecurityContext, Toleration,
        Volume, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use tsutsumi_model::Port;

use super::{DnsPod, DnsService};
use crate::managed::hop;

/// The port of DNS (RFC 1035, 4.2).
const DNS: Port = Port::new(53).unwrap();

/// The ConfigMap key that holds the Corefile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CorefileSource {
    /// The namespace of the workload and so of the ConfigMap.
    pub namespace: String,
    /// The ConfigMap.
    pub config_map: String,
    /// The key.
    pub key: String,
    /// The path that CoreDNS reads.
    pub path: String,
    /// Whether one file is mounted: then a change reaches no running pod (`subPath` mounts are never updated).
    pub sub_path_mount: bool,
}

/// Files that a container gets from a ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct MountedFiles {
    /// The ConfigMap, in the namespace of the workload.
    pub config_map: String,
    /// Where they stand.
    pub path: String,
    /// Which keys, under which names; empty for all under their own.
    pub items: Vec<KeyToPath>,
    /// The one file that is mounted, if only one is.
    pub sub_path: Option<String>,
    /// Whether the pod starts without it.
    pub optional: bool,
}

/// What a canary is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanaryTemplate {
    /// The container that serves DNS.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Its command, where it overrides the image's.
    pub command: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub working_dir: Option<String>,
    /// Its environment.
    pub env: Vec<EnvVar>,
    /// Its security context.
    pub security_context: Option<SecurityContext>,
    /// The pod's security context.
    pub pod_security_context: Option<PodSecurityContext>,
    /// The pod's tolerations.
    pub tolerations: Vec<Toleration>,
    /// Nodes that run the image and so have it, sorted.
    pub nodes_with_image: Vec<String>,
    /// Its files, the Corefile's ConfigMap among them, sorted by path.
    pub files: Vec<MountedFiles>,
    /// Why a canary cannot stand in for a pod, if it cannot.
    pub canary_blocker: Option<String>,
}

/// The version in an image's tag, without `v`; `None` for a digest alone or a tag that is no version.
#[must_use]
pub fn version_of_image(image: &str) -> Option<String> {
    let without_digest = image.split('@').next()?;
    let last = without_digest.rsplit('/').next()?;
    let (_, tag) = last.split_once(':')?;
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let numbers = version.split(['-', '_', '+']).next()?;
    let is_version = numbers.split('.').count() >= 2
        && numbers
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()));
    is_version.then(|| version.to_owned())
}

/// The container that serves DNS: the one told where its Corefile is, else the one that is called so.
pub(crate) fn dns_container(template: &PodTemplateSpec) -> Option<&Container> {
    let containers = template.spec.as_ref()?.containers.as_slice();
    containers
        .iter()
        .find(|container| conf_argument(container).is_some())
        .or_else(|| {
            containers.iter().find(|container| {
                matches!(container.name.as_str(), "coredns" | "dns" | "kubedns")
                    || container
                        .image
                        .as_ref()
                        .is_some_and(|image| image.contains("coredns"))
            })
        })
        .or_else(|| containers.first())
}

/// The path of the Corefile: `-conf`, else `Corefile` in the working directory.
pub(super) fn corefile_path(container: &Container) -> String {
    let path = conf_argument(container).unwrap_or("Corefile");
    if path.starts_with('/') {
        return path.to_owned();
    }
    let folder = container.working_dir.as_deref().unwrap_or("/");
    format!("{}/{path}", folder.trim_end_matches('/'))
}

/// The value of `-conf`, in every way that Go's `flag` reads it.
fn conf_argument(container: &Container) -> Option<&str> {
    let words: Vec<&str> = container
        .command
        .iter()
        .chain(&container.args)
        .flatten()
        .map(String::as_str)
        .collect();
    words.iter().enumerate().find_map(|(index, word)| {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        match flag.strip_prefix("conf")? {
            "" => words.get(index + 1).copied(),
            rest => rest.strip_prefix('='),
        }
    })
}

/// The ConfigMap key behind the Corefile's path.
pub(super) fn corefile_source(
    namespace: &str,
    template: &PodTemplateSpec,
    container: &Container,
) -> Option<CorefileSource> {
    let path = corefile_path(container);
    files(template, container)
        .into_iter()
        .filter_map(|file| {
            let source = |key: &str| CorefileSource {
                namespace: namespace.to_owned(),
                config_map: file.config_map.clone(),
                key: key.to_owned(),
                path: path.clone(),
                sub_path_mount: file.sub_path.is_some(),
            };
            let relative = match &file.sub_path {
                Some(sub_path) => (file.path == path).then_some(sub_path.as_str())?,
                None => path.strip_prefix(&file.path)?.strip_prefix('/')?,
            };
            if file.items.is_empty() {
                // Keys hold no `/`: what lies deeper comes from another mount.
                return (!relative.contains('/')).then(|| (file.path.len(), source(relative)));
            }
            let item = file.items.iter().find(|item| item.path == relative)?;
            Some((file.path.len(), source(&item.key)))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, source)| source)
}

/// The files that the container gets from ConfigMaps, sorted by path.
pub(crate) fn files(template: &PodTemplateSpec, container: &Container) -> Vec<MountedFiles> {
    let mut files: Vec<MountedFiles> = mounts(template, container)
        .flat_map(|(mount, volume)| {
            let plain = volume
                .config_map
                .iter()
                .map(|map| (&map.name, &map.items, map.optional));
            let projected = volume
                .projected
                .iter()
                .flat_map(|projected| projected.sources.iter().flatten())
                .filter_map(|source| source.config_map.as_ref())
                .map(|map| (&map.name, &map.items, map.optional));
            plain
                .chain(projected)
                .map(|(name, items, optional)| MountedFiles {
                    config_map: name.clone(),
                    path: mount.mount_path.trim_end_matches('/').to_owned(),
                    items: items.clone().unwrap_or_default(),
                    sub_path: mount.sub_path.clone().filter(|path| !path.is_empty()),
                    optional: optional.unwrap_or_default(),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    files.sort_by(|a, b| (&a.path, &a.config_map).cmp(&(&b.path, &b.config_map)));
    files
}

/// Whether the container has the whole ConfigMap with the authorities for the hop, where a Corefile looks for it.
pub(super) fn has_authority(template: &PodTemplateSpec, container: &Container) -> bool {
    mounts(template, container).any(|(mount, volume)| {
        let whole = mount.sub_path.as_deref().unwrap_or_default().is_empty();
        let map = volume.config_map.as_ref();
        whole
            && mount.mount_path.trim_end_matches('/') == hop::FOLDER
            && map
                .is_some_and(|map| map.name == hop::AUTHORITY && map.items.as_ref().is_none_or(Vec::is_empty))
    })
}

/// The port on which the pods serve DNS: where the Service leads, else what the container declares, else 53.
pub(super) fn dns_port(container: Option<&Container>, service: Option<&DnsService>) -> Port {
    let declared: Vec<_> = container
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .collect();
    let target = service
        .and_then(|service| service.ports.first())
        .map(|port| &port.target);
    let number = match target {
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => declared
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port),
        None => declared
            .iter()
            .find(|port| {
                port.container_port == 53 || port.name.as_ref().is_some_and(|name| name.contains("dns"))
            })
            .map(|port| port.container_port),
    };
    number.and_then(port).unwrap_or(DNS)
}

/// The port of the metrics: the one called so, else 9153 where it is declared.
pub(super) fn metrics_port(container: Option<&Container>) -> Option<Port> {
    let declared: Vec<_> = container
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .collect();
    declared
        .iter()
        .find(|port| port.name.as_deref() == Some("metrics"))
        .or_else(|| declared.iter().find(|port| port.container_port == 9153))
        .and_then(|found| port(found.container_port))
}

fn port(number: i32) -> Option<Port> {
    u16::try_from(number).ok().and_then(Port::new)
}

/// Collects what a canary is made from.
pub(super) fn canary(
    template: &PodTemplateSpec,
    container: &Container,
    source: Option<&CorefileSource>,
    pods: &[DnsPod],
) -> CanaryTemplate {
    let spec = template.spec.clone().unwrap_or_default();
    let mut nodes: Vec<String> = pods
        .iter()
        .filter(|pod| pod.ready && !pod.node.is_empty())
        .map(|pod| pod.node.clone())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    CanaryTemplate {
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        working_dir: container.working_dir.clone(),
        env: container.env.clone().unwrap_or_default(),
        security_context: container.security_context.clone(),
        pod_security_context: spec.security_context,
        tolerations: spec.tolerations.unwrap_or_default(),
        nodes_with_image: nodes,
        files: files(template, container),
        canary_blocker: source.and_then(|_| blocker(template, container)),
    }
}

/// Why a canary in another namespace cannot stand in for a pod: what it reads is only here.
fn blocker(template: &PodTemplateSpec, container: &Container) -> Option<String> {
    let mut reasons: Vec<String> = mounts(template, container)
        .filter_map(|(mount, volume)| {
            let what = foreign_volume(volume)?;
            Some(format!("{what} at {}", mount.mount_path))
        })
        .collect();
    reasons.extend(container.env.iter().flatten().filter_map(|variable| {
        let from = variable.value_from.as_ref()?;
        let elsewhere = from.secret_key_ref.is_some() || from.config_map_key_ref.is_some();
        elsewhere.then(|| format!("the environment variable {} from another object", variable.name))
    }));
    if container.env_from.as_ref().is_some_and(|all| !all.is_empty()) {
        reasons.push("its environment from another object".to_owned());
    }
    reasons.sort_unstable();
    (!reasons.is_empty()).then(|| {
        format!(
            "container `{}` reads {}, which a canary in another namespace has not; the Corefile cannot be tried \
             before it is written",
            container.name,
            reasons.join(" and ")
        )
    })
}

/// What a volume holds that no canary can have, if anything.
fn foreign_volume(volume: &Volume) -> Option<String> {
    let secret = volume
        .secret
        .as_ref()
        .and_then(|secret| secret.secret_name.clone());
    let projected = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    let projected_secret = projected
        .filter_map(|source| source.secret.as_ref())
        .map(|secret| secret.name.clone())
        .next();
    if let Some(name) = secret.or(projected_secret) {
        return Some(format!("Secret {name}"));
    }
    if let Some(host) = &volume.host_path {
        return Some(format!("the node's {}", host.path));
    }
    let known = volume.config_map.is_some() || volume.empty_dir.is_some() || volume.projected.is_some();
    (!known).then(|| format!("volume {}", volume.name))
}

/// The container's mounts with their volumes.
fn mounts<'a>(
    template: &'a PodTemplateSpec,
    container: &'a Container,
) -> impl Iterator<Item = (&'a VolumeMount, &'a Volume)> {
    let volumes = template
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    container.volume_mounts.iter().flatten().filter_map(move |mount| {
        volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .map(|volume| (mount, volume))
    })
}

#[cfg(test)]
mod tests {
    use super::version_of_image;

    #[test]
    fn versions_are_read_from_tags_whatever_surrounds_them() {
        for (image, version) in [
            ("registry.k8s.io/coredns/coredns:v1.14.7", Some("1.14.7")),
            ("localhost:5000/coredns:1.13.1", Some("1.13.1")),
            ("coredns/coredns:v1.14.7@sha256:0123", Some("1.14.7")),
            (
                "602401143452.dkr.ecr.example/eks/coredns:v1.11.4-eksbuild.2",
                Some("1.11.4-eksbuild.2"),
            ),
            ("localhost:5000/coredns", None),
            ("coredns/coredns@sha256:0123", None),
            ("coredns/coredns:latest", None),
            ("", None),
        ] {
            assert_eq!(version_of_image(image).as_deref(), version, "{image}");
        }
    }
}
