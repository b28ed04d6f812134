//! Knot DNS, an authoritative server that signs, from Debian's packages. The rig runs it and nothing links to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Cache, KNOT, debian};
use crate::run;

/// The server.
pub(crate) const SERVER: &str = "usr/sbin/knotd";
/// What tells a running server what to do.
pub(crate) const CONTROL: &str = "usr/sbin/knotc";
/// What makes and shows keys.
pub(crate) const KEYS: &str = "usr/sbin/keymgr";

/// The folder that its packages are unpacked into.
pub(crate) fn folder(cache: &Cache) -> Result<PathBuf> {
    debian::rootfs(cache, &KNOT.parse()?, &["knot"], &[SERVER, CONTROL, KEYS])
}

/// One of its programs, started by its own loader, so that it runs beside an older C library.
pub(crate) fn program(folder: &Path, path: &str) -> Command {
    let mut command = run::command(folder.join(debian::LOADER));
    command
        .arg("--library-path")
        .arg(folder.join(debian::LIBRARIES))
        .arg(folder.join(path));
    command
}
