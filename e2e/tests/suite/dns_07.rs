//! `DNS-07`: the resolver starts from the servers that the root has.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
};
use tsutsumi_e2e::{
    policy::{self, HINTS},
    scenario::{self, From, READY, Scenario},
    signed::validates,
};
use tsutsumi_model::{ControlId, ControlState};

/// Nobody has it (RFC 5737).
const NOWHERE: &str = "192.0.2.99";

#[test]
fn a_server_that_was_not_given_or_has_another_address_is_told_until_the_hints_are_right() -> Result<()> {
    let name = "dns-07";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let right = s.rig.root("named.root")?;
        // One line names a server and the next one its address.
        let [_, a, _, b] = right.lines().collect::<Vec<_>>()[..] else {
            anyhow::bail!("the rig's root has two servers: {right}");
        };
        let address = b.split_ascii_whitespace().last().context("an address")?;

        s.give(HINTS, "named.root", &format!(". NS a.root.town.\n{a}\n"))
            .await?;
        s.cluster.apply_policy(&policy::managed(name)).await?;
        let told = fails(s, name, "the root names").await.context("one is missing")?;
        ensure!(
            told.starts_with("the root names b.root.town")
                && told.ends_with("which is not among the servers given"),
            "{told}"
        );
        // The control speaks of Unbound as soon as that serves; cluster DNS is led there a little later, pod by pod.
        s.says(name, ConditionType::Programmed, "True", Reason::Loaded)
            .await?;
        validates(s).context("one server is enough to find the root")?;

        s.give(
            HINTS,
            "named.root",
            &right.replace(b, &b.replace(address, NOWHERE)),
        )
        .await?;
        let told = fails(s, name, NOWHERE).await.context("one has another address")?;
        ensure!(
            told == format!("b.root.town was given {NOWHERE}, and the root says {address}"),
            "{told}"
        );

        s.give(HINTS, "named.root", &right).await?;
        s.becomes_ready(name).await.context("once the hints are right")?;
        s.control(name, ControlId::Dns07, ControlState::Pass).await?;
        validates(s)?;
        s.delete(name).await
    })
}

/// What the control says was seen, once it fails for what it was given.
async fn fails(s: &Scenario, name: &str, what: &str) -> Result<String> {
    let observed = |policy: &ResolverPolicy| {
        policy::control(policy, ControlId::Dns07)
            .filter(|control| control.state == ControlState::Fail && control.observed.contains(what))
            .map(|control| control.observed.clone())
    };
    let policy = s
        .reaches(name, &format!("DNS-07 fails for {what}"), READY, |policy| {
            observed(policy).is_some()
        })
        .await?;
    observed(&policy).context("it was there")
}
