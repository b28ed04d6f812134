//! Cluster DNS as a platform installs it, the resolver it forwards to, and names for tests. The Service
//! `default/big` has 120 addresses: its answer is larger than any size a DNS server should send over UDP.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::facts::{
    BRIDGE_V4, BRIDGE_V6, DNS_V4, NODE_PORT, NodeAddresses, OUTSIDE_V4, PODS_V4, PODS_V6, SERVICES_V4,
    SERVICES_V6,
};
use super::state::ROOT;
use super::{DnsOptions, Platform, Rig, images};
use crate::tools::Version;
use crate::{dns, run};

const KUBEADM: &str = include_str!("../../manifests/kubeadm.yaml");
const K3S: &str = include_str!("../../manifests/k3s.yaml");
const EXPOSED: &str = include_str!("../../manifests/exposed.yaml");
const UPSTREAM: &str = include_str!("../../manifests/upstream.Corefile");

/// Starts the resolver that cluster DNS forwards to, on the pods' bridge.
pub(crate) fn start_upstream(rig: &mut Rig) -> Result<()> {
    let corefile = Path::new(ROOT).join("upstream.Corefile");
    let addresses = if rig.node.v6.is_some() {
        format!("{BRIDGE_V4} {BRIDGE_V6}")
    } else {
        BRIDGE_V4.to_owned()
    };
    let text = UPSTREAM.replace("{addresses}", &addresses);
    fs::write(&corefile, text.replace("{root}", OUTSIDE_V4))?;
    rig.spawn(
        "upstream",
        run::command(rig.coredns.clone()).arg("-conf").arg(corefile),
    )
}

/// Installs cluster DNS and waits until every replica serves.
pub(crate) fn install(rig: &mut Rig, options: &DnsOptions, kubernetes: &Version) -> Result<()> {
    images::import_coredns(rig.coredns.clone(), &options.coredns)?;
    let manifest = manifest(rig, options, kubernetes);
    let path = Path::new(ROOT).join("dns.yaml");
    fs::write(&path, manifest)?;
    let path = path.to_str().context("the manifest's path")?;
    apply_file(rig, path)?;
    if options.platform == Platform::K3s {
        let xtask = std::env::current_exe().context("finding this program")?;
        let mut writer = run::command(xtask);
        writer
            .args(["cluster", "platform-writer", path])
            .arg("--kubectl")
            .arg(rig.kubernetes.join("kubectl"));
        rig.spawn("platform-writer", writer.env("KUBECONFIG", &rig.kubeconfig))?;
    }
    rig.kubectl(&[
        "-n",
        "kube-system",
        "rollout",
        "status",
        "deployment/coredns",
        "--timeout=120s",
    ])
    .map(drop)
}

/// Takes away what either platform installed and what users added to it.
pub(crate) fn remove(rig: &Rig) -> Result<()> {
    let objects = [
        "deployment/coredns",
        "configmap/coredns",
        "configmap/coredns-custom",
        "configmap/kubeadm-config",
    ];
    let mut arguments = vec!["-n", "kube-system", "delete", "--ignore-not-found", "--wait"];
    arguments.extend(objects);
    rig.kubectl(&arguments).map(drop)
}

/// Creates the names that tests ask for and, where wanted, exposes cluster DNS.
pub(crate) fn fixtures(kubectl: &dyn Fn(&[&str], &str) -> Result<String>, expose: bool) -> Result<()> {
    let apply = ["apply", "--filename=-"];
    kubectl(&apply, &big().to_string())?;
    if expose {
        kubectl(&apply, EXPOSED)?;
    }
    Ok(())
}

/// kube-proxy carries a new Service to the kernel a moment after its object exists.
pub(crate) fn wait_until_answered(node: NodeAddresses, exposed: bool) -> Result<()> {
    let service = SocketAddr::new(DNS_V4.parse()?, 53);
    let port = SocketAddr::new(node.v4.into(), NODE_PORT);
    for server in [Some(service), exposed.then_some(port)].into_iter().flatten() {
        run::wait_for("cluster DNS to answer", Duration::from_secs(30), || {
            let answer = dns::ask(server, "big.default.svc.cluster.local", 1)?;
            anyhow::ensure!(answer.starts_with("NOERROR"), "{server} says {answer}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Puts the platform's manifest back whenever the ConfigMap changes: the part of k3s that owns the Corefile.
/// Applying what is there already writes nothing, so its own write wakes it only once.
pub(crate) fn platform_writer(kubectl: &Path, manifest: &Path) -> Result<()> {
    use std::io::BufRead as _;
    let watch = [
        "-n",
        "kube-system",
        "get",
        "configmap",
        "coredns",
        "--watch",
        "--output=name",
    ];
    loop {
        let mut child = run::command(kubectl)
            .args(watch)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .context("watching")?;
        let lines = std::io::BufReader::new(child.stdout.take().context("the watch's output")?).lines();
        for _ in lines.map_while(Result::ok) {
            let mut apply = run::command(kubectl);
            apply.args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=deploy@node1",
                "--filename",
            ]);
            if let Err(error) = run::output(apply.arg(manifest)) {
                println!("{error:#}");
            }
        }
        child.wait()?;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn apply_file(rig: &Rig, path: &str) -> Result<()> {
    rig.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=deploy@node1",
        "--filename",
        path,
    ])
    .map(drop)
}

fn manifest(rig: &Rig, options: &DnsOptions, kubernetes: &Version) -> String {
    let text = match options.platform {
        Platform::Kubeadm => KUBEADM,
        Platform::K3s => K3S,
    };
    let reload = match &options.reload {
        Some(times) => format!("reload {times}"),
        None => "reload".to_owned(),
    };
    text.replace("{image}", &images::coredns_name(&options.coredns))
        .replace("{reload}", &reload)
        .replace("{version}", &kubernetes.to_string())
        .replace("{pods}", &rig.families(PODS_V4, PODS_V6))
        .replace("{services}", &rig.families(SERVICES_V4, SERVICES_V6))
        .replace("{node}", &rig.node.v4.to_string())
}

/// 120 answers of 16 bytes are more than 1232, and more than 1500.
fn big() -> Value {
    let endpoints: Vec<Value> = (1..=120)
        .map(|n| json!({"addresses": [format!("203.0.113.{n}")], "conditions": {"ready": true}}))
        .collect();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "big", "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"name": "any", "port": 80, "protocol": "TCP"}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "big",
            "namespace": "default",
            "labels": {
                "kubernetes.io/service-name": "big",
                "endpointslice.kubernetes.io/managed-by": "tsutsumi-rig",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "any", "port": 80, "protocol": "TCP"}],
        "endpoints": endpoints,
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]})
}
