//! Pods that do not answer: one that never did is no reason to roll back, one that did before the write is.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::{
    conditions::{ConditionType, Reason},
    resolver_policy::RolloutState,
};
use tsutsumi_e2e::{
    corefile, policy,
    process::Stopped,
    scenario::{self, From, READY},
    wait,
};

#[test]
fn a_pod_that_was_not_ready_causes_no_roll_back() -> Result<()> {
    let name = "pods-not-ready";
    scenario::run(From::Installed, async |s| {
        let pod = s.cluster.dns_pods().await?.remove(0);
        let stopped = Stopped::dns_pod(&s.cluster, &pod.name).await?;
        wait::until("the stopped pod is not ready", READY, async || {
            let pods = s.cluster.dns_pods().await?;
            ensure!(
                pods.iter().any(|one| one.name == pod.name && !one.ready),
                "{pods:?}"
            );
            Ok(())
        })
        .await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let written = |policy: &tsutsumi_api::ResolverPolicy| {
            matches!(
                policy::rollout(policy),
                Some(RolloutState::Written | RolloutState::Settled)
            )
        };
        s.reaches(name, "written", READY, written).await?;
        s.reaches(name, "settled without the stopped pod", READY, |policy| {
            policy::rollout(policy) == Some(RolloutState::Settled)
        })
        .await?;
        drop(stopped);
        s.becomes_ready(name).await.context("the pod came back")?;
        s.outside_is_refused().await
    })
}

#[test]
fn a_pod_that_stops_answering_after_the_write_brings_the_saved_text_back_once() -> Result<()> {
    let name = "pods-roll-back";
    scenario::run(From::Installed, async |s| {
        let pod = s.cluster.dns_pods().await?.remove(0);
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        wait::until("the candidate is written", READY, async || {
            ensure!(s.cluster.corefile().await? != corefile::KUBEADM, "it is not");
            Ok(())
        })
        .await?;
        let stopped = Stopped::dns_pod(&s.cluster, &pod.name).await?;
        let told = s
            .says(name, ConditionType::Stalled, "True", Reason::RolledBack)
            .await?;
        let message = policy::condition(&told, ConditionType::Stalled).map(|found| found.message.clone());
        ensure!(
            message.as_ref().is_some_and(|text| text.contains(&pod.name)),
            "which pod? {message:?}"
        );
        ensure!(
            s.cluster.corefile().await? == corefile::KUBEADM,
            "the saved text is not back"
        );
        drop(stopped);

        // Not tried again with the same text and image, also not by a controller that starts anew.
        s.cluster.scale_controller(0).await?;
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        s.cluster.scale_controller(1).await?;
        s.says(name, ConditionType::Programmed, "False", Reason::RolledBack)
            .await?;
        ensure!(
            s.cluster.dns_config().await?.metadata.resource_version == before,
            "it was written again"
        );
        Ok(())
    })
}
