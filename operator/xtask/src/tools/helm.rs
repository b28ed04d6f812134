//! Helm, from its own module.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, HELM, go};

/// Path of the `helm` binary.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    let version = HELM.parse()?;
    let folder = cache.ensure("helm", &version, &["helm"], |out| {
        go::install("helm.sh/helm/v3/cmd/helm", &version, out)
    })?;
    Ok(folder.join("helm"))
}
