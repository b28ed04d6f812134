//! Pods that do not answer: one that never did is no reason to roll back, one that did before the write is.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::{
    conditions::{ConditionType, Reason},
    resolver_policy::RolloutState,
};
use tsutsumi_e2e::{
    between::{Between, Held},
    controller::Local,
    corefile, policy,
    process::Stopped,
    rig::reload,
    scenario::{self, From, READY, Scenario},
    wait,
};

#[test]
fn a_pod_that_was_not_ready_causes_no_roll_back() -> Result<()> {
    let name = "pods-not-ready";
    scenario::run(From::Installed, async |s| {
        slow(s).await?;
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
        let saved = slow(s).await?;
        let pod = s.cluster.dns_pods().await?.remove(0);
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        wait::until("the candidate is written", READY, async || {
            ensure!(s.cluster.corefile().await? != saved, "it is not");
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
        ensure!(s.cluster.corefile().await? == saved, "the saved text is not back");
        drop(stopped);

        // Not tried again with the same text and image, also not by a controller that starts anew.
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        s.restart_controller().await?;
        let later = s
            .next_round(name)
            .await
            .context("the new controller is at work")?;
        ensure!(
            policy::rollout(&later) == Some(RolloutState::RolledBack)
                && s.cluster.dns_config().await?.metadata.resource_version == before,
            "it is tried again: {:?}",
            later.status
        );
        Ok(())
    })
}

/// Somebody writes after the controller has decided to roll back and before its write arrives: the narrowest place that
/// there is.
#[test]
fn an_edit_during_a_roll_back_survives() -> Result<()> {
    let name = "pods-edit-during";
    scenario::run(From::Installed, async |s| {
        s.cluster.scale_controller(0).await?;
        let local = Local::prepare(&s.rig, &s.cluster).await?;
        let writes = "PATCH /api/v1/namespaces/kube-system/configmaps/coredns";
        let mut between = local.through(&s.rig, writes).await?;
        let _running = local.start(None)?;
        let pod = s.cluster.dns_pods().await?.remove(0);
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let write = next(&mut between).await.context("the candidate is written")?;
        // It has answered for the baseline, and never shows the text.
        let stopped = Stopped::dns_pod(&s.cluster, &pod.name).await?;
        drop(write);
        wait::until("the candidate is there", READY, async || {
            ensure!(s.cluster.corefile().await? != corefile::kubeadm(), "it is not");
            Ok(())
        })
        .await?;
        let candidate = s.cluster.corefile().await?;

        let roll_back = next(&mut between).await.context("the saved text goes back")?;
        let edited = candidate.replacen("    errors\n", "    log\n    errors\n", 1);
        ensure!(
            edited != candidate,
            "there is no place for the edit in\n{candidate}"
        );
        s.cluster.write_corefile(&edited, "kubectl-edit").await?;
        drop(roll_back);
        s.reaches(name, "what came of the roll-back is told", READY, |policy| {
            policy::rollout(policy) != Some(RolloutState::Written)
        })
        .await?;
        ensure!(
            s.cluster.corefile().await? == edited,
            "the edit was written over:\n{}",
            s.cluster.corefile().await?
        );

        // What was edited is another text, which is tried anew; that one is held too.
        drop(next(&mut between).await.context("the edited text is hardened")?);
        drop(stopped);
        s.becomes_ready(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text.contains("    log\n") && text.matches("    acl {").count() == 1,
            "the edit is lost, or our change is half there:\n{text}"
        );
        s.outside_is_refused().await
    })
}

/// Lets every pod take new texts up so slowly that none settles before a stopped pod was missed; the text that does so.
async fn slow(s: &Scenario) -> Result<String> {
    let slowly = corefile::kubeadm().replacen(&reload(), "reload 30s 10s\n    nsid slow", 1);
    s.cluster.write_corefile(&slowly, "e2e").await?;
    s.cluster.nudge().await?;
    wait::until("every pod is slow", READY, async || {
        s.pods_show(Some("slow")).await
    })
    .await?;
    Ok(slowly)
}

async fn next(between: &mut Between) -> Result<Held> {
    tokio::time::timeout(READY, between.next())
        .await
        .context("the controller writes nothing")?
}
