//! etcd, the API server, the controllers and the scheduler, each a process of its own on loopback.
//! One replica each, so nobody elects a leader; the store does not wait for the disk.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::facts::{PODS_V4, PODS_V6, SERVICES_V4, SERVICES_V6};
use super::state::ROOT;
use super::{Rig, pki::Pki};
use crate::run;

/// Not the usual ports: the distribution's package may have started an etcd of its own there.
const ETCD: &str = "http://127.0.0.1:22379";
const ETCD_PEERS: &str = "http://127.0.0.1:22380";

/// Starts all four; returns when the API server is ready.
pub(crate) fn start(rig: &mut Rig, pki: &Pki) -> Result<()> {
    let mut etcd = run::command("etcd");
    etcd.arg("--data-dir").arg(Path::new(ROOT).join("etcd"));
    etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
    etcd.args([
        "--listen-peer-urls",
        ETCD_PEERS,
        "--initial-advertise-peer-urls",
        ETCD_PEERS,
    ]);
    etcd.args([
        "--initial-cluster",
        &format!("default={ETCD_PEERS}"),
        "--unsafe-no-fsync",
    ]);
    rig.spawn("etcd", &mut etcd)?;

    let services = rig.families(SERVICES_V4, SERVICES_V6);
    let mut api = rig.program("kube-apiserver");
    flags(
        &mut api,
        pki,
        &[
            ("client-ca-file", "ca.crt"),
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("kubelet-client-certificate", "admin.crt"),
            ("kubelet-client-key", "admin.key"),
            ("requestheader-client-ca-file", "ca.crt"),
            ("proxy-client-cert-file", "front.crt"),
            ("proxy-client-key-file", "front.key"),
        ],
    );
    api.args([
        &format!("--etcd-servers={ETCD}"),
        &format!("--service-cluster-ip-range={services}"),
        &format!("--advertise-address={}", rig.node.v4),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--secure-port=6443",
    ]);
    rig.spawn("kube-apiserver", &mut api)?;

    let mut controllers = rig.program("kube-controller-manager");
    flags(
        &mut controllers,
        pki,
        &[
            ("kubeconfig", "controller-manager.kubeconfig"),
            ("authentication-kubeconfig", "controller-manager.kubeconfig"),
            ("authorization-kubeconfig", "controller-manager.kubeconfig"),
            ("service-account-private-key-file", "sa.key"),
            ("root-ca-file", "ca.crt"),
            ("cluster-signing-cert-file", "ca.crt"),
            ("cluster-signing-key-file", "ca.key"),
        ],
    );
    controllers.args([
        &format!("--cluster-cidr={}", rig.families(PODS_V4, PODS_V6)),
        &format!("--service-cluster-ip-range={services}"),
        "--allocate-node-cidrs=true",
        "--use-service-account-credentials",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]);
    if rig.node.v6.is_some() {
        controllers.args(["--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=64"]);
    } else {
        controllers.arg("--node-cidr-mask-size=24");
    }
    let mut scheduler = rig.program("kube-scheduler");
    flags(
        &mut scheduler,
        pki,
        &[
            ("kubeconfig", "scheduler.kubeconfig"),
            ("authentication-kubeconfig", "scheduler.kubeconfig"),
            ("authorization-kubeconfig", "scheduler.kubeconfig"),
        ],
    );
    scheduler.args(["--bind-address=127.0.0.1", "--leader-elect=false"]);

    run::wait_for("the API server", Duration::from_secs(120), || {
        rig.kubectl(&["get", "--raw", "/readyz"])
    })?;
    rig.spawn("kube-controller-manager", &mut controllers)?;
    rig.spawn("kube-scheduler", &mut scheduler)
}

fn flags(command: &mut std::process::Command, pki: &Pki, files: &[(&str, &str)]) {
    for (flag, file) in files {
        command.arg(format!("--{flag}={}", pki.path(file).display()));
    }
}
