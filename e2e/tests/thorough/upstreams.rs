//! Resolvers of the user's that do not answer.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    policy,
    resolver::{Habits, Program, Resolver},
    scenario::{self, From},
    signed::{GOOD, validates},
    steady::{Names, RATE},
};

#[test]
fn one_that_does_not_answer_is_named_and_nothing_changes_until_it_does() -> Result<()> {
    let name = "upstreams-dead";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::restoring(name)).await?;
        let before = s.cluster.corefile().await?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), RATE).await?;

        let address = Resolver::address(&s.rig);
        let mut wanted = policy::upstreams(name, &[address]);
        wanted["spec"]["recursion"]["dnssec"] = "Off".into();
        s.cluster.apply_policy(&wanted).await?;
        let told = s
            .says(name, ConditionType::Programmed, "False", Reason::ResolverNotReady)
            .await?;
        let message = policy::condition(&told, ConditionType::Programmed).map(|one| one.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|message| message.contains(&format!("{address} does not answer"))),
            "{message:?}"
        );
        let text = s.cluster.corefile().await?;
        ensure!(text == before, "the Corefile was changed to\n{text}");

        let _resolver = Resolver::start(&s.rig, Program::Unbound, Habits::GOOD, None).await?;
        s.becomes_ready(name).await.context("once it answers")?;
        validates(s).context("it is asked now")?;
        client.lost_nothing()?;
        s.delete(name).await
    })
}
