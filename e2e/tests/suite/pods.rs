//! Pods that do not answer: one that never did is no reason to roll back, one that did before the write is.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::{
    conditions::{ConditionType, Reason},
    resolver_policy::RolloutState,
};
use tsutsumi_e2e::{
    between::{Between, Held},
    controller::{Local, Running},
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
        // Pods take the new text up slowly, so that the stopped one is missed often before the change settles.
        let slowly = corefile::kubeadm().replacen(&reload(), "reload 30s 10s\n    nsid slow", 1);
        s.cluster.write_corefile(&slowly, "e2e").await?;
        s.cluster.nudge().await?;
        wait::until("every pod is slow", READY, async || {
            s.pods_show(Some("slow")).await
        })
        .await?;
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
        let caught = Caught::rolling_back(s, name).await?;
        ensure!(
            s.cluster.corefile().await? != corefile::kubeadm(),
            "the candidate is not there before"
        );
        drop(caught.roll_back);
        let told = s
            .says(name, ConditionType::Stalled, "True", Reason::RolledBack)
            .await?;
        let message = policy::condition(&told, ConditionType::Stalled).map(|found| found.message.clone());
        ensure!(
            message.as_ref().is_some_and(|text| text.contains(&caught.pod)),
            "which pod? {message:?}"
        );
        ensure!(
            s.cluster.corefile().await? == corefile::kubeadm(),
            "the saved text is not back"
        );
        drop((caught.running, caught.stopped));

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
        let mut caught = Caught::rolling_back(s, name).await?;
        let candidate = s.cluster.corefile().await?;
        let edited = candidate.replacen("    errors\n", "    log\n    errors\n", 1);
        ensure!(
            edited != candidate,
            "there is no place for the edit in\n{candidate}"
        );
        s.cluster.write_corefile(&edited, "kubectl-edit").await?;
        drop(caught.roll_back);
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
        let again = next(&mut caught.between).await;
        drop(again.context("the edited text is hardened")?);
        drop(caught.stopped);
        s.becomes_ready(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text.contains("    log\n") && text.matches("    acl {").count() == 1,
            "the edit is lost, or our change is half there:\n{text}"
        );
        s.outside_is_refused().await
    })
}

/// A roll-back on its way: a pod of cluster DNS was stopped between the baseline and the write, so it answered before and
/// never shows the text.
struct Caught {
    /// The name of the stopped pod.
    pod: String,
    stopped: Stopped,
    /// The write of the saved text, which is held.
    roll_back: Held,
    /// Holds every further write of the Corefile.
    between: Between,
    running: Running,
    /// Has the controller's files.
    _local: Local,
}

impl Caught {
    async fn rolling_back(s: &Scenario, policy: &str) -> Result<Self> {
        s.cluster.scale_controller(0).await?;
        let local = Local::prepare(&s.rig, &s.cluster).await?;
        let writes = "PATCH /api/v1/namespaces/kube-system/configmaps/coredns";
        let mut between = local.through(&s.rig, writes).await?;
        let running = local.start(None)?;
        let pod = s.cluster.dns_pods().await?.remove(0).name;
        s.cluster.apply_policy(&policy::enforcing(policy)).await?;
        let write = next(&mut between).await.context("the candidate is written")?;
        let stopped = Stopped::dns_pod(&s.cluster, &pod).await?;
        drop(write);
        let roll_back = next(&mut between).await.context("the saved text goes back")?;
        Ok(Self {
            pod,
            stopped,
            roll_back,
            between,
            running,
            _local: local,
        })
    }
}

async fn next(between: &mut Between) -> Result<Held> {
    tokio::time::timeout(READY, between.next())
        .await
        .context("the controller writes nothing")?
}
