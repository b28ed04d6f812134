//! `DNS-05`: signatures are validated.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use tsutsumi_e2e::{
    install::NAMESPACE,
    policy,
    scenario::{self, From, Scenario},
    signed::{believes_everything, validates},
    unbound,
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_resolver_that_stops_to_validate_is_told_until_it_validates_again() -> Result<()> {
    let name = "dns-05";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        believes_everything(s).context("the danger is there before")?;
        s.ready(&policy::managed(name)).await?;
        validates(s).context("enforced")?;
        s.control(name, ControlId::Dns05, ControlState::Pass).await?;

        on_every_resolver(s, name, "set_option val-permissive-mode: yes").await?;
        let failed = s
            .control_says(
                name,
                ControlId::Dns05,
                ControlState::Fail,
                &["Nobody on this path validates"],
            )
            .await
            .context("detected")?;
        ensure!(
            failed.observed.contains("with a wrong signature with NOERROR"),
            "{}",
            failed.observed
        );

        on_every_resolver(s, name, "set_option val-permissive-mode: no").await?;
        s.becomes_ready(name).await.context("once it validates again")?;
        s.delete(name).await
    })
}

#[test]
fn a_policy_without_a_resolver_of_ours_asks_for_no_validation() -> Result<()> {
    let name = "dns-05-unasked";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        let told = s
            .control(name, ControlId::Dns05, ControlState::NotApplicable)
            .await?;
        ensure!(
            told.message.contains("recursion.via: Managed"),
            "{}",
            told.message
        );
        Ok(())
    })
}

async fn on_every_resolver(s: &Scenario, policy: &str, words: &str) -> Result<()> {
    let label = ListParams::default().labels(&format!("tsutsumi.dev/unbound={policy}"));
    let pods = s.cluster.within::<Pod>(NAMESPACE).list(&label).await?.items;
    ensure!(!pods.is_empty(), "no pod of a managed resolver is there");
    pods.iter().try_for_each(|pod| unbound::control(pod, words))
}
