//! Others write to the same Corefile: what they wrote stays, and nobody is fought with.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    corefile,
    dns::API,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY, SEEN},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_corefile_that_coredns_refuses_is_told_and_left_alone() -> Result<()> {
    let name = "foreign-bad";
    scenario::run(From::Installed, async |s| {
        let bad = corefile::kubeadm().replacen("    ready\n", "    ready\n    import a b c\n", 1);
        let client = s.keep_asking().await?;
        s.cluster.write_corefile(&bad, "kubectl-edit").await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let told = s
            .says(name, ConditionType::Stalled, "True", Reason::CorefileInvalid)
            .await?;
        let message = policy::condition(&told, ConditionType::Programmed).map(|found| found.message.clone());
        ensure!(
            message.as_ref().is_some_and(|text| text.contains("import")),
            "it does not say where: {message:?}"
        );
        ensure!(
            s.cluster.corefile().await? == bad,
            "a text that cannot be read was written over"
        );

        s.cluster
            .write_corefile(corefile::kubeadm(), "kubectl-edit")
            .await?;
        s.becomes_ready(name).await.context("after the text was mended")?;
        client.lost_nothing()?;
        Ok(())
    })
}

#[test]
fn two_reverts_end_the_writing_and_a_new_generation_starts_again() -> Result<()> {
    let name = "foreign-twice";
    scenario::run(From::Installed, async |s| {
        let mut rarely = policy::enforcing(name);
        rarely["spec"]["verification"]["interval"] = "1h".into();
        s.ready(&rarely).await?;
        s.cluster
            .write_corefile(corefile::kubeadm(), "argo-of-the-town")
            .await?;
        wait::until("the first revert is answered", READY, async || {
            ensure!(s.cluster.corefile().await? != corefile::kubeadm(), "it is not");
            Ok(())
        })
        .await?;
        s.becomes_ready(name).await?;
        s.cluster
            .write_corefile(corefile::kubeadm(), "argo-of-the-town")
            .await?;
        let told = s
            .says(name, ConditionType::Stalled, "True", Reason::OverwrittenBy)
            .await?;
        let message = policy::condition(&told, ConditionType::Stalled).map(|found| found.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|text| text.contains("argo-of-the-town")),
            "the manager is not named: {message:?}"
        );
        ensure!(
            s.cluster.corefile().await? == corefile::kubeadm(),
            "the second revert was fought"
        );
        // The pods load the foreign text some time after the round that its coming set off.
        s.reaches(name, "seen open again", SEEN, |policy| {
            policy::came_to(policy, ControlId::Dns01, ControlState::Fail)
        })
        .await?;

        s.ready(&policy::limiting(name, 1200))
            .await
            .context("a new generation starts again")?;
        Ok(())
    })
}

#[test]
fn denials_of_others_stay_first() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        let denial = "acl {\n        block type TXT net 10.0.0.0/8\n    }";
        s.cluster
            .write_corefile(&corefile::with(denial), "kubectl-edit")
            .await?;
        s.ready(&policy::enforcing("foreign-denial")).await?;
        let text = s.cluster.corefile().await?;
        let foreign = text
            .find("block type TXT net 10.0.0.0/8")
            .context("the foreign denial is gone")?;
        let ours = text.find("allow").context("nothing is allowed")?;
        ensure!(
            foreign < ours,
            "the foreign denial no longer comes first:\n{text}"
        );
        s.outside_is_refused().await?;
        let pod = s.cluster.dns_pods().await?.remove(0);
        let server = std::net::SocketAddr::new(pod.address, 53);
        let denied = s.ask_inside(server, &tsutsumi_e2e::dns::Question::txt(API))?;
        ensure!(
            denied.code == hickory_proto::op::ResponseCode::Refused,
            "TXT from inside is denied no more: {denied:?}"
        );
        Ok(())
    })
}

#[test]
fn an_edit_during_a_roll_out_survives() -> Result<()> {
    let name = "foreign-during";
    scenario::run(From::Installed, async |s| {
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let pods = s.cluster.within::<Pod>(NAMESPACE);
        wait::until("a canary runs", READY, async || {
            let canaries = pods
                .list(&ListParams::default().labels("tsutsumi.dev/canary"))
                .await?;
            ensure!(!canaries.items.is_empty(), "there is none");
            Ok(())
        })
        .await?;
        s.cluster
            .write_corefile(&corefile::with("log"), "kubectl-edit")
            .await?;
        s.becomes_ready(name).await?;
        wait::until("both edits stand", READY, async || {
            let text = s.cluster.corefile().await?;
            ensure!(
                text.contains("    log\n") && text.contains("acl"),
                "the Corefile is\n{text}"
            );
            Ok(())
        })
        .await?;
        s.becomes_ready(name).await?;
        s.outside_is_refused().await
    })
}
