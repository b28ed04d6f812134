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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run;

    #[test]
    fn the_chart_and_the_documented_build_name_the_version_that_is_tested() {
        for (file, line) in [
            ("charts/tsutsumi/values.yaml", format!("    tag: \"{UNBOUND}\"")),
            ("Containerfile.unbound", format!("ARG VERSION={UNBOUND}")),
        ] {
            let text = fs::read_to_string(run::workspace().join(file)).expect(file);
            assert!(text.lines().any(|have| have == line), "{file} lacks `{line}`");
        }
    }
}
