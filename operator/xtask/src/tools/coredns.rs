//! CoreDNS, from its own module.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, Version, go};

/// Path of the `coredns` binary of this version.
pub(crate) fn binary(cache: &Cache, version: &Version) -> Result<PathBuf> {
    let folder = cache.ensure("coredns", version, &["coredns"], |out| {
        go::install("github.com/coredns/coredns", version, out)
    })?;
    Ok(folder.join("coredns"))
}
