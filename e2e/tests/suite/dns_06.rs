//! `DNS-06`: the resolver starts from the keys that the root has.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    dns::{Question, fresh_below},
    policy::{self, ANCHORS},
    rig::DNS_SERVICE,
    root::{self, NewKey},
    scenario::{self, From, READY, Scenario},
    signed::validates,
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_key_that_the_root_begins_to_publish_is_told_until_the_resolver_has_it() -> Result<()> {
    let name = "dns-06";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        s.ready(&policy::managed(name)).await?;
        let old = s.rig.root("root.key")?;
        let first = root::tag(&old)?;
        ensure!(trusts(s, first)?, "key {first} is the root's");
        s.control(name, ControlId::Dns06, ControlState::Pass).await?;

        let new = NewKey::publish()?;
        wait::until("the root's second key is seen", READY, async || {
            let keys = s.ask_inside(DNS_SERVICE, &Question::root_keys())?.records;
            ensure!(keys == 2, "{keys} keys");
            Ok(())
        })
        .await?;
        let failed = s
            .control_says(
                name,
                ControlId::Dns06,
                ControlState::Fail,
                &[&format!(". DS {} 13 2 ", new.tag), ANCHORS],
            )
            .await
            .context("detected")?;
        let told = format!(
            "the root publishes key {}, which the resolver was not given",
            new.tag
        );
        ensure!(failed.observed == told, "{}", failed.observed);
        ensure!(
            !trusts(s, new.tag)?,
            "nobody gave key {} to the resolver",
            new.tag
        );
        validates(s).context("the key in force still signs")?;

        s.give(ANCHORS, "root.key", &format!("{old}{}\n", new.ds)).await?;
        s.becomes_ready(name).await.context("once it has both")?;
        ensure!(trusts(s, first)? && trusts(s, new.tag)?, "both were given");
        validates(s)?;
        drop(new);
        s.delete(name).await
    })
}

/// Whether cluster DNS, asked by a sentinel name of the rig's root, trusts a key (RFC 8509).
fn trusts(s: &Scenario, tag: u16) -> Result<bool> {
    let ask = |word: &str| {
        let name = format!("root-key-sentinel-{word}-ta-{tag:05}.{}", fresh_below("town"));
        Ok::<_, anyhow::Error>(s.ask_inside(DNS_SERVICE, &Question::a(name))?.code)
    };
    match (ask("is")?, ask("not")?) {
        (ResponseCode::NoError, ResponseCode::ServFail) => Ok(true),
        (ResponseCode::ServFail, ResponseCode::NoError) => Ok(false),
        (is, not) => anyhow::bail!("of key {tag}, `is` gets {is} and `not` gets {not}"),
    }
}
