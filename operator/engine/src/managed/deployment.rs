//! The pods: Unbound as any user, with nothing to write but a folder in memory, behind a container that checks the
//! configuration first and beside one that tells Unbound's numbers.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use serde_json::{Value, from_value, json};
use tsutsumi_providers::{coredns::nsid::Nsid, unbound::profile::CONTROL_SOCKET};

use super::{CONFIG, Wish, config, hop, service::ADMIN};

/// As in the images of the project's other parts.
const USER: u32 = 65532;
/// How long a pod that ends still answers, in seconds: until every node's proxy has taken it out of the Service, and then until
/// no node's kernel remembers a question that went to it. The kernel remembers for 30 s (`nf_conntrack_udp_timeout`), and sends
/// what comes from the same port meanwhile to the same pod; CoreDNS takes a random port for each question.
const LINGER: u32 = 40;

/// The Deployment. It rolls without ever taking a pod that serves away before another does.
pub(super) fn deployment(
    wish: &Wish<'_>,
    config: &ConfigMap,
    identity: &Nsid,
) -> Result<Deployment, serde_json::Error> {
    let mut labels = wish.labels();
    labels.insert(CONFIG.to_owned(), identity.to_string());
    let placement = &wish.offer.placement;
    let (volumes, mounts) = files(wish, config);
    let container = |name: &str, command: Value| {
        json!({
            "name": name,
            "image": wish.offer.image,
            "imagePullPolicy": wish.offer.pull_policy,
            "command": command,
            "resources": placement.resources.as_ref().map_or_else(usual_resources, |given| json!(given)),
            "securityContext": restricted(),
            // What a check says is how a person learns what is wrong.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        })
    };
    let file = format!("{}/{}", config::FOLDER, config::MAIN);
    let check = container("check", json!(["unbound-checkconf", file]));
    let mut unbound = container("unbound", json!(["unbound", "-d", "-c", file]));
    unbound["ports"] = ports(wish);
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
    let containers: Vec<Value> = [unbound]
        .into_iter()
        .chain(
            wish.offer
                .metrics_image
                .as_deref()
                .map(|image| metrics(wish, image)),
        )
        .collect();
    let apart = json!({"matchLabels": wish.selector()});
    let mut deployment: Deployment = from_value(json!({
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
                    "containers": containers,
                    // It asks addresses only, and must start when cluster DNS does not answer.
                    "dnsPolicy": "Default",
                    "enableServiceLinks": false,
                    "initContainers": [check],
                    "imagePullSecrets": placement.image_pull_secrets,
                    "nodeSelector": placement.node_selector,
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
                    "tolerations": placement.tolerations,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "topology.kubernetes.io/zone",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": apart,
                    }],
                    "volumes": volumes,
                },
            },
        },
    }))?;
    let pod = deployment
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut());
    if let Some(pod) = pod.filter(|_| !placement.priority_class_name.is_empty()) {
        pod.priority_class_name = Some(placement.priority_class_name.clone());
    }
    Ok(deployment)
}

/// The volumes of a pod, and where Unbound and its check find them.
fn files(wish: &Wish<'_>, config: &ConfigMap) -> (Vec<Value>, Vec<Value>) {
    let mut mounts = vec![
        json!({"name": "config", "mountPath": config::FOLDER, "readOnly": true}),
        json!({"name": "run", "mountPath": config::RUN}),
    ];
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": config.metadata.name, "defaultMode": 0o444}}),
        json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}),
    ];
    if let Some(leaf) = &wish.leaf {
        let items: Vec<Value> = ["crt", "key"]
            .map(|part| json!({"key": format!("{leaf}.{part}"), "path": format!("{leaf}.{part}")}))
            .into();
        mounts.push(json!({"name": "tls", "mountPath": config::CERTIFICATES, "readOnly": true}));
        // The group reads it: that of the pod, by `fsGroup`.
        let secret = json!({"secretName": hop::SECRET, "items": items, "defaultMode": 0o440});
        volumes.push(json!({"name": "tls", "secret": secret}));
    }
    (volumes, mounts)
}

fn ports(wish: &Wish<'_>) -> Value {
    let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "containerPort": port, "protocol": protocol});
    let tls = wish
        .leaf
        .as_ref()
        .map(|_| port("dns-tls", config::TLS.get(), "TCP"));
    let plain = [port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP")];
    plain.into_iter().chain(tls).collect()
}

/// Tells Unbound's numbers. It has no probe: whatever ails it, Unbound goes on to be asked.
fn metrics(wish: &Wish<'_>, image: &str) -> Value {
    json!({
        "name": "metrics",
        "image": image,
        "imagePullPolicy": wish.offer.pull_policy,
        "args": ["unbound-metrics", format!("--socket={}/{}", config::RUN, CONTROL_SOCKET)],
        "ports": [{"name": "admin", "containerPort": ADMIN, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": "32Mi"},
        },
        "securityContext": restricted(),
        "volumeMounts": [{"name": "run", "mountPath": config::RUN, "readOnly": true}],
    })
}

fn usual_resources() -> Value {
    json!({
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "512Mi"},
    })
}

fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    })
}
