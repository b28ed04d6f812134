//! The probe zone outside the cluster, as the chart names it.

use std::{net::SocketAddr, str::FromStr};

use tsutsumi_engine::cluster::OutsideZone;
use tsutsumi_model::{DomainName, Port};
use tsutsumi_zone::Apex;

/// Where a probe zone outside answers, and where it tells what reached it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OutsideProbeZone {
    /// Its name and where it answers.
    pub(crate) zone: OutsideZone,
    /// Its control port.
    pub(crate) control: SocketAddr,
}

impl OutsideProbeZone {
    /// What is wrong where the zone inside has this name: a resolver that leads one zone would lead what is below it too.
    pub(crate) fn problem(&self, inside: Option<&DomainName>) -> Option<String> {
        let (ours, theirs) = (&self.zone.name, inside?);
        let is_below = |one: &DomainName, other: &DomainName| {
            let rest = one.as_str().strip_suffix(other.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        (is_below(ours, theirs) || is_below(theirs, ours)).then(|| {
            format!(
                "invalid value '{ours}' for '--outside-zone': it has to lie beside `{theirs}` of `--probe-zone`, for \
                 example `probe-outside.tsutsumi.test`"
            )
        })
    }
}

impl FromStr for OutsideProbeZone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "write NAME=ADDRESS:PORT with an IP address, for example `probe-outside.tsutsumi.test=192.0.2.7:8443`";
        let (name, control) = text.split_once('=').ok_or(right)?;
        let apex: Apex = name.parse().map_err(|error| format!("{error}; {right}"))?;
        let control: SocketAddr = control.parse().map_err(|_| right)?;
        Port::new(control.port()).ok_or_else(|| format!("port 0 is no port; {right}"))?;
        Ok(Self {
            zone: OutsideZone {
                name: apex.name().clone(),
                address: control.ip(),
            },
            control,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_name_an_address_and_a_control_port() {
        let read = |text: &str| text.parse::<OutsideProbeZone>();
        let zone = read("probe-outside.town.test=[2001:db8::2]:9443").unwrap();
        assert_eq!(zone.zone.name.as_str(), "probe-outside.town.test");
        assert_eq!(zone.zone.address, zone.control.ip());
        assert_eq!(zone.control.port(), 9443);
        for wrong in [
            "probe.test",
            "probe.test=outside:8443",
            "a b=192.0.2.7:8443",
            "probe.test=192.0.2.7:0",
        ] {
            let said = read(wrong).unwrap_err();
            assert!(said.contains("NAME=ADDRESS:PORT"), "{wrong}: {said}");
        }
    }

    #[test]
    fn it_lies_beside_the_zone_inside() {
        let zone: OutsideProbeZone = "outside.probe.test=192.0.2.7:8443".parse().unwrap();
        let problem = |inside: &str| zone.problem(Some(&inside.parse().unwrap()));
        for inside in ["outside.probe.test", "probe.test", "a.outside.probe.test"] {
            assert!(
                problem(inside).is_some_and(|said| said.contains("beside")),
                "{inside}"
            );
        }
        for inside in ["probe.tsutsumi.test", "side.probe.test", "be.test"] {
            assert_eq!(problem(inside), None);
        }
        assert_eq!(zone.problem(None), None);
    }
}
