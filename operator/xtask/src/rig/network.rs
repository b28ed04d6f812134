//! The machine's network around the cluster: the pods' bridge, masquerading for what pods send out, and a client
//! outside the cluster, in a namespace of its own behind a pair of devices. All traffic stays on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Rig;
use super::facts::{
    BRIDGE, BRIDGE_MAC, BRIDGE_V4, BRIDGE_V6, NODE_PODS_V4, NODE_PODS_V6, NodeAddresses, OUTSIDE,
    OUTSIDE_GATE_V4, OUTSIDE_GATE_V6, OUTSIDE_LINK, OUTSIDE_V4, OUTSIDE_V6, OUTSIDE_ZONE_V4, PODS_V4,
    PODS_V6,
};
use super::state::{ROOT, Record, Setting, Table};
use crate::run;

/// Settings that the rig changes, with the new value, or that kubelet and kube-proxy change by themselves.
const SETTINGS: [(&str, Option<&str>); 12] = [
    ("net/ipv4/ip_forward", Some("1")),
    ("net/ipv6/conf/all/forwarding", Some("1")),
    ("net/bridge/bridge-nf-call-iptables", Some("1")),
    ("net/bridge/bridge-nf-call-ip6tables", Some("1")),
    ("net/netfilter/nf_conntrack_max", None),
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", None),
    ("net/netfilter/nf_conntrack_tcp_timeout_established", None),
    ("kernel/keys/root_maxbytes", None),
    ("kernel/keys/root_maxkeys", None),
    ("kernel/panic", None),
    ("kernel/panic_on_oops", None),
    ("vm/overcommit_memory", None),
];

/// Our own table; the others are made by kube-proxy and, for host ports, by the port mapping plugin.
const TABLE: &str = "tsutsumi-rig";
/// What tests add for themselves and take away, unless they are killed.
const TEST_TABLES: &str = "tsutsumi-e2e-";
const FOREIGN_TABLES: [&str; 5] = ["kube-proxy", "nat", "filter", "mangle", "raw"];

/// What is there before the rig. Without the bridge's filter an answer from one pod to another, asked for at a
/// Service's address, would come back from the wrong address.
pub(crate) fn survey(record: &mut Record) -> Result<()> {
    if !Path::new("/proc/sys/net/bridge").exists() {
        run::line("modprobe br_netfilter").context("loading the bridge's packet filter")?;
    }
    record.tables_before = tables()?;
    for (name, _) in SETTINGS {
        let path = Path::new("/proc/sys").join(name);
        if let Ok(before) = fs::read_to_string(&path) {
            record.settings.push(Setting { path, before });
        }
    }
    record.netns_mounted = fs::read_to_string("/proc/self/mountinfo")?.contains(" /run/netns ");
    let control_groups = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let fixed = [
        "/var/lib/cni",
        "/var/lib/kubelet",
        "/run/containerd",
        "/var/log/containers",
        "/sys/fs/cgroup/kubepods",
    ];
    record.folders = fixed
        .into_iter()
        .map(PathBuf::from)
        .chain(control_groups.map(|folder| folder.join("kubepods")))
        .filter(|folder| !folder.exists())
        .collect();
    Ok(())
}

/// Makes all of it.
pub(crate) fn make(rig: &mut Rig) -> Result<()> {
    rig.journal.note(|record| {
        record.links = vec![BRIDGE.to_owned(), OUTSIDE_LINK.to_owned()];
        record.namespaces = vec![OUTSIDE.to_owned()];
    })?;
    for (name, value) in SETTINGS {
        let Some(value) = value else { continue };
        let path = Path::new("/proc/sys").join(name);
        if path.exists() {
            fs::write(&path, value).with_context(|| format!("setting {}", path.display()))?;
        }
    }
    for line in lines(rig.node) {
        run::line(&line)?;
    }
    let rules = Path::new(ROOT).join("nat.nft");
    fs::write(&rules, masquerade(rig.node))?;
    run::output(run::command("nft").arg("-f").arg(rules))?;
    Ok(())
}

/// Takes away what the record names.
pub(crate) fn remove(record: &Record) -> Result<()> {
    // Before the namespaces: with one of those a link goes at a moment that nobody tells.
    for link in &record.links {
        if Path::new("/sys/class/net").join(link).exists() {
            run::line(&format!("ip link delete {link}"))?;
        }
    }
    for name in &record.namespaces {
        if Path::new("/run/netns").join(name).exists() {
            run::line(&format!("ip netns delete {name}"))?;
        }
    }
    let ours = |table: &Table| {
        table.name == TABLE
            || table.name.starts_with(TEST_TABLES)
            || FOREIGN_TABLES.contains(&table.name.as_str()) && !record.tables_before.contains(table)
    };
    for Table { family, name } in tables()?.into_iter().filter(ours) {
        run::line(&format!("nft delete table {family} {name}"))?;
    }
    Ok(())
}

fn lines(node: NodeAddresses) -> Vec<String> {
    let inside = format!("ip -n {OUTSIDE}");
    let mut lines = vec![
        // With an address of its own: else it takes the lowest of its ports, and another whenever that pod ends.
        format!("ip link add {BRIDGE} address {BRIDGE_MAC} type bridge"),
        format!("ip address add {BRIDGE_V4}/24 dev {BRIDGE}"),
        format!("ip link set {BRIDGE} up"),
        format!("ip netns add {OUTSIDE}"),
        format!("ip link add {OUTSIDE_LINK} type veth peer name eth0 netns {OUTSIDE}"),
        format!("ip address add {OUTSIDE_GATE_V4}/24 dev {OUTSIDE_LINK}"),
        format!("ip link set {OUTSIDE_LINK} up"),
        format!("{inside} link set lo up"),
        format!("{inside} address add {OUTSIDE_V4}/24 dev eth0"),
        format!("{inside} address add {OUTSIDE_ZONE_V4}/24 dev eth0"),
        format!("{inside} link set eth0 up"),
        format!("{inside} route add default via {OUTSIDE_GATE_V4}"),
    ];
    if node.v6.is_some() {
        // Without `nodad` an address can be used only after a second.
        lines.extend([
            format!("ip address add {BRIDGE_V6}/64 dev {BRIDGE} nodad"),
            format!("ip address add {OUTSIDE_GATE_V6}/64 dev {OUTSIDE_LINK} nodad"),
            format!("{inside} address add {OUTSIDE_V6}/64 dev eth0 nodad"),
            format!("{inside} route add default via {OUTSIDE_GATE_V6}"),
        ]);
    }
    lines
}

/// What most clusters do to packets of pods that leave the cluster. Not `fully-random`, as with the common plugin.
fn masquerade(node: NodeAddresses) -> String {
    let v6 = if node.v6.is_some() {
        format!("ip6 saddr {NODE_PODS_V6} ip6 daddr != {PODS_V6} oifname != \"{BRIDGE}\" masquerade")
    } else {
        String::new()
    };
    format!(
        "table inet {TABLE} {{\n  chain outgoing {{\n    type nat hook postrouting priority srcnat;\n    \
         ip saddr {NODE_PODS_V4} ip daddr != {PODS_V4} oifname != \"{BRIDGE}\" masquerade\n    {v6}\n  }}\n}}\n"
    )
}

fn tables() -> Result<Vec<Table>> {
    let listing: Value =
        serde_json::from_str(&run::line("nft --json list tables")?).context("reading nft's tables")?;
    let entries = listing["nftables"].as_array().cloned().unwrap_or_default();
    Ok(entries
        .iter()
        .filter_map(|entry| {
            let text = |field: &str| entry["table"][field].as_str().map(str::to_owned);
            Some(Table {
                family: text("family")?,
                name: text("name")?,
            })
        })
        .collect())
}
