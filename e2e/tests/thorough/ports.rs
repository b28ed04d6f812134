//! Few ports to choose from: what leaves each from a socket of its own can be guessed all the same.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    place::Place,
    policy,
    scenario::{self, From, Scenario},
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_small_range_of_ports_is_told_until_it_is_widened() -> Result<()> {
    let name = "dns-03-range";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        let wide = port_range(s, "40000 40199").await?;
        let parts = ["ip_local_port_range"];
        let failed = s
            .control_says(name, ControlId::Dns03, ControlState::Fail, &parts)
            .await?;
        ensure!(failed.observed.contains("10 are needed"), "{}", failed.observed);
        port_range(s, &wide).await?;
        s.becomes_ready(name)
            .await
            .context("once the range is wide again")?;
        Ok(())
    })
}

/// Sets the range of ports that the kernel gives out in every DNS pod, and returns what it was.
async fn port_range(s: &Scenario, wanted: &str) -> Result<String> {
    let mut before = String::new();
    for pod in s.cluster.dns_pods().await? {
        let pod = s.cluster.within::<Pod>(DNS_NAMESPACE).get(&pod.name).await?;
        let wanted = wanted.to_owned();
        before = Place::of_pod(&pod)?.run(move || {
            let file = "/proc/sys/net/ipv4/ip_local_port_range";
            let before = fs::read_to_string(file)?;
            fs::write(file, wanted).with_context(|| format!("writing {file}"))?;
            Ok(before)
        })?;
    }
    Ok(before)
}
