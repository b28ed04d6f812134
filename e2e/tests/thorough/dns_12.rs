//! `DNS-12` of the managed resolver, by the tag of its image.

use anyhow::{Context, Result, ensure};
use tsutsumi_e2e::{
    install, policy,
    scenario::{self, From},
};
use tsutsumi_model::{ControlId, ControlState};

/// A release of Unbound with published weaknesses.
const OLD_UNBOUND: &str = "1.26.0";

/// An image that says it is an old Unbound: the same program as ever, since only the tag tells.
#[test]
fn an_old_tag_of_the_managed_resolver_is_reported_until_it_is_replaced() -> Result<()> {
    let name = "dns-12-managed";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let old = s.rig.tag_unbound(OLD_UNBOUND)?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &old))?;
        s.cluster.apply_policy(&policy::managed(name)).await?;
        let failed = s
            .control_says(
                name,
                ControlId::Dns12,
                ControlState::Fail,
                &["managedResolver.image", "Unbound 1.26.2 or later"],
            )
            .await?;
        let parts = ["CVE-2026-81642", "by the tag of its image"];
        ensure!(
            parts.iter().all(|part| failed.observed.contains(part)),
            "{}",
            failed.observed
        );

        let sound = s.rig.unbound_image()?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &sound))?;
        s.becomes_ready(name).await.context("updated")?;
        let passed = s.control(name, ControlId::Dns12, ControlState::Pass).await?;
        ensure!(
            passed.message.contains("Unbound hides its version"),
            "a pass says on what it rests: {}",
            passed.message
        );
        s.delete(name).await
    })
}
