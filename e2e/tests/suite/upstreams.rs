//! Resolvers of the user's behind cluster DNS, by `recursion.via: Upstreams`.

use anyhow::{Context, Result, ensure};
use tsutsumi_e2e::{
    corefile, policy,
    resolver::{Habits, Program, Resolver, Zone},
    scenario::{self, From},
    signed::{believes_everything, validates},
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_resolver_of_the_user_s_that_believes_everything_is_told_until_it_validates() -> Result<()> {
    let name = "upstreams";
    scenario::run(From::Installed, async |s| {
        let zone = Zone::open(s).await?;
        let credulous = Habits {
            validates: false,
            ..Habits::GOOD
        };
        let resolver = Resolver::start(&s.rig, Program::Unbound, credulous, Some(&zone)).await?;
        s.cluster
            .apply_policy(&policy::upstreams(name, &[Resolver::address(&s.rig)]))
            .await?;
        s.control_says(
            name,
            ControlId::Dns05,
            ControlState::Fail,
            &["Nobody on this path validates"],
        )
        .await
        .context("detected")?;
        believes_everything(s).context("the danger is there")?;

        drop(resolver);
        let _resolver = Resolver::start(&s.rig, Program::Unbound, Habits::GOOD, Some(&zone)).await?;
        let ready = s.becomes_ready(name).await.context("once it validates")?;
        validates(s)?;
        for control in [ControlId::Dns02, ControlId::Dns03, ControlId::Dns05] {
            ensure!(
                policy::came_to(&ready, control, ControlState::Pass),
                "{control}: {ready:?}"
            );
        }
        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == corefile::kubeadm(),
            "what stood there before is not back:\n{text}"
        );
        Ok(())
    })
}
