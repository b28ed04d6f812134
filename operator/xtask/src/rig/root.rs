//! A root of the rig's own, outside the cluster: signed, with a few names, and a zone below it whose signatures are
//! missing although the root says that there are some. What resolves from this root and checks, tells the two apart.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Rig;
use super::facts::{OUTSIDE, OUTSIDE_V4};
use super::state::ROOT;
use crate::run;
use crate::tools::knot;

const ZONE: &str = include_str!("../../manifests/root.zone");
const BROKEN: &str = include_str!("../../manifests/broken.zone");
const CONFIG: &str = include_str!("../../manifests/knot.conf");

/// Holds `named.root` and `root.key`, as a resolver wants them.
pub(crate) fn folder() -> PathBuf {
    Path::new(ROOT).join("root")
}

/// Makes the root's key and starts its server.
pub(crate) fn start(rig: &mut Rig, program: &Path) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(folder.join("run"))?;
    fs::create_dir_all(folder.join("keys"))?;
    let config = folder.join("knot.conf");
    let place = folder.to_str().context("the root's folder")?;
    fs::write(
        &config,
        CONFIG.replace("{folder}", place).replace("{address}", OUTSIDE_V4),
    )?;
    fs::write(folder.join("root.zone"), ZONE.replace("{address}", OUTSIDE_V4))?;
    fs::write(folder.join("broken.zone"), BROKEN)?;
    let keys = |words: &[&str]| {
        run::output(
            knot::program(program, knot::KEYS)
                .arg("-c")
                .arg(&config)
                .arg(".")
                .args(words),
        )
    };
    keys(&["generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"])?;
    let listed = keys(&["ds"])?;
    // Of the digests that it prints, SHA-256.
    let sha256 = listed.lines().find(|line| line.contains(" 13 2 "));
    fs::write(
        folder.join("root.key"),
        format!("{}\n", sha256.context("the root's key has no digest")?),
    )?;
    fs::write(
        folder.join("named.root"),
        format!(". NS a.root.town.\na.root.town. A {OUTSIDE_V4}\n"),
    )?;
    let server = knot::program(program, knot::SERVER);
    let mut inside = run::command("ip");
    inside.args(["netns", "exec", OUTSIDE]).arg(server.get_program());
    rig.spawn("root", inside.args(server.get_args()).arg("-c").arg(&config))
}
