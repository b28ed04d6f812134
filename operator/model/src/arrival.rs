//! What a probe zone tells of the questions that reached it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{Mark, Transport, Vantage};

/// One question with a good mark, as it came in.
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the bits of a message's header"
)]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// When, in milliseconds of Unix time, by the zone's clock.
    pub at: u64,
    /// The sender's address and port, as they arrived.
    pub from: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// The message's id.
    pub id: u16,
    /// What the name says.
    pub mark: Mark,
    /// Whether letters of both cases stand in the marked label: a resolver that mixes them (0x20).
    pub mixed_case: bool,
    /// The type, as the number of the registry.
    pub qtype: u16,
    /// The EDNS message size offered, in bytes; absent means no EDNS.
    pub edns: Option<u16>,
    /// The DO bit: signatures are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The CD bit: the asker checks itself (RFC 4035, 3.2.2).
    pub checking_disabled: bool,
    /// The RD bit, which a resolver does not set towards an authority.
    pub recursion_desired: bool,
    /// The size of the question, in bytes of DNS message.
    pub query_bytes: u16,
}

/// Every question of one sample that a zone still remembers, in the order in which they came.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrivals {
    /// The questions.
    pub arrivals: Vec<Arrival>,
    /// Questions of this sample that came after the bound on what is remembered was reached.
    pub forgotten: u64,
    /// Since the zone started: questions whose mark was over, which are replays.
    pub expired: u64,
    /// Since the zone started: questions below the zone with a wrong mark or none.
    pub unmarked: u64,
}

/// One address that asked, and how: what is kept of its questions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asker {
    /// Its address, as the zone saw it.
    pub address: IpAddr,
    /// The source ports of its questions over UDP, in the order in which they came.
    pub ports: Vec<u16>,
    /// The ids of the same questions.
    pub ids: Vec<u16>,
    /// The largest EDNS size that it offered over UDP, in bytes.
    pub largest_offer: Option<u16>,
    /// Questions over UDP whose name came in letters of both cases.
    pub mixed_case: u16,
    /// Questions over TCP.
    pub over_tcp: u16,
}

/// What a zone heard of one sample.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// Where the zone stands: inside the cluster, or outside, behind whatever changes addresses on the way.
    pub zone: Vantage,
    /// Who asked, by address.
    pub askers: Vec<Asker>,
    /// Questions that came after the zone's memory was full.
    pub forgotten: u64,
}

impl Heard {
    /// What a zone tells, by asker.
    #[must_use]
    pub fn of(zone: Vantage, told: &Arrivals) -> Self {
        let mut askers: BTreeMap<IpAddr, Asker> = BTreeMap::new();
        for arrival in &told.arrivals {
            let address = arrival.from.ip();
            let asker = askers.entry(address).or_insert_with(|| Asker {
                address,
                ports: Vec::new(),
                ids: Vec::new(),
                largest_offer: None,
                mixed_case: 0,
                over_tcp: 0,
            });
            if arrival.transport == Transport::Tcp {
                asker.over_tcp = asker.over_tcp.saturating_add(1);
                continue;
            }
            asker.ports.push(arrival.from.port());
            asker.ids.push(arrival.id);
            asker.largest_offer = asker.largest_offer.max(arrival.edns);
            asker.mixed_case = asker.mixed_case.saturating_add(arrival.mixed_case.into());
        }
        Self {
            zone,
            askers: askers.into_values().collect(),
            forgotten: told.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ZoneName;

    fn arrival(from: &str, transport: Transport, edns: Option<u16>) -> Arrival {
        Arrival {
            at: 0,
            from: from.parse().unwrap(),
            transport,
            id: 7,
            mark: Mark {
                name: ZoneName::Port,
                sample: 1,
                number: 1,
                expires: 1,
            },
            mixed_case: edns.is_some(),
            qtype: 1,
            edns,
            dnssec_ok: true,
            checking_disabled: false,
            recursion_desired: false,
            query_bytes: 60,
        }
    }

    #[test]
    fn every_address_is_told_by_itself_and_only_datagrams_have_ports_that_count() {
        let told = Arrivals {
            arrivals: vec![
                arrival("192.0.2.2:4000", Transport::Udp, Some(1232)),
                arrival("192.0.2.1:5000", Transport::Udp, None),
                arrival("192.0.2.2:4001", Transport::Tcp, Some(4096)),
                arrival("192.0.2.2:3999", Transport::Udp, Some(512)),
            ],
            ..Arrivals::default()
        };
        let heard = Heard::of(Vantage::Inside, &told);
        let [one, two] = &heard.askers[..] else {
            panic!("{heard:?}");
        };
        assert_eq!((&one.ports[..], one.largest_offer), (&[5000][..], None));
        assert_eq!(two.ports, [4000, 3999], "in the order in which they came");
        assert_eq!(
            (two.largest_offer, two.mixed_case, two.over_tcp),
            (Some(1232), 2, 1)
        );
    }
}
