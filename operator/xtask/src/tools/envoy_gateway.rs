//! Envoy Gateway, from its own module, which also holds its chart and the definitions of its kinds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Cache, ENVOY_GATEWAY, Version, go};
use crate::run;

const MODULE: &str = "github.com/envoyproxy/gateway";

/// The folder with the program `envoy-gateway` and its chart in `chart`.
pub(crate) fn folder(cache: &Cache) -> Result<PathBuf> {
    let version = ENVOY_GATEWAY.parse()?;
    cache.ensure(
        "envoy-gateway",
        &version,
        &["envoy-gateway", "chart/Chart.yaml", "chart/values.yaml"],
        |out| {
            go::install(&format!("{MODULE}/cmd/envoy-gateway"), &version, out)?;
            chart(&version, &out.join("chart"))
        },
    )
}

/// Copies the chart. Its values are a template that a release fills with the image's name.
fn chart(version: &Version, to: &Path) -> Result<()> {
    let module = format!("{MODULE}@v{version}");
    let folder = run::output(go::go().args(["mod", "download", "-json", &module]))?;
    let downloaded: serde_json::Value =
        serde_json::from_str(&folder).context("reading what go downloaded")?;
    let folder = downloaded["Dir"]
        .as_str()
        .context("go names no folder of the module")?;
    let source = Path::new(folder).join("charts/gateway-helm");
    // Nobody may write into the modules that go keeps.
    let mut copy = run::command("cp");
    run::output(
        copy.args(["--recursive", "--no-preserve=mode"])
            .arg(&source)
            .arg(to),
    )?;
    let template = to.join("values.tmpl.yaml");
    let values = fs::read_to_string(&template).with_context(|| format!("reading {}", template.display()))?;
    let values = values
        .replace(
            "${GatewayImage}",
            &format!("docker.io/envoyproxy/gateway:v{version}"),
        )
        .replace("${GatewayImagePullPolicy}", "IfNotPresent");
    fs::write(to.join("values.yaml"), values).context("writing the chart's values")
}
