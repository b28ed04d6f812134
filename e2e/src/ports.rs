//! From which ports somebody asks, as the kernel of the machine counts them: no help from tsutsumi, nor from the one who
//! is asked.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::IpAddr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rig::output;

/// The rig takes away tables of this kind too, where a test was killed.
const TABLE: &str = "tsutsumi-e2e-ports";

/// Notes the source ports of questions that reach the node's own resolver over UDP, until it is dropped.
#[derive(Debug)]
pub struct Ports(());

impl Ports {
    /// Begins to count.
    ///
    /// # Errors
    /// If the kernel's packet filter does not take the rules.
    pub fn watch() -> Result<Self> {
        let mut nft = Command::new("nft");
        let mut nft = nft
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("starting nft")?;
        let rules = format!(
            "table ip {TABLE} {{\n  set seen {{ type ipv4_addr . inet_service; size 65535; flags dynamic; }}\n  \
             chain questions {{\n    type filter hook input priority filter;\n    \
             udp dport 53 add @seen {{ ip saddr . udp sport }}\n  }}\n}}\n"
        );
        nft.stdin
            .take()
            .context("nft's input")?
            .write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refuses {rules}");
        Ok(Self(()))
    }

    /// The ports of one address up to now.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn of(&self, address: IpAddr) -> Result<BTreeSet<u64>> {
        let told = output(Command::new("nft").args(["--json", "list", "set", "ip", TABLE, "seen"]))?;
        let told: Value = serde_json::from_str(&told).context("reading what nft tells")?;
        let sets = told["nftables"].as_array().into_iter().flatten();
        let elements = sets.filter_map(|entry| entry["set"]["elem"].as_array()).flatten();
        Ok(elements
            .map(|element| &element["concat"])
            .filter(|pair| pair[0].as_str() == Some(&address.to_string()))
            .filter_map(|pair| pair[1].as_u64())
            .collect())
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        let _ = output(Command::new("nft").args(["delete", "table", "ip", TABLE]));
    }
}
