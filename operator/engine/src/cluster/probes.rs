//! Where resolvers ask for the zones of our probes: at the Service of the one that runs beside us, and outside at the
//! address that the chart was told.

use std::net::IpAddr;

use tsutsumi_model::{DomainName, Endpoint, Port};
use tsutsumi_providers::coredns::{Lead, TAP_PORT};

use super::{Cluster, Key};

/// The Service in front of our probe zone.
const PROBE_ZONE: &str = "tsutsumi-probe-zone";
/// The Service in front of our prober, where resolvers tell what they are asked.
const NAMES: &str = "tsutsumi-prober-names";
/// A resolver's questions have this port, and what stands on their way treats them by it.
const DNS: Port = Port::new(53).expect("53 is not 0");

/// A probe zone that somebody runs outside the cluster, behind whatever translates addresses on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutsideZone {
    /// Its name, another one than that of the zone inside.
    pub name: DomainName,
    /// Where it answers.
    pub address: IpAddr,
}

/// The zones of our probes, with their servers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Probes {
    /// In the cluster.
    pub inside: Option<Lead>,
    /// Outside.
    pub outside: Option<Lead>,
}

impl Probes {
    /// Both, as far as they are there.
    #[must_use]
    pub fn leads(&self) -> Vec<Lead> {
        self.inside.iter().chain(&self.outside).cloned().collect()
    }
}

impl Cluster {
    /// Where resolvers can tell what they are asked, at an address of a family that they have; none where nobody is.
    #[must_use]
    pub fn collector(&self, families: impl Fn(IpAddr) -> bool) -> Option<Endpoint> {
        let key = Key::new(&self.installed.namespace, NAMES);
        let addresses = &self.services.get(&key)?.cluster_ips;
        let address = addresses.iter().copied().find(|address| families(*address))?;
        Endpoint::of(address, TAP_PORT.into())
    }

    /// Where the names of the probe zones should lead, at addresses of families that the resolvers have; none where that
    /// is not known at present.
    #[must_use]
    pub fn probes(&self, families: impl Fn(IpAddr) -> bool) -> Option<Probes> {
        let lead = |zone: &DomainName, address| Lead {
            zone: zone.clone(),
            server: Endpoint { address, port: DNS },
        };
        let inside = match &self.installed.probe_zone {
            None => None,
            Some(zone) => {
                let key = Key::new(&self.installed.namespace, PROBE_ZONE);
                let addresses = &self.services.get(&key)?.cluster_ips;
                let address = addresses.iter().copied().find(|address| families(*address))?;
                Some(lead(zone, address))
            }
        };
        let outside = self.installed.outside_zone.as_ref();
        let outside = outside.filter(|zone| families(zone.address));
        Some(Probes {
            inside,
            outside: outside.map(|zone| lead(&zone.name, zone.address)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_led_to_at_an_address_of_a_family_that_the_resolvers_have() {
        let mut cluster = Cluster::default();
        let nowhere = Some(Probes::default());
        assert_eq!(cluster.probes(|_| true), nowhere, "there is none");
        cluster.installed.outside_zone = Some(OutsideZone {
            name: "probe-outside.tsutsumi.test".parse().unwrap(),
            address: "2001:db8::2".parse().unwrap(),
        });
        let six = cluster.probes(|address| address.is_ipv6()).unwrap();
        let leads = six.leads();
        assert_eq!(leads.len(), 1);
        assert_eq!(leads[0].server.to_string(), "[2001:db8::2]:53");
        assert_eq!(cluster.probes(|address| address.is_ipv4()), nowhere);
        cluster.installed.probe_zone = Some("probe.tsutsumi.test".parse().unwrap());
        assert_eq!(
            cluster.probes(|_| true),
            None,
            "the Service of the one inside is not known"
        );
    }
}
