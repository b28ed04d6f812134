//! A policy that goes loosens nothing, unless it was told to put back what stood there.

use anyhow::{Result, ensure};
use tsutsumi_e2e::{
    corefile, policy,
    scenario::{self, From, READY},
    wait,
};

#[test]
fn keep_leaves_everything_in_force() -> Result<()> {
    let name = "delete-keep";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        s.delete(name).await?;
        // A restarted controller has forgotten why the text is there; it must leave it all the same.
        s.restart_controller().await?;
        let after = s.cluster.dns_config().await?.metadata.resource_version;
        ensure!(
            before == after,
            "the ConfigMap was written after the policy was deleted"
        );
        s.outside_is_refused().await
    })
}

#[test]
fn restore_puts_the_original_back_byte_by_byte() -> Result<()> {
    let name = "delete-restore";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::restoring(name)).await?;
        let client = s.keep_asking().await?;
        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == corefile::kubeadm(),
            "what stood there before is not back:\n{text}"
        );
        wait::until("cluster DNS runs it", READY, async || {
            s.pods_show(None).await?;
            s.outside_is_answered().await
        })
        .await?;
        client.lost_nothing()?;
        Ok(())
    })
}

#[test]
fn restore_leaves_what_others_changed_since() -> Result<()> {
    let name = "delete-restore-changed";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::restoring(name)).await?;
        let text = s.cluster.corefile().await?;
        s.cluster
            .write_corefile(&text.replace("cache 30 {", "cache 45 {"), "kubectl-edit")
            .await?;
        s.becomes_ready(name).await?;
        s.delete(name).await?;
        let (text, wanted) = (
            s.cluster.corefile().await?,
            corefile::kubeadm().replace("cache 30 {", "cache 45 {"),
        );
        ensure!(
            text == wanted,
            "the others' change is lost, or ours is left:\n{text}"
        );
        Ok(())
    })
}
