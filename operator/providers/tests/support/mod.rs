//! Wishes and runs that several tests use.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use tsutsumi_model::Endpoint;
use tsutsumi_providers::coredns::bufsize::MessageBytes;
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{
    Clients, Desired, ForwardHardening, Hardened, Lead, Others, Ownership, harden,
};

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
        probe: None,
        root: None,
        tap: None,
        edition: 0,
    }
}

/// A probe zone with its server at this address.
pub(crate) fn probe(server: &str) -> Lead {
    Lead {
        zone: "probe.tsutsumi.test".parse().unwrap(),
        server: endpoint(server),
    }
}

/// An address with its port.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    let server: SocketAddr = text.parse().unwrap();
    Endpoint::of(server.ip(), server.port().into()).unwrap()
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::of("1.14.7".parse().unwrap())
}

pub(crate) fn run(text: &str, desired: &Desired, ours: &Ownership) -> Hardened {
    harden(text, desired, ours, &capabilities()).unwrap()
}
