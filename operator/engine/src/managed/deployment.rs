//! The pods: Unbound as any user, with nothing to write but a folder in memory, behind a container that checks the
//! configuration first.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use serde_json::{Value, from_value, json};
use tsutsumi_providers::coredns::nsid::Nsid;

use super::{CONFIG, Wish, config};

/// As in the images of the project's other parts.
const USER: u32 = 65532;
/// How long a pod that ends still answers, in seconds: until every node's proxy has taken it out of the Service.
const LINGER: u32 = 8;

/// The Deployment. It rolls without ever taking a pod that serves away before another does.
pub(super) fn deployment(
    wish: &Wish<'_>,
    config: &ConfigMap,
    identity: &Nsid,
) -> Result<Deployment, serde_json::Error> {
    let mut labels = wish.labels();
    labels.insert(CONFIG.to_owned(), identity.to_string());
    let container = |name: &str, command: Value| {
        json!({
            "name": name,
            "image": wish.offer.image,
            "imagePullPolicy": wish.offer.pull_policy,
            "command": command,
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": "512Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
            },
            // What a check says is how a person learns what is wrong.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                {"name": "config", "mountPath": config::FOLDER, "readOnly": true},
                {"name": "run", "mountPath": config::RUN},
            ],
        })
    };
    let file = format!("{}/{}", config::FOLDER, config::MAIN);
    let check = container("check", json!(["unbound-checkconf", file]));
    let mut unbound = container("unbound", json!(["unbound", "-d", "-c", file]));
    unbound["ports"] = json!([
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
    ]);
    unbound["readinessProbe"] = json!({
        "exec": {"command": ["unbound-control", "-q", "-c", file, "status"]},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
    });
    unbound["livenessProbe"] = json!({
        "tcpSocket": {"port": "dns-tcp"},
        "periodSeconds": 10,
        "timeoutSeconds": 3,
        "failureThreshold": 6,
    });
    unbound["lifecycle"] = json!({"preStop": {"sleep": {"seconds": LINGER}}});
    let apart = json!({"matchLabels": wish.selector()});
    from_value(json!({
        "metadata": wish.meta(wish.name()),
        "spec": {
            "replicas": wish.offer.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": wish.selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 100,
                        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": apart},
                    }]}},
                    "automountServiceAccountToken": false,
                    "containers": [unbound],
                    // It asks addresses only, and must start when cluster DNS does not answer.
                    "dnsPolicy": "Default",
                    "enableServiceLinks": false,
                    "initContainers": [check],
                    "securityContext": {
                        "fsGroup": USER,
                        "runAsGroup": USER,
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                        // Any user may open port 53; the sysctl is one of the safe ones.
                        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "53"}],
                    },
                    "terminationGracePeriodSeconds": LINGER + 7,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "topology.kubernetes.io/zone",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": apart,
                    }],
                    "volumes": [
                        {"name": "config", "configMap": {"name": config.metadata.name, "defaultMode": 0o444}},
                        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                    ],
                },
            },
        },
    }))
}
