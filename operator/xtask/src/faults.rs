//! `cargo xtask faults`: the controller under every fault of its API server, on a store and an API server of its own.
//! It needs root for the network namespaces of its pods, and runs beside a rig without touching it.

use std::{process::Command, thread};

use anyhow::{Result, anyhow};

use crate::control_plane::ControlPlane;
use crate::tools::{self, Cache};
use crate::{image, run};

/// Which faults.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only tests whose names contain one of these
    names: Vec<String>,
}

/// Builds the program and runs the suite.
pub(crate) fn run(options: &Options) -> Result<()> {
    image::operator()?;
    suite(&options.names)
}

/// Worlds side by side, since a change mostly waits: their names, and the tests of each. Each takes about as long as the
/// others.
const WORLDS: [(&str, &[&str]); 4] = [
    ("a", &["an_error_at_each_read"]),
    ("b", &["an_error_at_each_write"]),
    ("c", &["lost_reply::"]),
    ("d", &["--skip", "an_error_at_each", "--skip", "lost_reply::"]),
];

/// Runs the suite with the program that has been built.
pub(crate) fn suite(names: &[String]) -> Result<()> {
    let cache = Cache::open()?;
    let kubernetes = tools::kubernetes::folder(&cache, &tools::KUBERNETES.parse()?)?;
    let coredns = tools::coredns::binary(&cache, &tools::COREDNS.parse()?)?;
    run::output(&mut tests(&["--no-run"]))?;
    let world = |name: &str, filters: &[&str]| {
        let plane = ControlPlane::start(&kubernetes, false)?;
        let mut cargo = tests(&["--"]);
        cargo
            .args(filters)
            .env("TSUTSUMI_COREDNS", &coredns)
            .env("TSUTSUMI_FAULTS_WORLD", name)
            .env(
                "TSUTSUMI_FAULTS_KUBECONFIG",
                plane.folder().join("admin.kubeconfig"),
            );
        // Not as it comes: two suites would write into each other's lines.
        run::output(&mut cargo).map(|said| print!("{said}"))
    };
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return world(WORLDS[0].0, &names);
    }
    thread::scope(|scope| {
        let running = WORLDS.map(|(name, filters)| scope.spawn(move || world(name, filters)));
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a world's runner stopped"))?)
    })
}

fn tests(arguments: &[&str]) -> Command {
    let mut cargo = run::cargo();
    cargo
        .args(["test", "--quiet"])
        .args(run::E2E)
        .args(["--test", "faults"])
        .args(arguments);
    cargo
}
