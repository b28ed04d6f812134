//! Programs that the distribution has. Nothing is asked of the package index when all are there.

use anyhow::{Context, Result, bail};

use crate::run;

/// A container runtime, its network plugins, a store, packet filters, and compilers for the static binary and for
/// libFuzzer.
const PACKAGES: [&str; 10] = [
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "etcd-server",
    "g++",
    "iproute2",
    "iptables",
    "musl-tools",
    "nftables",
    "runc",
];

/// Installs what is missing; needs root only then.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    run::step(&format!("installed {}", missing.join(", ")), || {
        let apt = |arguments: &[&str]| {
            run::output(
                run::command("apt-get")
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .args(arguments),
            )
        };
        apt(&["update", "-qq"])?;
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(&missing);
        apt(&arguments).map(drop)
    })
}

/// The rig makes namespaces, mounts and packet filters: only root may.
pub(crate) fn require_root() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let user = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    if user != Some("0") {
        bail!(
            "the rig makes network namespaces and mounts, which needs root: run the same command with sudo"
        );
    }
    Ok(())
}

fn installed(package: &str) -> bool {
    run::output(run::command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}
