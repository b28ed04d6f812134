//! Unbound and the root's data, from Debian's packages.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, UNBOUND, debian};

/// Its programs that the rig's image carries.
pub(crate) const PROGRAMS: [&str; 3] = [
    "usr/sbin/unbound",
    "usr/sbin/unbound-checkconf",
    "usr/sbin/unbound-control",
];

/// The folder that its packages are unpacked into.
pub(crate) fn folder(cache: &Cache) -> Result<PathBuf> {
    let [server, check, control] = PROGRAMS;
    let needs = [server, check, control, "usr/share/dns/root.key"];
    debian::rootfs(cache, &UNBOUND.parse()?, &["unbound", "dns-root-data"], &needs)
}
