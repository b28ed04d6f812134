//! A containerd of the rig's own: own data, state, socket and network configuration, so that it neither sees nor
//! disturbs another on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::facts::{BRIDGE, NODE_PODS_V4, NODE_PODS_V6};
use super::state::{ROOT, RUN};
use super::{Rig, images};
use crate::run;

/// Name of the pods' network; its set-up results are told by it.
pub(crate) const NETWORK: &str = "tsutsumi-rig";

/// The runtime's socket.
pub(crate) fn socket() -> PathBuf {
    Path::new(RUN).join("containerd.sock")
}

/// Starts it and waits until it answers.
pub(crate) fn start(rig: &mut Rig) -> Result<()> {
    let cni = Path::new(ROOT).join("cni");
    fs::create_dir_all(&cni)?;
    fs::create_dir_all(RUN)?;
    let dual = rig.node.v6.is_some();
    fs::write(
        cni.join("10-tsutsumi.conflist"),
        serde_json::to_vec_pretty(&network(dual))?,
    )?;
    let config = Path::new(ROOT).join("containerd.toml");
    fs::write(&config, configuration())?;
    rig.spawn(
        "containerd",
        run::command("containerd").arg("--config").arg(config),
    )?;
    run::wait_for("containerd", Duration::from_secs(30), || ctr(&["version"]))?;
    Ok(())
}

/// Runs `ctr` in the namespace that kubelet uses.
pub(crate) fn ctr(arguments: &[&str]) -> Result<String> {
    run::output(
        run::command("ctr")
            .arg("--address")
            .arg(socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments),
    )
}

/// Sockets of shims lie outside the runtime's own folders; each container's bundle names its own.
pub(crate) fn shim_sockets() -> Vec<PathBuf> {
    let bundles = Path::new(RUN).join("containerd/io.containerd.runtime.v2.task/k8s.io");
    let Ok(entries) = fs::read_dir(bundles) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("address")).ok())
        .filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)))
        .collect()
}

/// `restrict_oom_score_adj`: a container's process may not lower its score where the rig has no
/// `CAP_SYS_RESOURCE`, and every sandbox would fail. The unprivileged ports are what current runtimes set.
fn configuration() -> String {
    format!(
        r#"version = 2
root = "{ROOT}/containerd"
state = "{RUN}/containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{ROOT}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
enable_unprivileged_ports = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{ROOT}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{RUN}/runc"
"#,
        socket = socket().display(),
        pause = images::PAUSE,
    )
}

/// Addresses are masqueraded by the rig's own table, not by the plugin, whose rules would outlive it.
fn network(dual: bool) -> serde_json::Value {
    let mut ranges = vec![json!([{"subnet": NODE_PODS_V4}])];
    let mut routes = vec![json!({"dst": "0.0.0.0/0"})];
    if dual {
        ranges.push(json!([{"subnet": NODE_PODS_V6}]));
        routes.push(json!({"dst": "::/0"}));
    }
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": Path::new(ROOT).join("addresses"),
                    "ranges": ranges,
                    "routes": routes,
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Calls an image by one more name.
pub(crate) fn tag(image: &str, name: &str) -> Result<()> {
    ctr(&["images", "tag", "--force", image, name]).map(drop)
}

/// Loads an archive; a name that is there already is replaced.
pub(crate) fn import(archive: &Path) -> Result<()> {
    let archive = archive.to_str().context("an archive's path that is not text")?;
    ctr(&["images", "import", archive]).map(drop)
}
