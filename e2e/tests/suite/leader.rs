//! Two controllers, one writer: the second goes on where a killed leader stopped.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tsutsumi_e2e::{
    corefile,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY},
    wait,
};

#[test]
fn a_killed_leader_is_followed_by_the_one_that_stood_by() -> Result<()> {
    let name = "leader-killed";
    scenario::run(From::Installed, async |s| {
        s.cluster.scale_controller(2).await?;
        let first = s.cluster.leader().await?.context("somebody leads")?;
        let client = s.keep_asking().await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        wait::until("the roll-out is under way", READY, async || {
            ensure!(
                s.cluster.corefile().await? != corefile::kubeadm(),
                "nothing is written yet"
            );
            Ok(())
        })
        .await?;
        s.cluster.kill(NAMESPACE, &first).await?;
        let second = wait::until("somebody else leads", Duration::from_secs(60), async || {
            let leader = s.cluster.leader().await?.context("nobody does")?;
            ensure!(leader != first, "{leader} still does");
            Ok(leader)
        })
        .await?;
        s.becomes_ready(name)
            .await
            .with_context(|| format!("{second} goes on"))?;
        s.outside_is_refused().await?;
        client.lost_nothing()?;
        Ok(())
    })
}
