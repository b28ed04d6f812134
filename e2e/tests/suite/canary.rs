//! A candidate that no CoreDNS would load is caught by the canary; cluster DNS does not even notice.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    install::{Fault, NAMESPACE},
    policy,
    scenario::{self, From, READY},
    wait,
};

#[test]
fn a_candidate_that_does_not_load_is_never_written() -> Result<()> {
    let name = "canary-fails";
    scenario::run(From::Installed, async |s| {
        s.cluster.fault(Some(Fault::Canary)).await?;
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        let client = s.keep_asking().await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let told = s
            .says(name, ConditionType::Stalled, "True", Reason::CanaryFailed)
            .await?;
        let message = policy::condition(&told, ConditionType::Stalled).map(|found| found.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|text| text.contains("tsutsumi-fault")),
            "what CoreDNS said of the candidate is missing: {message:?}"
        );
        let after = s.cluster.dns_config().await?.metadata.resource_version;
        ensure!(
            before == after,
            "the ConfigMap of cluster DNS was written: version {before:?}, then {after:?}"
        );
        s.pods_show(None).await?;
        client.lost_nothing()?;
        let pods = s.cluster.within::<Pod>(NAMESPACE);
        wait::until("the canaries are removed", READY, async || {
            let left = pods
                .list(&ListParams::default().labels("tsutsumi.dev/canary"))
                .await?
                .items;
            ensure!(left.is_empty(), "{} are left", left.len());
            Ok(())
        })
        .await
    })
}
