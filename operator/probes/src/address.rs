//! Which addresses no probe may touch, whoever asks.
//!
//! An address is judged together with every IPv4 address that it may carry inside, since a translator on the way would
//! unwrap it. Private ranges are not refused here: endpoints that the controller observed are mostly private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why the egress rules do not let a probe go to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// `240.0.0.0/4` with the limited broadcast address.
    #[error("the address is reserved or broadcast")]
    Broadcast,
    /// The prober's host itself.
    #[error("the address is loopback, and the rules do not allow that")]
    Loopback,
    /// An instance metadata service, which hands out credentials.
    #[error("the address is a cloud metadata service")]
    Metadata,
    /// More than one receiver.
    #[error("the address is multicast")]
    Multicast,
    /// In a range that the operator of this prober closed.
    #[error("the address is in a range that this prober was told to keep out of")]
    Range,
    /// `64:ff9b:1::/48` (RFC 8215): where an IPv4 address stands inside is each site's own choice (RFC 6052, 2.2).
    #[error("the address belongs to a local translator, so what it stands for cannot be told")]
    Translator,
    /// `0.0.0.0/8` or `::`, which Linux takes for the host itself.
    #[error("the address is unspecified")]
    Unspecified,
}

/// Instance metadata and credential services that can be reached from a pod.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Azure, GCP, OpenStack, Oracle and others
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS, container credentials
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS, EKS Pod Identity
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba Cloud
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS, EKS Pod Identity
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // GCP
];

/// Judges the address and all that is embedded in it.
pub(crate) fn check(address: IpAddr, loopback_allowed: bool, closed: &[IpNet]) -> Result<(), Denied> {
    forms(address)
        .into_iter()
        .try_for_each(|form| check_form(form, loopback_allowed, closed))
}

fn check_form(address: IpAddr, loopback_allowed: bool, closed: &[IpNet]) -> Result<(), Denied> {
    let this_network = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
    let reserved = matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240);
    let translator = matches!(address, IpAddr::V6(v6) if matches!(v6.segments(), [0x64, 0xff9b, 1, ..]));
    if address.is_unspecified() || this_network {
        Err(Denied::Unspecified)
    } else if address.is_multicast() {
        Err(Denied::Multicast)
    } else if reserved {
        Err(Denied::Broadcast)
    } else if translator {
        Err(Denied::Translator)
    } else if METADATA.contains(&address) {
        Err(Denied::Metadata)
    } else if address.is_loopback() && !loopback_allowed {
        Err(Denied::Loopback)
    } else if closed.iter().any(|range| range.contains(&address)) {
        Err(Denied::Range)
    } else {
        Ok(())
    }
}

/// The address itself and every IPv4 address that its bits may carry.
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let mut forms = vec![address];
    if let IpAddr::V6(v6) = address {
        forms.extend(embedded(v6).into_iter().map(IpAddr::V4));
    }
    forms
}

fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let s = address.segments();
    let o = address.octets();
    let at = |i: usize| Ipv4Addr::new(o[i], o[i + 1], o[i + 2], o[i + 3]);
    match s {
        // `::` and `::1` are addresses of their own, not IPv4-compatible ones.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => vec![],
        // IPv4-compatible (RFC 4291, 2.5.5.1) and translated (RFC 2765, 2.1), mapped (RFC 4291, 2.5.5.2), NAT64
        // (RFC 6052, 2.1), and under any prefix ISATAP (RFC 5214, 6.1).
        [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        | [0, 0, 0, 0, 0, 0xffff, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![at(12)],
        // 6to4 (RFC 3056).
        [0x2002, ..] => vec![at(2)],
        // Teredo (RFC 4380, 4): server, and client with its bits flipped.
        [0x2001, 0, ..] => vec![at(4), Ipv4Addr::from(!u32::from(at(12)))],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(address: &str) -> Result<(), Denied> {
        check(
            address.parse().unwrap(),
            false,
            &["10.96.0.1/32".parse().unwrap()],
        )
    }

    #[test]
    fn addresses_of_clusters_and_of_the_world_are_open() {
        for address in [
            "10.244.0.7",
            "192.168.1.1",
            "169.254.20.10", // node-local DNS
            "100.64.0.1",
            "203.0.113.9",
            "fd00:10:244::7",
            "2001:db8::1",
            "fe80::1",
            "::ffff:10.244.0.7",
            "64:ff9b::203.0.113.9",
        ] {
            assert_eq!(verdict(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_is_closed_says_why() {
        for (address, why) in [
            ("0.0.0.0", Denied::Unspecified),
            ("0.1.2.3", Denied::Unspecified),
            ("::", Denied::Unspecified),
            ("224.0.0.251", Denied::Multicast),
            ("ff02::fb", Denied::Multicast),
            ("255.255.255.255", Denied::Broadcast),
            ("240.0.0.1", Denied::Broadcast),
            ("127.0.0.1", Denied::Loopback),
            ("127.8.8.8", Denied::Loopback),
            ("::1", Denied::Loopback),
            ("169.254.169.254", Denied::Metadata),
            ("169.254.170.2", Denied::Metadata),
            ("169.254.170.23", Denied::Metadata),
            ("100.100.100.200", Denied::Metadata),
            ("fd00:ec2::254", Denied::Metadata),
            ("fd00:ec2::23", Denied::Metadata),
            ("fd20:ce::254", Denied::Metadata),
            ("10.96.0.1", Denied::Range),
            ("64:ff9b:1:a9fe:a9:fe00::", Denied::Translator),
            ("64:ff9b:1::203.0.113.9", Denied::Translator),
        ] {
            assert_eq!(verdict(address), Err(why), "{address}");
        }
    }

    /// Each carrier with 169.254.169.254 (a9fe:a9fe), 127.0.0.1 (7f00:1) and the closed 10.96.0.1 (a60:1) inside.
    #[test]
    fn every_embedded_ipv4_form_is_unwrapped() {
        type Carry = fn(Ipv4Addr) -> String;
        let carriers: [(&str, Carry); 8] = [
            ("mapped", |v4| format!("::ffff:{v4}")),
            ("compatible", |v4| format!("::{v4}")),
            ("translated", |v4| format!("::ffff:0:{v4}")),
            ("NAT64", |v4| format!("64:ff9b::{v4}")),
            ("6to4", |v4| {
                let [a, b, c, d] = v4.octets();
                format!("2002:{a:x}{b:02x}:{c:x}{d:02x}::1")
            }),
            ("Teredo server", |v4| {
                let [a, b, c, d] = v4.octets();
                format!("2001:0:{a:x}{b:02x}:{c:x}{d:02x}:0:0:3434:3434")
            }),
            ("Teredo client", |v4| {
                let [a, b, c, d] = Ipv4Addr::from(!u32::from(v4)).octets();
                format!("2001:0:c000:201:0:0:{a:x}{b:02x}:{c:x}{d:02x}")
            }),
            ("ISATAP", |v4| format!("2001:db8::200:5efe:{v4}")),
        ];
        for (name, carry) in carriers {
            for (inner, why) in [
                ("169.254.169.254", Denied::Metadata),
                ("127.0.0.1", Denied::Loopback),
                ("10.96.0.1", Denied::Range),
                ("224.0.0.1", Denied::Multicast),
                ("255.255.255.255", Denied::Broadcast),
            ] {
                let address = carry(inner.parse().unwrap());
                assert_eq!(verdict(&address), Err(why), "{name}: {address}");
            }
        }
    }

    #[test]
    fn loopback_opens_only_when_asked_and_opens_nothing_else() {
        let allowed = |address: &str| check(address.parse().unwrap(), true, &[]);
        assert_eq!(allowed("127.0.0.1"), Ok(()));
        assert_eq!(allowed("::1"), Ok(()));
        assert_eq!(allowed("::ffff:127.0.0.1"), Ok(()));
        assert_eq!(allowed("::ffff:169.254.169.254"), Err(Denied::Metadata));
        assert_eq!(allowed("0.0.0.0"), Err(Denied::Unspecified));
    }
}
