//! By which channel a platform's DNS may be changed.

use tsutsumi_providers::coredns::corefile::Corefile;

use super::{Marks, Platform, Subject};
use crate::{
    cluster::{self, Cluster},
    target,
};

/// The ending of the files that are imported into a server block.
const OVERRIDE: &str = "*.override";

/// The key that we own in a ConfigMap whose other keys are somebody else's.
const OUR_KEY: &str = "tsutsumi.override";

/// How cluster DNS may be changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Channel {
    /// The Corefile is ours to edit.
    WholeCorefile,
    /// The platform owns the Corefile, which imports files from another ConfigMap.
    Custom {
        /// The namespace of that ConfigMap.
        namespace: String,
        /// Its name, such as `coredns-custom`.
        config_map: String,
        /// Whether it is there; the Corefile imports it only then.
        exists: bool,
        /// The key to write.
        override_key: String,
        /// The pattern that the Corefile imports.
        pattern: String,
        /// Server blocks that do not import it, by their keys: nothing can be added to them.
        uncovered: Vec<String>,
    },
    /// Nothing may be written.
    AuditOnly {
        /// Why not.
        reason: String,
        /// What to set instead, and where.
        advice: String,
    },
}

impl Channel {
    fn audit(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::AuditOnly {
            reason: reason.into(),
            advice: advice.into(),
        }
    }
}

/// The channel of a platform.
pub(super) fn of(platform: Platform, cluster: &Cluster, subject: &Subject<'_>, marks: &Marks<'_>) -> Channel {
    match platform {
        Platform::Kubeadm | Platform::SelfManaged => whole(cluster, subject),
        Platform::K3s => custom(platform, cluster, subject).unwrap_or_else(|problem| {
            Channel::audit(
                format!("K3s writes its Corefile at every start of a server, and {problem}"),
                "update K3s to a release of May 2023 or later, or start the servers with `--disable=coredns` and \
                 run your own CoreDNS, which spec.targetRef names",
            )
        }),
        Platform::Aks => custom(platform, cluster, subject).unwrap_or_else(|problem| {
            Channel::audit(
                format!("AKS puts its Corefile back within seconds, and {problem}"),
                "ask for a CoreDNS add-on that imports coredns-custom (`az aks upgrade`), and restrict port 53 of \
                 the DNS pods with a NetworkPolicy until then",
            )
        }),
        Platform::Gardener => custom(platform, cluster, subject).unwrap_or_else(|problem| {
            Channel::audit(
                format!("Gardener puts its Corefile back, and {problem}"),
                "reconcile the Shoot so that its Corefile imports coredns-custom, and restrict port 53 of the DNS \
                 pods with a NetworkPolicy until then",
            )
        }),
        Platform::Eks => Channel::audit(
            "the EKS add-on owns the Corefile and puts it back",
            "set `corefile` in the add-on's configuration values (`aws eks update-addon --addon-name coredns \
             --configuration-values`), or remove the add-on with `--preserve` and run CoreDNS yourself",
        ),
        Platform::Rke2 => Channel::audit(
            "RKE2 renders the Corefile from its chart rke2-coredns and puts it back",
            "write a HelmChartConfig kube-system/rke2-coredns whose `valuesContent` sets `servers` with the plugins \
             acl and bufsize",
        ),
        Platform::OpenShift => Channel::audit(
            "the DNS operator of OpenShift renders the Corefile and puts it back",
            "set what the object `dns.operator.openshift.io/default` offers (spec.upstreamResolvers, spec.servers), \
             and limit clients with a NetworkPolicy; the operator's template has `bufsize 1232` already and offers \
             no acl",
        ),
        Platform::Gke => Channel::audit(
            "GKE serves DNS by kube-dns or Cloud DNS, which read no Corefile",
            "send names upstream through `upstreamNameservers` of ConfigMap kube-system/kube-dns, and limit clients \
             with a NetworkPolicy; a limit by address and a message size cannot be set there",
        ),
        Platform::Unknown => Channel::audit(
            "it is not certain who writes this Corefile",
            marks.foreign_owner().unwrap_or_else(|| {
                "the nodes are a vendor's; set the plugins acl and bufsize where that vendor keeps the Corefile, or \
                 run your own CoreDNS in another namespace, which spec.targetRef names"
                    .to_owned()
            }),
        ),
    }
}

/// The whole Corefile, unless its ConfigMap cannot change.
fn whole(cluster: &Cluster, subject: &Subject<'_>) -> Channel {
    let frozen = subject
        .source
        .filter(|source| {
            cluster
                .config_map(&source.namespace, &source.config_map)
                .is_some_and(|map| map.immutable == Some(true))
        })
        .map(|source| format!("{}/{}", source.namespace, source.config_map));
    match frozen {
        Some(name) => Channel::audit(
            format!("ConfigMap {name} is immutable"),
            "put the Corefile into a ConfigMap without `immutable: true` and mount that one",
        ),
        None => Channel::WholeCorefile,
    }
}

/// The channel through a custom ConfigMap, or what stands in its way.
fn custom(platform: Platform, cluster: &Cluster, subject: &Subject<'_>) -> Result<Channel, String> {
    let text = subject.corefile.ok_or("its Corefile cannot be read")?;
    let corefile = Corefile::parse(text)
        .map_err(|error| format!("its Corefile is not one that CoreDNS reads ({error})"))?;
    let folder = subject
        .source
        .and_then(|source| source.path.rsplit_once('/'))
        .map_or_else(String::new, |(folder, _)| folder.to_owned());
    let imports = |pattern: &str| {
        let absolute = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{folder}/{pattern}")
        };
        absolute
            .strip_suffix(OVERRIDE)
            .and_then(|path| path.strip_suffix('/'))
            .map(str::to_owned)
    };
    let mut found = None;
    let mut uncovered = Vec::new();
    for block in corefile.blocks() {
        let import = block
            .imports()
            .iter()
            .filter(|import| !import.nested)
            .find_map(|import| imports(&import.pattern).map(|path| (import.pattern.clone(), path)));
        match import {
            Some(import) => {
                found.get_or_insert(import);
            }
            None => uncovered.push(block.keys().join(" ")),
        }
    }
    let (pattern, path) =
        found.ok_or_else(|| format!("this one imports no `{OVERRIDE}` files into a server block"))?;

    let container = target::dns_container(subject.template).ok_or("it has no container")?;
    let config_map = target::mounted_files(subject.template, container)
        .into_iter()
        .find(|file| file.path == path && file.sub_path.is_none() && file.items.is_empty())
        .ok_or_else(|| format!("no ConfigMap is mounted at {path}, from where it imports"))?
        .config_map;
    let namespace = cluster::namespace(subject.meta).to_owned();
    // Another ConfigMap than the documented one may be the platform's own, which it would put back.
    if config_map != "coredns-custom" {
        return Err(format!(
            "ConfigMap {config_map} at {path} is not the one that {platform} leaves to users"
        ));
    }
    let exists = cluster.config_map(&namespace, &config_map).is_some();
    Ok(Channel::Custom {
        namespace,
        config_map,
        exists,
        override_key: OUR_KEY.to_owned(),
        pattern,
        uncovered,
    })
}
