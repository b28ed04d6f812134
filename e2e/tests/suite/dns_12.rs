//! `DNS-12`: the resolver's version is free of known holes; and what a hole in `acl` means for `DNS-01`.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_api::{ResolverPolicy, resolver_policy::RolloutState};
use tsutsumi_e2e::{
    dns::{Question, fresh_name},
    policy,
    scenario::{self, From, Scenario},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

/// The last release in which `cache` answers before `acl` is asked.
const LEAKING: &str = "1.14.6";
const FIXED: &str = "1.14.7";

/// Nothing can be written against an old version: the image is somebody else's. So this circle is detected → updated →
/// verified → reverted → detected again.
#[test]
fn a_leaking_version_is_reported_although_acl_is_there() -> Result<()> {
    let name = "dns-12";
    scenario::run(From::Installed, async |s| {
        let (leaking, sound) = (s.rig.import_coredns(LEAKING)?, s.original_image().await?);
        s.run_image(&leaking).await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        is_reported(s, name).await?;

        s.run_image(&sound).await?;
        s.becomes_ready(name).await.context("updated")?;
        s.control(name, ControlId::Dns12, ControlState::Pass).await?;
        s.control(name, ControlId::Dns01, ControlState::Pass).await?;
        s.outside_is_refused().await?;

        s.run_image(&leaking).await?;
        is_reported(s, name).await.context("reverted")
    })
}

/// The version is named, and so is what leaks.
async fn is_reported(s: &Scenario, name: &str) -> Result<()> {
    let settled = |policy: &ResolverPolicy| policy::rollout(policy) == Some(RolloutState::Settled);
    s.reaches(name, "written all the same", scenario::READY, settled)
        .await?;
    let parts = [LEAKING, FIXED, "kubectl"];
    for control in [ControlId::Dns12, ControlId::Dns01] {
        s.control_says(name, control, ControlState::Fail, &parts).await?;
    }
    wait::until(
        "the warmed name leaks and no other",
        scenario::READY,
        async || leaks(s).await,
    )
    .await
}

/// The leak itself: outside, a fresh name is refused, and the same name is answered once somebody inside has asked.
async fn leaks(s: &Scenario) -> Result<()> {
    for server in s.outside_addresses().await?.into_iter().skip(1) {
        let question = Question::a(fresh_name());
        let fresh = s
            .ask_outside(server, &question)?
            .context("a refusal is an answer")?;
        ensure!(
            fresh.code == ResponseCode::Refused,
            "a fresh name from outside: {fresh:?}"
        );
        s.ask_inside(server, &question)?;
        let warmed = s.ask_outside(server, &question)?.context("an answer leaks")?;
        ensure!(
            warmed.code == ResponseCode::NoError && warmed.records > 0,
            "a warmed name from outside: {warmed:?}"
        );
    }
    Ok(())
}
