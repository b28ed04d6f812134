//! `cargo xtask faults`: the controller under every fault of its API server, on a store and an API server of its own.
//! It needs root for the network namespaces of its pods, and runs beside a rig without touching it.

use anyhow::Result;

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

/// Runs the suite with the program that has been built.
pub(crate) fn suite(names: &[String]) -> Result<()> {
    let cache = Cache::open()?;
    let kubernetes = tools::kubernetes::folder(&cache, &tools::KUBERNETES.parse()?)?;
    let coredns = tools::coredns::binary(&cache, &tools::COREDNS.parse()?)?;
    let plane = run::step("store and API server", || ControlPlane::start(&kubernetes, false))?;
    let mut cargo = run::cargo();
    cargo.env("TSUTSUMI_COREDNS", coredns).env(
        "TSUTSUMI_FAULTS_KUBECONFIG",
        plane.folder().join("admin.kubeconfig"),
    );
    cargo.args(["test", "--package", "tsutsumi-e2e", "--test", "faults", "--"]);
    run::visible(cargo.args(names))
}
