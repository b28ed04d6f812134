//! Wishes and runs that several tests use.

use std::num::NonZeroU32;
use tsutsumi_providers::coredns::bufsize::MessageBytes;
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{Clients, Desired, ForwardHardening, Hardened, Others, Ownership, harden};

pub(crate) fn desired(allow: &[&str]) -> Desired {
    Desired {
        clients: Some(Clients {
            allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
            others: Others::Refuse,
        }),
        max_message_bytes: Some(MessageBytes::new(1232).unwrap()),
        any_empty: true,
        forward: Some(ForwardHardening {
            fresh_ports: true,
            max_concurrent: NonZeroU32::new(1000),
            failfast: true,
        }),
    }
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::of("1.14.7".parse().unwrap())
}

pub(crate) fn run(text: &str, desired: &Desired, ours: &Ownership) -> Hardened {
    harden(text, desired, ours, &capabilities()).unwrap()
}
