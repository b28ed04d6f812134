//! A crash between any two calls is harmless: the controller is ended after each of its writes in turn, and where it
//! all ends is where a run without a crash ends.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{ResourceExt, api::ListParams};
use tsutsumi_api::resolver_policy::RolloutState;
use tsutsumi_e2e::{
    controller::Local,
    corefile,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY, Scenario},
    wait,
};

/// More writes than any change should need; a run that crashes after so many is a loop.
const TOO_MANY: u32 = 60;

#[derive(Debug, Eq, PartialEq)]
struct End {
    corefile: String,
    ours: BTreeSet<String>,
}

#[test]
fn a_crash_after_each_write_ends_where_none_does() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        s.cluster.scale_controller(0).await?;
        let local = Local::prepare(&s.rig, &s.cluster).await?;
        let client = s.keep_asking().await?;
        let wanted = {
            let _running = local.start(None)?;
            settles(s, "crash-0").await.context("without a crash")?
        };
        for writes in 1..TOO_MANY {
            let name = format!("crash-{writes}");
            again(s).await?;
            let mut crashing = local.start(Some(writes))?;
            s.cluster.apply_policy(&policy::enforcing(&name)).await?;
            let crashed = wait::until("a crash or the end of the change", READY, async || {
                if crashing.crashed()?.is_some() {
                    return Ok(true);
                }
                let found = s.cluster.policies().get(&name).await?;
                ensure!(policy::rollout(&found) == Some(RolloutState::Settled), "neither");
                Ok(false)
            })
            .await?;
            drop(crashing);
            let _running = local.start(None)?;
            let end = settles(s, &name)
                .await
                .with_context(|| format!("after a crash at write {writes}"))?;
            ensure!(
                end == wanted,
                "a crash at write {writes} ends in\n{end:#?}\nand none in\n{wanted:#?}"
            );
            if !crashed {
                println!("the change takes fewer than {writes} writes");
                client.lost_nothing()?;
                return Ok(());
            }
        }
        bail!("after {TOO_MANY} writes the change had not ended")
    })
}

/// Waits until the policy's change has settled and nothing is left over, and says where that is.
async fn settles(s: &Scenario, name: &str) -> Result<End> {
    let state = s.cluster.apply_policy(&policy::enforcing(name)).await?;
    let name = state.metadata.name.context("a policy has a name")?;
    s.reaches(&name, "settled", READY, |policy| {
        policy::rollout(policy) == Some(RolloutState::Settled)
    })
    .await?;
    wait::until("the canaries are removed", READY, async || {
        let canaries = ListParams::default().labels("tsutsumi.dev/canary");
        let pods = s
            .cluster
            .within::<Pod>(NAMESPACE)
            .list(&canaries)
            .await?
            .items
            .len();
        let config_maps = s
            .cluster
            .within::<ConfigMap>(NAMESPACE)
            .list(&canaries)
            .await?
            .items
            .len();
        ensure!(
            pods + config_maps == 0,
            "{pods} pods and {config_maps} ConfigMaps are left"
        );
        Ok(())
    })
    .await?;
    let ours = s
        .cluster
        .within::<ConfigMap>(NAMESPACE)
        .list(&ListParams::default())
        .await?;
    let ours = ours
        .iter()
        .map(ResourceExt::name_any)
        .filter(|one| one.starts_with("tsutsumi-resolver-"));
    Ok(End {
        corefile: s.cluster.corefile().await?,
        ours: ours.map(|one| one.replace(&name, "POLICY")).collect(),
    })
}

/// Back to the start, as far as the next change needs it: pods may still run the text of the one before.
async fn again(s: &Scenario) -> Result<()> {
    s.remove_policies().await?;
    s.clear_records().await?;
    s.cluster.write_corefile(corefile::kubeadm(), "e2e").await
}
