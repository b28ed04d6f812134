//! Whatever is hardened: a second run changes nothing, restoring gives back every byte, nothing gets looser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use std::num::NonZeroU32;
use tsutsumi_providers::coredns::acl::{self, Decision};
use tsutsumi_providers::coredns::bufsize::{self, MessageBytes};
use tsutsumi_providers::coredns::corefile::{Block, Corefile};
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{Clients, Desired, ForwardHardening, Others, Ownership, harden, restore};

fuzz_target!(|text: &str| {
    let capabilities = Capabilities::of("1.14.7".parse().expect("a version"));
    let allow = ["10.0.0.0/9", "fd00::/8"]
        .map(|net| net.parse().expect("a range"))
        .to_vec();
    let desired = Desired {
        clients: Some(Clients {
            allow,
            others: Others::Refuse,
        }),
        max_message_bytes: MessageBytes::new(1232).ok(),
        any_empty: true,
        forward: Some(ForwardHardening {
            fresh_ports: true,
            max_concurrent: NonZeroU32::new(1000),
            failfast: true,
        }),
        probe: None,
        root: None,
        tap: None,
        edition: 0,
    };
    let Ok(first) = harden(text, &desired, &Ownership::default(), &capabilities) else {
        return;
    };
    let second = harden(&first.text, &desired, &first.ownership, &capabilities).expect("its own text");
    assert_eq!(second.text, first.text);
    assert!(second.changes.is_empty());
    assert_eq!(second.ownership, first.ownership);
    let marked = text.contains("tsutsumi-");
    if !marked {
        assert_eq!(
            restore(&first.text, &first.ownership).expect("its own text").text,
            text
        );
        never_looser(text, &first.text, capabilities);
    }
});

fn never_looser(before: &str, after: &str, capabilities: Capabilities) {
    let (before, after) = (
        Corefile::parse(before).expect("foreign"),
        Corefile::parse(after).expect("ours"),
    );
    let size = |block: &Block| bufsize::of(block).and_then(|size| size.bytes(capabilities));
    for (foreign, ours) in before.blocks().iter().zip(after.blocks()) {
        if let (Some(foreign), Some(ours)) = (size(foreign), size(ours)) {
            assert!(ours <= foreign);
        }
        let (Ok(foreign), Ok(rules)) = (acl::of(foreign), acl::of(ours)) else {
            continue;
        };
        if ours.opening().is_none()
            || foreign
                .iter()
                .flat_map(|rule| &rule.policies)
                .any(|policy| !policy.certain)
        {
            continue;
        }
        for address in [
            "10.0.0.1",
            "10.200.0.1",
            "8.8.8.8",
            "fd00::1",
            "2001:db8::1",
            "0.0.0.0",
            "::",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let inside = ["10.0.0.1", "fd00::1"]
                .iter()
                .any(|client| client.parse() == Ok(address));
            for query_type in ["A", "ANY"] {
                let passes = |rules| acl::decide(rules, "a.test.", address, query_type) == Decision::Passed;
                let both = passes(&foreign) && inside && query_type != "ANY";
                assert_eq!(passes(&rules), both, "{address} {query_type}");
            }
        }
    }
}
