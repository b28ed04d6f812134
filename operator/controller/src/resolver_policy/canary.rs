//! Runs a Corefile beside the cluster's DNS before the live ConfigMap is touched.
//!
//! Two pods of the cluster's own CoreDNS image in our namespace: first the present text, then the candidate. The
//! candidate must answer no worse. The pods hold no state: what they show decides, and after a crash the next reconcile
//! finds them again by the hash of the text in their names.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Pod};
use serde_json::json;
use sha2::{Digest, Sha256};
use tsutsumi_engine::{
    cluster::{self, Cluster},
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
        Self(
            target
                .template
                .files
                .iter()
                .map(mount)
                .filter(|mount| !mount.texts.is_empty())
                .collect(),
        )
    }

    /// The name of the canary's pod and ConfigMap.
    pub(crate) fn name(&self, role: Role) -> String {
        let mut hash = Sha256::new();
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
pub(crate) fn config_map(files: &Files, role: Role, policy: &str) -> ConfigMap {
    let data = files.0.iter().enumerate().flat_map(|(mount, mounted)| {
        mounted
            .texts
            .values()
            .enumerate()
            .map(move |(file, text)| (Files::key(mount, file), text.clone()))
    });
    ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some(files.name(role)),
            labels: Some(BTreeMap::from([(LABEL.to_owned(), policy.to_owned())])),
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
    policy: &str,
    target: &Target,
    service_account: &str,
) -> Result<Pod, serde_json::Error> {
    let name = files.name(role);
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
            "labels": {
                LABEL: policy,
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
    fn names_tell_texts_and_roles_apart() {
        let (one, two) = (files(". {\n}\n"), files(". {\n\n}\n"));
        assert_ne!(one.name(Role::Candidate), two.name(Role::Candidate));
        assert_ne!(one.name(Role::Candidate), one.name(Role::Present));
        assert_eq!(one.name(Role::Present), files(". {\n}\n").name(Role::Present));
    }

    #[test]
    fn a_canary_is_restricted_ends_by_itself_and_finds_its_files() {
        let target: Target = target();
        let files = files(". {\n}\n");
        let pod = pod(&files, Role::Candidate, "town", &target, "tsutsumi-canary").unwrap();
        let map = config_map(&files, Role::Candidate, "town");
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
            platform: Platform::Kubeadm,
            channel: Channel::WholeCorefile,
            warnings: vec![],
        }
    }
}
