//! Resolvers of others and a load generator for DNS, from Debian's packages: tests and benchmarks run them, nothing links
//! to them. Each is fetched when it is asked for.

use std::path::PathBuf;

use anyhow::Result;

use super::{BIND, Cache, DNSPERF, KNOT_RESOLVER, PDNS_RECURSOR, debian, unbound};

/// One of them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Peer {
    /// BIND 9
    Bind,
    /// A load generator
    Dnsperf,
    /// Knot Resolver, of the series that Debian has
    KnotResolver,
    /// `PowerDNS` Recursor
    PdnsRecursor,
    /// Unbound, which the managed resolver is too
    Unbound,
}

impl Peer {
    /// Those that `test --all` judges.
    pub(crate) const RESOLVERS: [Self; 4] =
        [Self::Bind, Self::KnotResolver, Self::PdnsRecursor, Self::Unbound];

    /// The folder that its packages are unpacked into.
    pub(crate) fn folder(self) -> Result<PathBuf> {
        let cache = Cache::open()?;
        let (package, version, program) = match self {
            Self::Bind => ("bind9=1:", BIND, "usr/sbin/named"),
            Self::Dnsperf => ("dnsperf", DNSPERF, "usr/bin/dnsperf"),
            Self::KnotResolver => ("knot-resolver", KNOT_RESOLVER, "usr/sbin/kresd"),
            Self::PdnsRecursor => ("pdns-recursor", PDNS_RECURSOR, "usr/sbin/pdns_recursor"),
            Self::Unbound => return unbound::folder(&cache),
        };
        debian::rootfs(&cache, &version.parse()?, &[package], &[program])
    }
}
