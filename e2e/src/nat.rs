//! A NAT between the pods and the outside, by the kernel's own packet filter: it takes the place of the rig's for
//! questions over UDP, and goes with its value.

use std::fmt::Write as _;

use anyhow::Result;

use crate::{filter::Table, place::Place, rig::Rig};

const TABLE: &str = "tsutsumi-e2e-nat";

/// How a NAT chooses ports.
#[derive(Clone, Debug)]
pub enum Choice {
    /// At random, from those that the kernel gives out.
    Random,
    /// From the first to the last of these, as the kernel likes.
    Block(u16, u16),
    /// One after another, as they are listed, and then from the beginning.
    Listed(Vec<u16>),
}

impl Choice {
    /// So many ports, each so far from the one before, modulo the number of ports from `first` on.
    #[must_use]
    pub fn stride(first: u16, distance: u32, count: u32) -> Self {
        let all = u32::from(u16::MAX - first) + 1;
        let nth = |n: u32| u16::try_from(u32::from(first) + n * distance % all).unwrap_or(u16::MAX);
        Self::Listed((0..count).map(nth).collect())
    }
}

/// A NAT, until it is dropped.
#[derive(Debug)]
pub struct Nat {
    _table: Table,
}

impl Nat {
    /// Puts it in front of what pods ask the outside.
    ///
    /// # Errors
    /// If the kernel's packet filter does not take the rule.
    pub fn between(rig: &Rig, choice: &Choice) -> Result<Self> {
        let (outside, gateway) = (rig.outside_zone, rig.outside_gateway);
        let statement = match choice {
            Choice::Random => "masquerade fully-random".to_owned(),
            Choice::Block(first, last) => format!("masquerade to :{first}-{last}"),
            Choice::Listed(ports) => {
                let mut map = String::new();
                for (index, port) in ports.iter().enumerate() {
                    // Writing to a string cannot fail.
                    let _ = write!(map, "{index} : {port}, ");
                }
                format!(
                    "snat to {gateway} : numgen inc mod {} map {{ {map}}}",
                    ports.len()
                )
            }
        };
        let rules = format!(
            "table ip {TABLE} {{\n  chain outgoing {{\n    type nat hook postrouting priority srcnat - 10;\n    \
             ip daddr {outside} udp dport 53 {statement}\n  }}\n}}\n"
        );
        let table = Table::add(&Place::node(), TABLE, &rules)?;
        Ok(Self { _table: table })
    }
}
