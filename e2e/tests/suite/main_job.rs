//! The main job: an open resolver is closed, nobody inside notices, and probes say so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tsutsumi_api::{conditions::ConditionType, resolver_policy::RolloutState};
use tsutsumi_e2e::{
    policy,
    rig::workspace,
    scenario::{self, From},
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn an_open_resolver_is_closed_and_nobody_inside_notices() -> Result<()> {
    scenario::run(From::Bare, async |s| {
        s.outside_is_answered()
            .await
            .context("the danger is there before anything is installed")?;
        s.install().await?;

        let example = std::fs::read_to_string(workspace().join("docs/examples/cluster-dns.yaml"))?;
        let example = serde_saphyr::from_str(&example)?;
        let client = s.keep_asking().await?;
        let ready = s.ready(&example).await?;
        s.outside_is_refused().await?;
        let asked = client.lost_nothing()?;
        println!("{asked} questions from inside were all answered");

        for id in ControlId::ALL {
            // Nobody validates where the cluster's own upstreams are asked, and the example asks for no other; nor does it
            // look for ways around.
            let state = match id {
                ControlId::Dns05 | ControlId::Dns06 | ControlId::Dns07 | ControlId::Dns11 => {
                    ControlState::NotApplicable
                }
                _ => ControlState::Pass,
            };
            ensure!(
                policy::came_to(&ready, id, state),
                "{id}: {:?}",
                policy::control(&ready, id)
            );
        }
        ensure!(policy::rollout(&ready) == Some(RolloutState::Settled));
        let identity = ready
            .status
            .as_ref()
            .and_then(|status| status.rollout.as_ref())
            .map(|one| one.identity.clone());
        s.pods_show(identity.as_deref()).await?;

        // A restarted controller reconciles from nothing: it must find that there is nothing to do.
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        s.restart_controller().await?;
        let checked = policy::control(&ready, ControlId::Dns01).map(|control| control.checked_at.0);
        s.reaches(
            "cluster-dns",
            "probed again",
            Duration::from_secs(150),
            |policy| {
                policy::control(policy, ControlId::Dns01).map(|control| control.checked_at.0) > checked
                    && policy::is(policy, ConditionType::Ready, "True")
            },
        )
        .await?;
        let after = s.cluster.dns_config().await?.metadata.resource_version;
        ensure!(
            before == after,
            "a second reconcile wrote the ConfigMap: version {before:?}, then {after:?}"
        );
        Ok(())
    })
}
