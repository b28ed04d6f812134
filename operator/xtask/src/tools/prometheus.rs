//! promtool, which judges rules as Prometheus would, from Debian's package.

use std::process::Command;

use anyhow::Result;

use super::{Cache, PROMTOOL, debian};

const PROGRAM: &str = "usr/bin/promtool";

/// promtool, to be given arguments.
pub(crate) fn promtool(cache: &Cache) -> Result<Command> {
    let root = debian::rootfs(cache, &PROMTOOL.parse()?, &["promtool"], &[PROGRAM])?;
    Ok(debian::command(&root, PROGRAM))
}
