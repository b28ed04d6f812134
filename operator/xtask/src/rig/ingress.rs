//! Ingress controllers in the rig's cluster, installed as their own projects do.

use std::path::Path;

use anyhow::Result;

use super::{Rig, images};
use crate::run;
use crate::tools::{self, Cache};

const ENVOY_GATEWAY: &str = include_str!("../../manifests/envoy-gateway.yaml");

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ingress {
    /// Envoy Gateway, as the class `envoy-gateway`
    EnvoyGateway,
}

/// Installs it, or brings it to the release and settings that the rig runs.
pub(crate) fn install(rig: &Rig, helm: &Path, ingress: Ingress) -> Result<()> {
    match ingress {
        Ingress::EnvoyGateway => envoy_gateway(rig, helm),
    }
}

fn envoy_gateway(rig: &Rig, helm: &Path) -> Result<()> {
    let cache = Cache::open()?;
    let folder = tools::envoy_gateway::folder(&cache)?;
    let envoy = tools::envoy::binary(&cache)?;
    run::step("Envoy Gateway", || {
        images::import_envoy(envoy, &tools::unbound::folder(&cache)?)?;
        images::import_envoy_gateway(folder.join("envoy-gateway"))?;
        let mut helm = run::command(helm);
        helm.env("KUBECONFIG", &rig.kubeconfig);
        helm.args(["upgrade", "--install", "envoy-gateway"])
            .arg(folder.join("chart"));
        helm.args(["--namespace", "envoy-gateway-system", "--create-namespace"]);
        helm.args(["--wait", "--timeout=3m"]);
        helm.arg("--set").arg(format!(
            "global.images.envoyGateway.image={}",
            images::envoy_gateway_name()
        ));
        // Beside each proxy runs what ends it gently, from the controller's own image.
        helm.arg("--set").arg(format!(
            "config.envoyGateway.provider.kubernetes.shutdownManager.image={}",
            images::envoy_gateway_name()
        ));
        run::output(&mut helm)?;
        // A class with parameters takes the proxy's image from them alone.
        let class = ENVOY_GATEWAY.replace("{envoy}", &images::envoy_name());
        rig.feed(&["apply", "--filename=-"], &class)?;
        rig.kubectl(&[
            "wait",
            "gatewayclass/envoy-gateway",
            "--for=condition=Accepted",
            "--timeout=60s",
        ])
        .map(drop)
    })
}
