//! From which ports somebody asks, as the kernel of the machine counts them: no help from tsutsumi, nor from the one who
//! is asked.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{filter::Table, place::Place};

/// The rig takes away tables of this kind too, where a test was killed.
const TABLE: &str = "tsutsumi-e2e-ports";

/// Notes the source ports of questions that reach somebody over UDP, until it is dropped.
#[derive(Debug)]
pub struct Ports(Table);

impl Ports {
    /// Begins to count those that reach the node's own resolver.
    ///
    /// # Errors
    /// If the kernel's packet filter does not take the rules.
    pub fn watch() -> Result<Self> {
        Self::watch_at(&Place::node())
    }

    /// Begins to count those that reach anybody in a place.
    ///
    /// # Errors
    /// If the kernel's packet filter does not take the rules.
    pub fn watch_at(place: &Place) -> Result<Self> {
        let rules = format!(
            "table ip {TABLE} {{\n  set seen {{ type ipv4_addr . inet_service; size 65535; flags dynamic; }}\n  \
             chain questions {{\n    type filter hook input priority filter;\n    \
             udp dport 53 add @seen {{ ip saddr . udp sport }}\n  }}\n}}\n"
        );
        Table::add(place, TABLE, &rules).map(Self)
    }

    /// The ports of one address up to now.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn of(&self, address: IpAddr) -> Result<BTreeSet<u64>> {
        let told = self.0.tell(&["--json", "list", "set", "ip", TABLE, "seen"])?;
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
