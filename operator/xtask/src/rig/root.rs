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
    let config = config();
    let place = folder.to_str().context("the root's folder")?;
    fs::write(
        &config,
        CONFIG.replace("{folder}", place).replace("{address}", OUTSIDE_V4),
    )?;
    fs::write(folder.join("root.zone"), ZONE.replace("{address}", OUTSIDE_V4))?;
    fs::write(folder.join("broken.zone"), BROKEN)?;
    let id = keys(program, GENERATE)?;
    fs::write(folder.join("root.key"), format!("{}\n", ds(program, id.trim())?))?;
    let hints =
        ["a", "b"].map(|server| format!(". NS {server}.root.town.\n{server}.root.town. A {OUTSIDE_V4}\n"));
    fs::write(folder.join("named.root"), hints.concat())?;
    let server = knot::program(program, knot::SERVER);
    let mut inside = run::command("ip");
    inside.args(["netns", "exec", OUTSIDE]).arg(server.get_program());
    rig.spawn("root", inside.args(server.get_args()).arg("-c").arg(&config))
}

/// Has the root publish one more key, as at the beginning of a roll-over; returns its DS record.
pub(crate) fn publish_key(program: &Path) -> Result<String> {
    let id = keys(
        program,
        &[GENERATE, &["publish=+0", "ready=+1y", "active=+1y"]].concat(),
    )?;
    load_keys(program)?;
    ds(program, id.trim())
}

/// Takes every key away but the one that the root was made with.
pub(crate) fn withdraw_keys(program: &Path) -> Result<()> {
    let first = fs::read_to_string(folder().join("root.key"))?;
    for line in keys(program, &["list"])?.lines() {
        let id = line.split_ascii_whitespace().next().context("a key has an id")?;
        if ds(program, id)? != first.trim() {
            keys(program, &["delete", id])?;
        }
    }
    load_keys(program)
}

const GENERATE: &[&str] = &["generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"];

/// The SHA-256 digest of a key.
fn ds(program: &Path, id: &str) -> Result<String> {
    let listed = keys(program, &["ds", id])?;
    let sha256 = listed.lines().find(|line| line.contains(" 13 2 "));
    sha256
        .map(|line| line.trim().to_owned())
        .with_context(|| format!("the root's key {id} has no digest"))
}

fn keys(program: &Path, words: &[&str]) -> Result<String> {
    let mut keys = knot::program(program, knot::KEYS);
    run::output(keys.arg("-c").arg(config()).arg(".").args(words))
}

fn load_keys(program: &Path) -> Result<()> {
    let mut control = knot::program(program, knot::CONTROL);
    // Until it has signed anew.
    run::output(
        control
            .arg("-c")
            .arg(config())
            .args(["--blocking", "zone-keys-load", "."]),
    )
    .map(drop)
}

fn config() -> PathBuf {
    folder().join("knot.conf")
}
