//! A managed resolver that does not come up takes nothing away, and one that does is switched to and from unnoticed, however
//! much is asked.

use anyhow::{Result, ensure};
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    install,
    policy::{self, HINTS},
    scenario::{self, From},
    signed::{GOOD, believes_everything, validates},
    steady::{Names, RATE},
};

/// Questions a second, each for a name that no cache has: ten times those of other tests.
const BUSY: u32 = 500;

#[test]
fn of_500_names_a_second_none_fails_while_the_resolver_comes_goes_and_comes_back() -> Result<()> {
    let name = "managed-busy";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), BUSY).await?;
        s.ready(&policy::managed(name)).await?;
        validates(s)?;
        s.ready(&policy::restoring(name)).await?;
        believes_everything(s)?;
        s.ready(&policy::managed(name)).await?;
        validates(s)?;
        s.delete(name).await?;
        let asked = client.lost_nothing()?;
        println!("{asked} questions from inside were all answered");
        Ok(())
    })
}

#[test]
fn what_does_not_come_up_takes_nothing_away() -> Result<()> {
    let name = "managed-refused";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        s.ready(&policy::managed(name)).await?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), RATE).await?;

        let hints = s.rig.root("named.root")?;
        s.give(HINTS, "named.root", "town. MX 10 nobody.\n").await?;
        let told = s
            .says(name, ConditionType::Programmed, "False", Reason::ResolverRefused)
            .await?;
        let message = policy::condition(&told, ConditionType::Programmed).map(|one| one.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|message| message.contains("hintsConfigMap: line 1")),
            "{message:?}"
        );
        validates(s)?;
        s.give(HINTS, "named.root", &hints).await?;
        s.becomes_ready(name).await?;

        // An image without Unbound in it.
        let other = s.original_image().await?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &other))?;
        s.says(name, ConditionType::Programmed, "False", Reason::ResolverRefused)
            .await?;
        validates(s)?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &s.rig.unbound_image()?))?;
        s.becomes_ready(name).await?;
        validates(s)?;
        s.delete(name).await?;
        client.lost_nothing()?;
        Ok(())
    })
}
