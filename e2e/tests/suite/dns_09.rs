//! `DNS-09`: no amplification, neither by ANY nor by the big answer.

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    dns::{Question, TRANSPORTS, fresh_name},
    scenario::{self, From, Scenario},
};
use tsutsumi_model::ControlId;

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
