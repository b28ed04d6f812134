//! Sets of IP addresses, exact for both families, and their shortest cover by ranges.

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of addresses. IPv4-mapped IPv6 addresses are IPv6.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressSet {
    v4: Ranges,
    v6: Ranges,
}

/// Sorted, disjoint, not adjacent, both ends included.
type Ranges = Vec<(u128, u128)>;

const V4_MAX: u128 = u32::MAX as u128;

impl AddressSet {
    /// Every address.
    #[must_use]
    pub fn all() -> Self {
        Self {
            v4: vec![(0, V4_MAX)],
            v6: vec![(0, u128::MAX)],
        }
    }

    /// The addresses of these ranges.
    #[must_use]
    pub fn of<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut set = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => set
                    .v4
                    .push((net.network().to_bits().into(), net.broadcast().to_bits().into())),
                IpNet::V6(net) => set.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: normal(set.v4),
            v6: normal(set.v6),
        }
    }

    /// Whether the address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, bits) = match address {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&bits))
    }

    /// Whether there is no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Addresses in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let join = |a: &Ranges, b: &Ranges| normal(a.iter().chain(b).copied().collect());
        Self {
            v4: join(&self.v4, &other.v4),
            v6: join(&self.v6, &other.v6),
        }
    }

    /// Addresses not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self {
            v4: inverse(&self.v4, V4_MAX),
            v6: inverse(&self.v6, u128::MAX),
        }
    }

    /// Addresses in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.complement().union(&other.complement()).complement()
    }

    /// Addresses of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.complement().union(other).complement()
    }

    /// The fewest ranges that cover exactly this set, IPv4 first, in order.
    #[must_use]
    pub fn to_nets(&self) -> Vec<IpNet> {
        let v4 = self.v4.iter().flat_map(|(low, high)| {
            Ipv4Subnets::new(v4(*low), v4(*high), 0).map(|net: Ipv4Net| IpNet::V4(net))
        });
        let v6 = self.v6.iter().flat_map(|(low, high)| {
            Ipv6Subnets::new(Ipv6Addr::from_bits(*low), Ipv6Addr::from_bits(*high), 0)
                .map(|net: Ipv6Net| IpNet::V6(net))
        });
        v4.chain(v6).collect()
    }
}

fn v4(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))
}

fn normal(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut merged: Ranges = Vec::new();
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

fn inverse(ranges: &Ranges, max: u128) -> Ranges {
    let mut gaps = Vec::new();
    let mut next = Some(0);
    for (low, high) in ranges {
        if let Some(start) = next.filter(|start| start < low) {
            gaps.push((start, low - 1));
        }
        next = high.checked_add(1).filter(|next| *next <= max);
    }
    gaps.extend(next.map(|start| (start, max)));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nets: &[&str]) -> AddressSet {
        AddressSet::of(
            &nets
                .iter()
                .map(|net| net.parse().unwrap())
                .collect::<Vec<IpNet>>(),
        )
    }

    fn shown(set: &AddressSet) -> Vec<String> {
        set.to_nets().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn algebra() {
        assert_eq!(shown(&AddressSet::all()), ["0.0.0.0/0", "::/0"]);
        assert!(AddressSet::all().complement().is_empty());
        let ten = set(&["10.0.0.0/8"]);
        assert_eq!(shown(&ten.minus(&set(&["10.0.0.0/9"]))), ["10.128.0.0/9"]);
        assert_eq!(
            shown(&set(&["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"])),
            ["10.0.0.0/8"]
        );
        assert_eq!(
            shown(&ten.intersect(&set(&["10.2.0.0/16", "::1/128"]))),
            ["10.2.0.0/16"]
        );
        assert_eq!(shown(&set(&["0.0.0.0/1", "::/0"]).complement()), ["128.0.0.0/1"]);
        assert_eq!(ten.complement().complement(), ten);
        assert!(ten.contains("10.3.4.5".parse().unwrap()));
        assert!(!ten.complement().contains("10.3.4.5".parse().unwrap()));
    }
}
