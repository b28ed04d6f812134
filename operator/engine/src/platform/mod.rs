//! Who runs this cluster's DNS, told from the objects themselves.
//!
//! A mark on the workload or on its ConfigMap outweighs one on the nodes, because anybody may run a CoreDNS of their
//! own on a managed cluster. Where marks are missing or of an unknown owner, the platform is [`Platform::Unknown`]
//! and nothing is written.

mod channel;

use std::fmt;

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use crate::{
    cluster::{self, Cluster},
    target::CorefileSource,
};

pub use channel::Channel;

/// The prefix of what Rancher's apply library writes on objects (rancher/wrangler).
const RANCHER: &str = "objectset.rio.cattle.io/";

/// Who runs the cluster's DNS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Platform {
    /// Azure Kubernetes Service.
    Aks,
    /// Amazon EKS.
    Eks,
    /// Gardener.
    Gardener,
    /// Google Kubernetes Engine.
    Gke,
    /// K3s, with the CoreDNS that it brings.
    K3s,
    /// kubeadm, with the CoreDNS that it installs.
    Kubeadm,
    /// OpenShift.
    OpenShift,
    /// RKE2, with the CoreDNS that it brings.
    Rke2,
    /// A CoreDNS that the cluster's administrator runs: a Helm chart or manifests.
    SelfManaged,
    /// None of these for certain.
    Unknown,
}

impl Platform {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aks => "AKS",
            Self::Eks => "EKS",
            Self::Gardener => "Gardener",
            Self::Gke => "GKE",
            Self::K3s => "K3s",
            Self::Kubeadm => "kubeadm",
            Self::OpenShift => "OpenShift",
            Self::Rke2 => "RKE2",
            Self::SelfManaged => "self-managed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is judged: the workload and its Corefile.
pub(crate) struct Subject<'a> {
    /// The workload.
    pub(crate) meta: &'a ObjectMeta,
    /// Its pod template.
    pub(crate) template: &'a PodTemplateSpec,
    /// Where its Corefile is.
    pub(crate) source: Option<&'a CorefileSource>,
    /// The Corefile.
    pub(crate) corefile: Option<&'a str>,
}

/// The judgement.
pub(crate) struct Judged {
    /// Who runs it.
    pub(crate) platform: Platform,
    /// How it may be changed.
    pub(crate) channel: Channel,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

/// Recognises the platform and says by which channel its DNS may be changed.
pub(crate) fn recognise(cluster: &Cluster, subject: &Subject<'_>) -> Judged {
    let marks = Marks::read(cluster, subject);
    let platform = marks.platform();
    let channel = channel::of(platform, cluster, subject, &marks);
    let warnings = match channel {
        Channel::WholeCorefile => warnings(&marks),
        Channel::Custom { .. } | Channel::AuditOnly { .. } => Vec::new(),
    };
    Judged {
        platform,
        channel,
        warnings,
    }
}

/// What the objects show.
pub(crate) struct Marks<'a> {
    /// The workload, then its ConfigMap where there is one.
    objects: Vec<&'a ObjectMeta>,
    nodes: Vec<&'a ObjectMeta>,
    kubelets: Vec<&'a str>,
    system: bool,
    infos: Infos,
}

/// What stands beside the workload.
struct Infos {
    kubeadm: bool,
    gardener: bool,
    talos: bool,
}

impl<'a> Marks<'a> {
    fn read(cluster: &'a Cluster, subject: &Subject<'a>) -> Self {
        let map = subject
            .source
            .and_then(|source| cluster.config_map(&source.namespace, &source.config_map));
        let node_infos: Vec<_> = cluster
            .nodes
            .iter()
            .filter_map(|node| node.status.as_ref()?.node_info.as_ref())
            .collect();
        let namespace = cluster::namespace(subject.meta);
        Self {
            objects: std::iter::once(subject.meta)
                .chain(map.map(|map| &map.metadata))
                .collect(),
            nodes: cluster.nodes.iter().map(|node| &node.metadata).collect(),
            kubelets: node_infos
                .iter()
                .map(|info| info.kubelet_version.as_str())
                .collect(),
            system: namespace == "kube-system",
            infos: Infos {
                kubeadm: namespace == "kube-system"
                    && cluster::name(subject.meta) == "coredns"
                    && cluster.config_map("kube-system", "kubeadm-config").is_some(),
                gardener: cluster.config_map("kube-system", "shoot-info").is_some(),
                talos: node_infos.iter().any(|info| info.os_image.starts_with("Talos")),
            },
        }
    }

    /// The order is from the surest mark to the weakest.
    fn platform(&self) -> Platform {
        if self.owned_by("operator.openshift.io", "DNS") || self.object_key("dns.operator.openshift.io/") {
            return Platform::OpenShift;
        }
        if self.manager("eks") || self.object_key("eks.amazonaws.com/") {
            return Platform::Eks;
        }
        if self.object_key(RANCHER) {
            return self.of_rancher();
        }
        if self.object_label("app.kubernetes.io/name") == Some("rke2-coredns")
            || self
                .object_label("helm.sh/chart")
                .is_some_and(|chart| chart.starts_with("rke2-coredns"))
        {
            return Platform::Rke2;
        }
        if self.object_label("resources.gardener.cloud/managed-by").is_some()
            || (self.system && (self.infos.gardener || self.node_key("worker.gardener.cloud/")))
        {
            return Platform::Gardener;
        }
        if self.object_key("kubernetes.azure.com/") || (self.system && self.node_key("kubernetes.azure.com/"))
        {
            return Platform::Aks;
        }
        if self.system && (self.node_key("cloud.google.com/gke-") || self.kubelet("-gke.")) {
            return Platform::Gke;
        }
        if self.system && (self.node_key("eks.amazonaws.com/") || self.kubelet("-eks-")) && !self.packaged() {
            return Platform::Eks;
        }
        if self.foreign_owner().is_some() {
            return Platform::Unknown;
        }
        if self.packaged() {
            return Platform::SelfManaged;
        }
        if self.infos.kubeadm {
            return Platform::Kubeadm;
        }
        if self.system && self.kubelets.iter().any(|version| is_vendors(version)) {
            return Platform::Unknown;
        }
        Platform::SelfManaged
    }

    /// K3s and RKE2 apply what they bring as sets of objects, and so does Rancher's Fleet on any cluster.
    fn of_rancher(&self) -> Platform {
        let owner = |meta: &ObjectMeta| {
            cluster::annotation(meta, "objectset.rio.cattle.io/owner-gvk")
                .is_some_and(|kind| kind.starts_with("k3s.cattle.io/"))
        };
        let addon = self.objects.iter().any(|meta| owner(meta));
        if self.kubelet("+rke2") {
            Platform::Rke2
        } else if addon || self.kubelet("+k3s") {
            Platform::K3s
        } else {
            Platform::Unknown
        }
    }

    /// Who else writes these objects, in words, if it is nobody known here.
    fn foreign_owner(&self) -> Option<String> {
        if self.object_label("addon.kops.k8s.io/name").is_some() {
            return Some(
                "kops renders it; set spec.kubeDNS.externalCoreFile in the cluster's specification".into(),
            );
        }
        if let Some(mode) = self.object_label("addonmanager.kubernetes.io/mode") {
            return Some(format!(
                "the addon manager keeps it (mode {mode}); take the label addonmanager.kubernetes.io/mode and the \
                 manifest on the control plane away, or change the manifest there"
            ));
        }
        if self.object_key(RANCHER) {
            return Some(
                "Rancher applies it as part of a set of objects; change the configuration in that set".into(),
            );
        }
        let owner = self
            .objects
            .iter()
            .flat_map(|meta| meta.owner_references.iter().flatten())
            .next();
        if let Some(owner) = owner {
            return Some(format!(
                "{} {} ({}) owns it; change the DNS configuration there",
                owner.kind, owner.name, owner.api_version
            ));
        }
        let manager = self.object_label("app.kubernetes.io/managed-by")?;
        let known = ["helm", "kustomize", "kubectl", "terraform", "flux", "argocd"];
        (!known.contains(&manager.to_ascii_lowercase().as_str())).then(|| {
            format!("the label app.kubernetes.io/managed-by says that {manager} writes it; change the configuration there")
        })
    }

    /// Whether an administrator's own tool installed it.
    fn packaged(&self) -> bool {
        self.helm_release().is_some() || self.gitops().is_some()
    }

    fn helm_release(&self) -> Option<&'a str> {
        self.objects.iter().find_map(|meta| {
            cluster::annotation(meta, "meta.helm.sh/release-name").or_else(|| {
                let by_helm = cluster::label(meta, "app.kubernetes.io/managed-by") == Some("Helm")
                    || cluster::label(meta, "helm.sh/chart").is_some();
                by_helm.then(|| cluster::label(meta, "app.kubernetes.io/instance").unwrap_or("coredns"))
            })
        })
    }

    fn gitops(&self) -> Option<&'static str> {
        [
            ("argocd.argoproj.io/", "Argo CD"),
            ("kustomize.toolkit.fluxcd.io/", "Flux"),
            ("helm.toolkit.fluxcd.io/", "Flux"),
        ]
        .into_iter()
        .find(|(prefix, _)| self.object_key(prefix))
        .map(|(_, name)| name)
    }

    fn object_key(&self, prefix: &str) -> bool {
        self.objects
            .iter()
            .any(|meta| cluster::marks(meta).any(|key| key.starts_with(prefix)))
    }

    fn object_label(&self, key: &str) -> Option<&'a str> {
        self.objects.iter().find_map(|meta| cluster::label(meta, key))
    }

    fn node_key(&self, prefix: &str) -> bool {
        self.nodes
            .iter()
            .any(|meta| cluster::marks(meta).any(|key| key.starts_with(prefix)))
    }

    fn kubelet(&self, part: &str) -> bool {
        self.kubelets.iter().any(|version| version.contains(part))
    }

    fn manager(&self, name: &str) -> bool {
        let entries = self
            .objects
            .iter()
            .flat_map(|meta| meta.managed_fields.iter().flatten());
        entries
            .into_iter()
            .any(|entry| entry.manager.as_deref() == Some(name))
    }

    fn owned_by(&self, group: &str, kind: &str) -> bool {
        let owners = self
            .objects
            .iter()
            .flat_map(|meta| meta.owner_references.iter().flatten());
        owners
            .into_iter()
            .any(|owner| owner.kind == kind && owner.api_version.starts_with(group))
    }
}

/// Whether a kubelet's version carries a vendor's mark; a pre-release of Kubernetes does not count, nor do the two
/// distributions whose own CoreDNS is told by its marks.
fn is_vendors(version: &str) -> bool {
    let numbers = version.trim_start_matches('v');
    let rest = numbers.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let own = ["-alpha.", "-beta.", "-rc.", "+k3s", "+rke2"];
    !rest.is_empty() && !own.iter().any(|known| rest.starts_with(known))
}

/// What the user should know although the Corefile may be written.
fn warnings(marks: &Marks<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if marks.infos.kubeadm {
        // kubernetes/kubernetes cmd/kubeadm/app/phases/upgrade/health.go and the checks named there.
        warnings.push(
            "the next `kubeadm upgrade` stops in its preflight checks, because its Corefile migration does not know \
             the plugins acl, bufsize and nsid; go on with `kubeadm upgrade apply VERSION \
             --ignore-preflight-errors=CoreDNSUnsupportedPlugins,CoreDNSMigration`, which keeps this Corefile, or \
             from Kubernetes 1.32 on with `kubeadm upgrade apply VERSION --skip-phases=addon/coredns`, which leaves \
             CoreDNS as it is"
                .to_owned(),
        );
    }
    if let Some(release) = marks.helm_release() {
        warnings.push(format!(
            "the Helm release {release} puts its own Corefile back at the next `helm upgrade`; take the same \
             directives over into its value `servers`"
        ));
    }
    if let Some(tool) = marks.gitops() {
        warnings.push(format!(
            "{tool} puts back what its repository says; take the same directives over there, or exclude the \
             Corefile from its comparison"
        ));
    }
    if marks.infos.talos {
        warnings.push(
            "`talosctl upgrade-k8s` applies the bootstrap manifests again, the Corefile among them; run your own \
             CoreDNS with `cluster.coreDNS.disabled: true` to keep the text across upgrades"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
