//! A wall at the cluster's edge: what a firewall or a network plugin's cluster-wide policy does to DNS from pods, on a rig
//! whose own plugin enforces no policy.

use std::{
    io::Write as _,
    net::IpAddr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::rig::output;

/// The rig takes away tables of this kind too, where a test was killed.
const TABLE: &str = "tsutsumi-e2e-perimeter";

/// Drops DNS from pods to one address outside, until it is dropped itself.
#[derive(Debug)]
pub struct Perimeter(());

impl Perimeter {
    /// Closes ports 53 and 853.
    ///
    /// # Errors
    /// If the kernel's packet filter does not take the rules.
    pub fn closed_to(outside: IpAddr) -> Result<Self> {
        let rules = format!(
            "table ip {TABLE} {{\n  chain edge {{\n    type filter hook forward priority filter;\n    \
             ip daddr {outside} meta l4proto {{ tcp, udp }} th dport {{ 53, 853 }} drop\n  }}\n}}\n"
        );
        let mut nft = Command::new("nft");
        let mut nft = nft
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("starting nft")?;
        nft.stdin
            .take()
            .context("nft's input")?
            .write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refuses {rules}");
        Ok(Self(()))
    }
}

impl Drop for Perimeter {
    fn drop(&mut self) {
        let _ = output(Command::new("nft").args(["delete", "table", "ip", TABLE]));
    }
}
