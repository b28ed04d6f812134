//! The node: kubelet and kube-proxy. Pods resolve what the cluster's DNS forwards at the rig's own upstream, never
//! at the machine's resolver, so nothing a test asks leaves the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::facts::{BRIDGE_V4, DNS_V4, NODE, PODS_V4, PODS_V6};
use super::state::ROOT;
use super::{Rig, containerd, pki::Pki};
use crate::run;

/// Starts both and waits until the node is ready and has its share of the pods' ranges.
pub(crate) fn start(rig: &mut Rig, pki: &Pki, sync_frequency: &str) -> Result<()> {
    let resolver = Path::new(ROOT).join("resolv.conf");
    fs::write(&resolver, format!("nameserver {BRIDGE_V4}\n"))?;
    let config = write(
        "kubelet.json",
        &json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "x509": {"clientCAFile": pki.path("ca.crt")},
                "webhook": {"enabled": true},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "failSwapOn": false,
            "failCgroupV1": false,
            "clusterDNS": [DNS_V4],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": format!("unix://{}", containerd::socket().display()),
            "tlsCertFile": pki.path("node.crt"),
            "tlsPrivateKeyFile": pki.path("node.key"),
            "resolvConf": resolver,
            "podLogsDir": Path::new(ROOT).join("pod-logs"),
            "volumePluginDir": Path::new(ROOT).join("volume-plugins"),
            "makeIPTablesUtilChains": false,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 99,
            "imageGCLowThresholdPercent": 98,
            "syncFrequency": sync_frequency,
            "configMapAndSecretChangeDetectionStrategy": "Watch",
        }),
    )?;
    let mut kubelet = rig.program("kubelet");
    kubelet
        .arg("--config")
        .arg(config)
        .arg("--kubeconfig")
        .arg(pki.kubeconfig_of("node"));
    kubelet.arg("--root-dir").arg(Path::new(ROOT).join("kubelet"));
    kubelet.args(["--hostname-override", NODE, "--node-ip", &rig.node.list()]);
    rig.spawn("kubelet", &mut kubelet)?;

    let config = write(
        "kube-proxy.json",
        &json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": pki.kubeconfig_of("proxy")},
            "clusterCIDR": rig.families(PODS_V4, PODS_V6),
            "mode": "nftables",
            "hostnameOverride": NODE,
            "conntrack": {"maxPerCore": 0},
        }),
    )?;
    let mut proxy = rig.program("kube-proxy");
    rig.spawn("kube-proxy", proxy.arg("--config").arg(config))?;

    run::wait_for("the node", Duration::from_secs(120), || {
        let ready = "jsonpath={.spec.podCIDRs[0]} {.status.conditions[?(@.type=='Ready')].status}";
        let answer = rig.kubectl(&["get", "node", NODE, "-o", ready])?;
        answer
            .split_once(' ')
            .filter(|(range, ready)| !range.is_empty() && *ready == "True")
            .map(drop)
            .with_context(|| format!("the node's range and readiness are `{answer}`"))
    })
}

fn write(name: &str, value: &serde_json::Value) -> Result<PathBuf> {
    let path = Path::new(ROOT).join(name);
    fs::write(&path, serde_json::to_vec_pretty(value)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
