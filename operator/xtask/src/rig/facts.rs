//! The rig's fixed numbers and names, and what a suite needs to know of a running one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Platform, Reload};
use crate::run;

/// The single node.
pub(crate) const NODE: &str = "node1";
/// The Ethernet address of the pods' bridge.
pub(super) const BRIDGE_MAC: &str = "02:00:00:00:00:01";
/// The pods' bridge, and its addresses, at which the cluster's upstream resolver answers.
pub(crate) const BRIDGE: &str = "tsutsumi0";
pub(crate) const BRIDGE_V4: &str = "10.244.0.1";
pub(crate) const BRIDGE_V6: &str = "fd00:10:244::1";
/// The node's share of the pods' ranges: the first that the controller manager hands out.
pub(crate) const NODE_PODS_V4: &str = "10.244.0.0/24";
pub(crate) const NODE_PODS_V6: &str = "fd00:10:244::/64";
/// All pods.
pub(crate) const PODS_V4: &str = "10.244.0.0/16";
pub(crate) const PODS_V6: &str = "fd00:10:244::/56";
/// All Services.
pub(crate) const SERVICES_V4: &str = "10.96.0.0/16";
pub(crate) const SERVICES_V6: &str = "fd00:10:96::/112";
/// The DNS Service.
pub(crate) const DNS_V4: &str = "10.96.0.10";
/// A client outside the cluster: its namespace, and the pair of devices to it.
pub(crate) const OUTSIDE: &str = "tsutsumi-outside";
pub(crate) const OUTSIDE_LINK: &str = "tsutsumi-out0";
pub(crate) const OUTSIDE_V4: &str = "198.51.100.2";
/// Where a probe zone may answer outside: the rig's own root has port 53 of the address above.
pub(crate) const OUTSIDE_ZONE_V4: &str = "198.51.100.3";
pub(crate) const OUTSIDE_GATE_V4: &str = "198.51.100.1";
pub(crate) const OUTSIDE_V6: &str = "2001:db8:51::2";
pub(crate) const OUTSIDE_GATE_V6: &str = "2001:db8:51::1";
/// The exposed DNS port of the node.
pub(crate) const NODE_PORT: u16 = 30053;

/// The node's addresses: the machine's first of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeAddresses {
    /// Always there.
    pub(crate) v4: Ipv4Addr,
    /// The cluster has both families where the machine has this.
    pub(crate) v6: Option<Ipv6Addr>,
}

impl NodeAddresses {
    /// Asks the kernel.
    pub(crate) fn find() -> Result<Self> {
        Self::parse(&run::line("ip -o address show scope global")?)
            .context("this machine has no IPv4 address besides loopback: the node needs one")
    }

    /// As kubelet wants them.
    pub(crate) fn list(self) -> String {
        self.v6
            .map_or_else(|| self.v4.to_string(), |v6| format!("{},{v6}", self.v4))
    }

    fn parse(listing: &str) -> Option<Self> {
        let addresses = || {
            listing.lines().filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let ours = words.get(1).is_some_and(|link| link.starts_with("tsutsumi"));
                (!ours)
                    .then(|| words.get(3)?.split('/').next()?.parse::<IpAddr>().ok())
                    .flatten()
            })
        };
        let v4 = addresses().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })?;
        let v6 = addresses().find_map(|address| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        });
        Some(Self { v4, v6 })
    }
}

/// What a suite needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// An administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The rest is absent where the cluster is not the rig's own.
    pub(crate) own: Option<Own>,
}

/// What only the rig's own cluster has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// The node's addresses.
    pub(crate) node: NodeAddresses,
    /// Whose cluster DNS it carries.
    pub(crate) platform: Platform,
    /// Interval and jitter of `CoreDNS`' reload.
    pub(crate) reload: Reload,
    /// Kubernetes' release.
    pub(crate) version: String,
    /// Kubernetes' programs.
    pub(crate) kubernetes: PathBuf,
    /// The `helm` program.
    pub(crate) helm: PathBuf,
    /// The `coredns` program of the cluster's version.
    pub(crate) coredns: PathBuf,
    /// containerd's socket.
    pub(crate) socket: PathBuf,
}

impl fmt::Display for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "KUBECONFIG={}", self.kubeconfig.display())?;
        let Some(own) = &self.own else { return Ok(()) };
        writeln!(formatter, "TSUTSUMI_OUTSIDE_NETNS={OUTSIDE}")?;
        writeln!(formatter, "TSUTSUMI_OUTSIDE_ADDRESS={OUTSIDE_V4}")?;
        writeln!(formatter, "TSUTSUMI_OUTSIDE_ZONE_ADDRESS={OUTSIDE_ZONE_V4}")?;
        writeln!(formatter, "TSUTSUMI_OUTSIDE_GATEWAY={OUTSIDE_GATE_V4}")?;
        writeln!(formatter, "TSUTSUMI_ROOT={}", super::root::folder().display())?;
        writeln!(
            formatter,
            "TSUTSUMI_UNBOUND_IMAGE={}",
            super::images::unbound_name()
        )?;
        writeln!(formatter, "TSUTSUMI_NODE_ADDRESS={}", own.node.v4)?;
        if let Some(v6) = own.node.v6 {
            writeln!(formatter, "TSUTSUMI_OUTSIDE_ADDRESS6={OUTSIDE_V6}")?;
            writeln!(formatter, "TSUTSUMI_OUTSIDE_GATEWAY6={OUTSIDE_GATE_V6}")?;
            writeln!(formatter, "TSUTSUMI_NODE_ADDRESS6={v6}")?;
        }
        writeln!(formatter, "TSUTSUMI_NODE_PORT={NODE_PORT}")?;
        let platform = match own.platform {
            Platform::Kubeadm => "kubeadm",
            Platform::K3s => "k3s",
        };
        writeln!(formatter, "TSUTSUMI_PLATFORM={platform}")?;
        if let Some(times) = &own.reload {
            // Without a space, so that `env $(…)` takes it.
            writeln!(formatter, "TSUTSUMI_COREDNS_RELOAD={}", times.replace(' ', ","))?;
        }
        if let Ok(xtask) = std::env::current_exe() {
            writeln!(formatter, "TSUTSUMI_XTASK={}", xtask.display())?;
        }
        writeln!(
            formatter,
            "TSUTSUMI_KUBECTL={}",
            own.kubernetes.join("kubectl").display()
        )?;
        writeln!(
            formatter,
            "TSUTSUMI_KUBE_APISERVER={}",
            own.kubernetes.join("kube-apiserver").display()
        )?;
        writeln!(formatter, "TSUTSUMI_HELM={}", own.helm.display())?;
        writeln!(formatter, "TSUTSUMI_COREDNS={}", own.coredns.display())?;
        writeln!(formatter, "TSUTSUMI_CTR_SOCKET={}", own.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_each_family_is_the_nodes() {
        let listing = "2: tsutsumi0    inet 10.244.0.1/24 scope global tsutsumi0\n\
                       4: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\ valid_lft forever\n\
                       4: eth0    inet6 fd00::2/64 scope global nodad \\ valid_lft forever\n";
        let node = NodeAddresses::parse(listing).unwrap();
        assert_eq!(node.list(), "192.0.2.2,fd00::2");
        assert_eq!(
            NodeAddresses::parse("4: eth0    inet6 fd00::2/64 scope global\n"),
            None
        );
    }
}
