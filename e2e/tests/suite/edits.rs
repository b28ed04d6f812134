//! A policy that is edited: the new value is seen on the wire, the newest one wins, and an invalid one changes nothing.

use anyhow::{Context, Result, bail, ensure};
use tsutsumi_api::resolver_policy::RolloutState;
use tsutsumi_e2e::{
    dns::Question,
    policy,
    scenario::{self, From, READY, Scenario},
};
use tsutsumi_model::ControlId;

/// An address record of the big answer: an answer that was cut is full to within one.
const RECORD: usize = 16;

#[test]
fn a_new_value_is_rolled_out() -> Result<()> {
    let name = "edits-value";
    scenario::run(From::Installed, async |s| {
        for (pod, answer) in s.ask_pods(&Question::big()).await? {
            ensure!(
                answer.bytes > 1280 && !answer.truncated,
                "without a policy, pod {pod}: {answer:?}"
            );
        }
        s.ready(&policy::limiting(name, 1232)).await?;
        datagrams_are_cut_at(s, 1232).await?;

        let client = s.keep_asking().await?;
        let ready = s.ready(&policy::limiting(name, 1280)).await.context("edited")?;
        datagrams_are_cut_at(s, 1280).await?;
        client.lost_nothing()?;
        ensure!(policy::rollout(&ready) == Some(RolloutState::Settled));
        let expected = policy::control(&ready, ControlId::Dns02).map(|control| control.expected.clone());
        ensure!(
            expected.as_ref().is_some_and(|text| text.contains("1280")),
            "the control still demands {expected:?}"
        );
        s.outside_is_refused().await
    })
}

#[test]
fn an_edit_while_a_change_is_under_way_ends_at_the_newest_value() -> Result<()> {
    let name = "edits-under-way";
    scenario::run(From::Installed, async |s| {
        let client = s.keep_asking().await?;
        s.cluster.apply_policy(&policy::limiting(name, 1232)).await?;
        let in_state = async |state| {
            let what = format!("in state {state:?}");
            s.reaches(name, &what, READY, |policy| {
                policy::rollout(policy) == Some(state)
            })
            .await
        };
        in_state(RolloutState::Saved).await?;
        s.cluster.apply_policy(&policy::limiting(name, 1248)).await?;
        in_state(RolloutState::Written).await?;
        s.ready(&policy::limiting(name, 1280)).await?;
        datagrams_are_cut_at(s, 1280).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text.matches("bufsize 1280").count() == 1 && text.matches("bufsize").count() == 1,
            "an older value is left:\n{text}"
        );
        s.outside_is_refused().await?;
        client.lost_nothing()?;
        Ok(())
    })
}

#[test]
fn an_invalid_edit_is_refused_and_changes_nothing() -> Result<()> {
    let name = "edits-invalid";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::limiting(name, 1232)).await?;
        let before = s.cluster.dns_config().await?.metadata.resource_version;
        let spec = s.cluster.policies().get(name).await?.spec;
        for (edit, says) in [
            (policy::limiting(name, 511), "greater than or equal to 512"),
            (policy::limiting(name, 4097), "less than or equal to 4096"),
        ] {
            let Err(refusal) = s.cluster.apply_policy(&edit).await else {
                bail!("{edit} was taken")
            };
            let refusal = format!("{refusal:#}");
            ensure!(
                refusal.contains("udp.maxMessageBytes") && refusal.contains(says),
                "it does not say what would be right: {refusal}"
            );
        }
        // A round of probes later at the earliest, whatever the edits set off would be there.
        let round = s.next_round(name).await?;
        ensure!(round.spec == spec, "the policy is another: {:?}", round.spec);
        s.becomes_ready(name).await?;
        ensure!(
            s.cluster.dns_config().await?.metadata.resource_version == before,
            "the Corefile was written"
        );
        datagrams_are_cut_at(s, 1232).await
    })
}

/// Fails unless every pod cuts the big answer at exactly this limit, for a client that would take 4,096 bytes.
async fn datagrams_are_cut_at(s: &Scenario, limit: usize) -> Result<()> {
    for (pod, answer) in s.ask_pods(&Question::big()).await? {
        ensure!(
            answer.truncated && answer.bytes <= limit && answer.bytes + RECORD > limit,
            "pod {pod} does not cut at {limit} bytes: {answer:?}"
        );
    }
    Ok(())
}
