//! `DNS-09`: no amplification, neither by ANY nor by the big answer.

use std::ops::RangeBounds;

use anyhow::{Context as _, Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    corefile::{self, LONG},
    dns::{Question, TRANSPORTS, fresh_name},
    policy,
    scenario::{self, From, SEEN, Scenario},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

use crate::circle;

#[test]
fn a_forged_question_gains_little() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        circle::go_around(
            s,
            "dns-09",
            ControlId::Dns09,
            async |s| answers_amplify(s).await,
            async |s| answers_do_not_amplify(s).await,
        )
        .await
    })
}

/// What a text gains on the wire, with 4,096 bytes offered; and that our own text, in the probe zone, tells where the bound
/// is gone.
#[test]
fn a_long_text_gains_no_more_than_the_bound_lets_through() -> Result<()> {
    let name = "dns-09-text";
    scenario::run(From::Installed, async |s| {
        s.cluster
            .write_corefile(&corefile::with_long_text(), "kubectl-edit")
            .await?;
        s.cluster.nudge().await?;
        let before = gains(s, "without a bound", 70..)
            .await
            .context("vulnerable at the start")?;

        s.ready(&policy::enforcing(name)).await.context("enforced")?;
        let after = gains(s, "with the bound", ..30).await?;
        println!("without a bound: {before:?}; with it: {after:?}");
        s.control(name, ControlId::Dns09, ControlState::Pass).await?;

        s.cluster.apply_policy(&policy::auditing(name)).await?;
        let enforced = s.cluster.corefile().await?;
        let unbounded: String = enforced
            .split_inclusive('\n')
            .filter(|line| !line.trim_start().starts_with("bufsize"))
            .collect();
        ensure!(unbounded != enforced, "no bound stands in\n{enforced}");
        s.cluster.write_corefile(&unbounded, "kubectl-edit").await?;
        s.cluster.nudge().await?;
        gains(s, "once somebody took the bound away", 70..).await?;
        let what = "the text of the probe zone is told too";
        s.reaches(name, what, SEEN * 2, |found| {
            policy::control(found, ControlId::Dns09).is_some_and(|control| {
                control.state == ControlState::Fail
                    && control.observed.contains("to a long TXT with EDNS 4096")
            })
        })
        .await?;

        s.ready(&policy::enforcing(name)).await.context("repaired")?;
        gains(s, "repaired", ..30).await?;
        Ok(())
    })
}

/// Waits until each pod's answer to a question for the long text is so many times as long.
async fn gains(s: &Scenario, when: &str, wanted: impl RangeBounds<usize>) -> Result<Vec<String>> {
    let question = Question::txt(LONG).offering(Some(4096));
    let asked = question.encode(0)?.len();
    wait::until(when, SEEN, async || {
        let mut told = Vec::new();
        for (pod, answer) in s.ask_pods(&question).await? {
            let gain = answer.bytes / asked;
            ensure!(
                wanted.contains(&gain),
                "{when}, pod {pod} answers {asked} bytes with {}, {gain} times",
                answer.bytes
            );
            told.push(format!("{gain} times {asked} bytes from {pod}"));
        }
        Ok(told)
    })
    .await
}

/// The size of each pod's big answer over UDP, as a multiple of its question.
async fn factors(s: &Scenario) -> Result<Vec<(String, usize)>> {
    let asked = Question::big().encode(0)?.len();
    let answers = s.ask_pods(&Question::big()).await?;
    Ok(answers
        .into_iter()
        .map(|(pod, answer)| (pod, answer.bytes / asked))
        .collect())
}

async fn answers_amplify(s: &Scenario) -> Result<()> {
    for (pod, factor) in factors(s).await? {
        ensure!(
            factor >= 30,
            "pod {pod} answers with {factor} times the question only"
        );
    }
    for (pod, any) in s.ask_pods(&Question::any(fresh_name())).await? {
        ensure!(
            any.records > 0,
            "pod {pod} should hand out what its upstream has for ANY: {any:?}"
        );
    }
    Ok(())
}

async fn answers_do_not_amplify(s: &Scenario) -> Result<()> {
    for (pod, factor) in factors(s).await? {
        ensure!(factor < 30, "pod {pod} answers with {factor} times the question");
    }
    for transport in TRANSPORTS {
        for (pod, any) in s.ask_pods(&Question::any(fresh_name()).over(transport)).await? {
            ensure!(
                any.code == ResponseCode::NoError && any.records == 0,
                "pod {pod} to ANY over {transport}: {any:?}"
            );
        }
    }
    for (server, question, seen) in s.try_from_outside().await? {
        let bytes = seen.map_or(0, |answer| answer.bytes);
        ensure!(
            bytes <= 128,
            "from outside, {server} answers {question} with {bytes} bytes"
        );
    }
    Ok(())
}
