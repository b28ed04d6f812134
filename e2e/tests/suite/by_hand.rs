//! The way back without us: the line of kubectl that is printed, run as it stands while no controller lives.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use tsutsumi_e2e::{
    corefile,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY},
    wait,
};

#[test]
fn the_printed_line_puts_the_text_back_without_us() -> Result<()> {
    let name = "by-hand";
    scenario::run(From::Installed, async |s| {
        s.outside_is_answered().await.context("before the policy")?;
        let ready = s.ready(&policy::enforcing(name)).await?;
        s.outside_is_refused().await?;
        let kept = s
            .cluster
            .within::<ConfigMap>(NAMESPACE)
            .get(&format!("tsutsumi-resolver-{name}"))
            .await?;
        let line = kept
            .annotations()
            .get("tsutsumi.dev/restore")
            .context("no line is kept")?;
        let warnings = ready.status.context("a policy has a status")?.warnings;
        ensure!(
            warnings.iter().any(|warning| warning.ends_with(line)),
            "the status has another line than {line}: {warnings:?}"
        );

        s.cluster.scale_controller(0).await?;
        let client = s.keep_asking().await?;
        s.rig.shell(line)?;
        let text = s.cluster.corefile().await?;
        ensure!(text == corefile::kubeadm(), "the line brought back\n{text}");
        wait::until("clients outside are answered again", READY, async || {
            s.pods_show(None).await?;
            s.outside_is_answered().await
        })
        .await?;
        client.lost_nothing()?;
        Ok(())
    })
}
