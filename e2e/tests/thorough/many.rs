//! Cluster DNS of more pods than a probe zone remembers samples of.

use anyhow::{Context, Result, ensure};
use tsutsumi_e2e::{
    cluster::{DNS, DNS_NAMESPACE},
    policy,
    scenario::{self, From},
};
use tsutsumi_model::{ControlId, ControlState};
use tsutsumi_zone::MAX_SAMPLES;

#[test]
fn the_ports_of_every_pod_are_judged_however_many_there_are() -> Result<()> {
    let name = "many";
    scenario::run(From::Installed, async |s| {
        let many = MAX_SAMPLES + 1;
        s.cluster.scale(DNS_NAMESPACE, DNS, i32::try_from(many)?).await?;
        ensure!(s.cluster.dns_pods().await?.len() == many, "pods are missing");

        let ready = s.ready(&policy::enforcing(name)).await?;
        for (control, zone) in [
            (ControlId::Dns03, "at the probe zone"),
            (ControlId::Dns04, "outside"),
        ] {
            ensure!(
                policy::came_to(&ready, control, ControlState::Pass),
                "{control}: {ready:?}"
            );
            let told = s.control(name, control, ControlState::Pass).await?.observed;
            let (heard, _) = told
                .split_once(&format!(" questions heard {zone}"))
                .with_context(|| format!("no count in `{told}`"))?;
            ensure!(heard.parse::<usize>()? > 240 * many, "{control}: {told}");
        }
        s.delete(name).await
    })
}
