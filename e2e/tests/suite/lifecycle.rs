//! The chart: an upgrade changes nothing in cluster DNS, an uninstall leaves it working and nothing hanging.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use tsutsumi_api::conditions::ConditionType;
use tsutsumi_e2e::{
    install, policy,
    scenario::{self, From},
};

#[test]
fn an_upgrade_changes_nothing_in_cluster_dns() -> Result<()> {
    let name = "lifecycle-upgrade";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        install::test(&s.rig)?;
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        let client = s.keep_asking().await?;
        let mut values = install::values(&s.rig);
        values["controller"]["podLabels"]["town.example/upgraded"] = "yes".into();
        values["controller"]["replicas"] = 2.into();
        install::install(&s.rig, &values)?;
        let ready = s.becomes_ready(name).await?;
        ensure!(policy::is(&ready, ConditionType::Programmed, "True"));
        client.lost_nothing()?;
        ensure!(
            s.cluster.dns_config().await?.metadata.resource_version == before,
            "the upgrade wrote the Corefile"
        );
        ensure!(
            s.cluster.controllers().await?.len() >= 2,
            "the upgrade was not carried out"
        );
        Ok(())
    })
}

#[test]
fn an_uninstall_leaves_dns_working_and_nothing_hanging() -> Result<()> {
    let name = "lifecycle-uninstall";
    scenario::run(From::Installed, async |s| {
        let ready = s.ready(&policy::restoring(name)).await?;
        ensure!(
            ready.metadata.finalizers.is_some_and(|list| !list.is_empty()),
            "Restore needs a finalizer"
        );
        let before = s.cluster.corefile().await?;
        let client = s.keep_asking().await?;
        install::uninstall(&s.rig, true)?;
        let crds: Api<CustomResourceDefinition> = Api::all(s.cluster.client.clone());
        crds.get("resolverpolicies.tsutsumi.dev")
            .await
            .context("CRDs are kept, and the policies with them")?;
        let kept = s
            .cluster
            .policies()
            .get(name)
            .await
            .context("the policy is kept")?;
        ensure!(
            kept.metadata.finalizers.is_none_or(|list| list.is_empty()),
            "nobody is left to take its finalizer off"
        );
        ensure!(
            s.cluster.corefile().await? == before,
            "an uninstall loosens nothing"
        );
        s.outside_is_refused().await?;
        client.lost_nothing()?;
        s.delete(name).await
    })
}
