//! Runs a Corefile beside the cluster's DNS before the live ConfigMap is touched.
//!
//! Two pods of the cluster's own CoreDNS image in our namespace: first the present text, then the candidate. The
//! candidate must answer no worse. The pods hold no state: what they show decides, and after a crash the next reconcile
//! finds them again by the hash of the text in their names.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, KeyToPath, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use sha2::{Digest, Sha256};
use tsutsumi_api::ResolverPolicy;
use tsutsumi_engine::{
    cluster::{self, Cluster},
    managed::hop,
    resolver::plan::Slot,
    target::{MountedFiles, Target},
};

/// Which of the two texts a canary runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// The text that is live.
    Present,
    /// The text that should replace it.
    Candidate,
}

impl Role {
    /// As it stands in the pod's name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Candidate => "candidate",
        }
    }
}

/// Everything that a canary reads: the mounts of the serving pods, with the texts in them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Files(Vec<Mount>);

/// One mount with its files.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mount {
    path: String,
    sub_path: Option<String>,
    texts: BTreeMap<String, String>,
}

impl Files {
    /// The files of the serving pods, with `text` where the slot's text stands.
    pub(crate) fn of(target: &Target, cluster: &Cluster, slot: &Slot, text: &str) -> Self {
        let mount = |files: &MountedFiles| {
            let is_slot = files.config_map == slot.config_map && target.workload.namespace == slot.namespace;
            let mut data = cluster
                .config_map(&target.workload.namespace, &files.config_map)
                .and_then(|config_map| config_map.data.clone())
                .unwrap_or_default();
            if is_slot {
                data.insert(slot.key.clone(), text.to_owned());
            }
            let texts = if files.items.is_empty() {
                data
            } else {
                let item = |item: &KeyToPath| Some((item.path.clone(), data.get(&item.key)?.clone()));
                files.items.iter().filter_map(item).collect()
            };
            Mount {
                path: files.path.clone(),
                sub_path: files.sub_path.clone(),
                texts,
            }
        };
        let mut mounts: Vec<_> = target
            .template
            .files
            .iter()
            .map(mount)
            .filter(|mount| !mount.texts.is_empty())
            .collect();
        // Pods that serve have it still where the template has lost it, and without it the text would not load.
        if hop::needs_authority(text) && !mounts.iter().any(|mount| mount.path == hop::FOLDER) {
            mounts.push(mount(&MountedFiles {
                config_map: hop::AUTHORITY.to_owned(),
                path: hop::FOLDER.to_owned(),
                items: Vec::new(),
                sub_path: None,
                optional: true,
            }));
        }
        Self(mounts)
    }

    /// The name of the canary's pod and ConfigMap: no other policy's, since each removes its own only.
    pub(crate) fn name(&self, role: Role, policy: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(policy.len().to_be_bytes());
        hash.update(policy);
        for mount in &self.0 {
            let parts = [&mount.path]
                .into_iter()
                .chain(mount.texts.iter().flat_map(|(name, text)| [name, text]));
            for part in parts {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        let hash = hash
            .finalize()
            .iter()
            .take(6)
            .fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        format!("tsutsumi-canary-{}-{hash:012x}", role.as_str())
    }

    /// The key of a file in the canary's one ConfigMap.
    fn key(mount: usize, file: usize) -> String {
        format!("{mount}.{file}")
    }
}

/// The label that marks everything of a canary; its value is the policy.
pub(crate) const LABEL: &str = "tsutsumi.dev/canary";
/// A canary that nobody looks at any more ends by itself, in seconds.
const DEADLINE: i64 = 300;

/// Whether a pod is a canary of the policy that is not on its way out yet.
pub(crate) fn is_of(pod: &cluster::Pod, own_namespace: &str, policy: &str) -> bool {
    pod.label(LABEL) == Some(policy)
        && pod.metadata.namespace.as_deref() == Some(own_namespace)
        && pod.metadata.deletion_timestamp.is_none()
}

/// The ConfigMap with the canary's files.
pub(crate) fn config_map(files: &Files, role: Role, policy: &ResolverPolicy) -> ConfigMap {
    let of = policy.name_any();
    let data = files.0.iter().enumerate().flat_map(|(mount, mounted)| {
        mounted
            .texts
            .values()
            .enumerate()
            .map(move |(file, text)| (Files::key(mount, file), text.clone()))
    });
    ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some(files.name(role, &of)),
            labels: Some(BTreeMap::from([(LABEL.to_owned(), of)])),
            owner_references: owners(policy),
            ..Default::default()
        },
        data: Some(data.collect()),
        ..Default::default()
    }
}

/// The canary's pod: the image that serves, restricted in everything that an admission policy pins.
pub(crate) fn pod(
    files: &Files,
    role: Role,
    policy: &ResolverPolicy,
    target: &Target,
    service_account: &str,
) -> Result<Pod, serde_json::Error> {
    let of = policy.name_any();
    let name = files.name(role, &of);
    let volume = |(mount, mounted): (usize, &Mount)| {
        let items: Vec<_> = mounted
            .texts
            .keys()
            .enumerate()
            .map(|(file, path)| json!({ "key": Files::key(mount, file), "path": path }))
            .collect();
        json!({ "name": format!("files-{mount}"), "configMap": { "name": name, "items": items } })
    };
    let volumes: Vec<_> = files.0.iter().enumerate().map(volume).collect();
    let mount = |(mount, mounted): (usize, &Mount)| {
        json!({
            "name": format!("files-{mount}"),
            "mountPath": mounted.path,
            "subPath": mounted.sub_path,
            "readOnly": true,
        })
    };
    let mounts: Vec<_> = files.0.iter().enumerate().map(mount).collect();
    let template = &target.template;
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "ownerReferences": owners(policy),
            "labels": {
                LABEL: of,
                "app.kubernetes.io/name": "tsutsumi",
                "app.kubernetes.io/component": "canary",
            },
        },
        "spec": {
            "serviceAccountName": service_account,
            "dnsPolicy": "Default",
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE,
            "terminationGracePeriodSeconds": 1,
            "affinity": same_nodes(target),
            "tolerations": template.tolerations,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
                "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "53" }],
            },
            "containers": [{
                "name": "coredns",
                "image": template.image,
                "command": template.command,
                "imagePullPolicy": "IfNotPresent",
                "args": template.args,
                "env": template.env,
                "workingDir": template.working_dir,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": { "limits": { "memory": "170Mi" }, "requests": { "cpu": "10m", "memory": "30Mi" } },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
                },
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    }))
}

/// Whatever becomes of us, the cluster removes a canary together with its policy.
fn owners(policy: &ResolverPolicy) -> Option<Vec<OwnerReference>> {
    policy.owner_ref(&()).map(|owner| vec![owner])
}

/// A node that runs cluster DNS has its image.
fn same_nodes(target: &Target) -> serde_json::Value {
    let nodes = &target.template.nodes_with_image;
    if nodes.is_empty() {
        return serde_json::Value::Null;
    }
    let term = json!({ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": nodes }] });
    json!({
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": term }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        Files(vec![Mount {
            path: "/etc/coredns".into(),
            sub_path: None,
            texts: [("Corefile".to_owned(), text.to_owned())].into(),
        }])
    }

    #[test]
    fn names_tell_texts_roles_and_policies_apart() {
        let (one, two) = (files(". {\n}\n"), files(". {\n\n}\n"));
        let name = one.name(Role::Candidate, "town");
        assert_ne!(name, two.name(Role::Candidate, "town"));
        assert_ne!(name, one.name(Role::Present, "town"));
        assert_ne!(name, one.name(Role::Candidate, "port"));
        assert_eq!(name, files(". {\n}\n").name(Role::Candidate, "town"));
    }

    #[test]
    fn a_canary_is_restricted_ends_by_itself_and_finds_its_files() {
        let target: Target = target();
        let files = files(". {\n}\n");
        let policy: ResolverPolicy = serde_json::from_value(json!({
            "apiVersion": "tsutsumi.dev/v1alpha1",
            "kind": "ResolverPolicy",
            "metadata": { "name": "town", "uid": "1-2-3" },
            "spec": { "mode": "Enforce" },
        }))
        .unwrap();
        let pod = pod(&files, Role::Candidate, &policy, &target, "tsutsumi-canary").unwrap();
        let map = config_map(&files, Role::Candidate, &policy);
        for metadata in [&pod.metadata, &map.metadata] {
            let owner = &metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!(
                (owner.kind.as_str(), owner.uid.as_str()),
                ("ResolverPolicy", "1-2-3")
            );
        }
        let spec = pod.spec.unwrap();
        assert_eq!(
            (spec.service_account_name.as_deref(), spec.active_deadline_seconds),
            (Some("tsutsumi-canary"), Some(300))
        );
        assert_eq!(spec.security_context.unwrap().run_as_non_root, Some(true));
        let security = spec.containers[0].security_context.clone().unwrap();
        assert_eq!(
            (
                security.read_only_root_filesystem,
                security.allow_privilege_escalation
            ),
            (Some(true), Some(false))
        );
        let source = spec.volumes.unwrap()[0].config_map.clone().unwrap();
        let item = source.items.unwrap().remove(0);
        assert_eq!(
            (source.name, item.path.as_str()),
            (map.metadata.name.unwrap(), "Corefile")
        );
        assert_eq!(map.data.unwrap()[&item.key], ". {\n}\n");
    }

    #[test]
    fn a_text_that_names_the_authorities_finds_them_though_the_template_has_lost_them() {
        let slot = Slot {
            namespace: "kube-system".into(),
            config_map: "coredns".into(),
            key: "Corefile".into(),
        };
        let mut cluster = Cluster::default();
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": { "namespace": "kube-system", "name": hop::AUTHORITY },
            "data": { "0a.crt": "PEM" },
        }))
        .unwrap();
        cluster.config_maps.push(map.into());
        let text = format!(
            ".:53 {{\n forward . tls://192.0.2.1:853 {{\n  tls_servername r.test\n  tls {}/0a.crt\n }}\n}}\n",
            hop::FOLDER
        );
        let files = Files::of(&target(), &cluster, &slot, &text);
        assert_eq!(files.0.last().map(|mount| mount.path.as_str()), Some(hop::FOLDER));
        assert_eq!(files.0.last().unwrap().texts["0a.crt"], "PEM");
        assert_eq!(
            Files::of(&target(), &cluster, &slot, ".:53 {\n}\n"),
            Files::default()
        );
    }

    fn target() -> Target {
        use tsutsumi_engine::{
            platform::{Channel, Platform},
            target::{CanaryTemplate, Workload},
        };
        Target {
            workload: Workload {
                kind: tsutsumi_api::resolver_policy::WorkloadKind::Deployment,
                namespace: "kube-system".into(),
                name: "coredns".into(),
            },
            service: None,
            config_map: None,
            corefile: None,
            pods: vec![],
            template: CanaryTemplate {
                image: "coredns:1".into(),
                ..CanaryTemplate::default()
            },
            image_version: None,
            has_authority: false,
            platform: Platform::Kubeadm,
            channel: Channel::WholeCorefile,
            warnings: vec![],
        }
    }
}
