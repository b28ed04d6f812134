//! `DNS-09`: no amplification, neither by ANY nor by the big answer.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    dns::{BIG, Question, TRANSPORTS, fresh_name},
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

/// The size of the big answer over UDP, as a multiple of its question.
fn factor(s: &Scenario, server: SocketAddr) -> Result<usize> {
    let question = Question::a(BIG).offering(Some(4096));
    let asked = question.encode(0)?.len();
    Ok(s.ask_inside(server, &question)?.bytes / asked)
}

async fn answers_amplify(s: &Scenario) -> Result<()> {
    for pod in s.cluster.dns_pods().await? {
        let server = SocketAddr::new(pod.address, 53);
        let factor = factor(s, server)?;
        ensure!(
            factor >= 30,
            "pod {} answers with {factor} times the question only",
            pod.name
        );
        let any = s.ask_inside(server, &Question::any(fresh_name()))?;
        ensure!(
            any.records > 0,
            "pod {} should hand out what its upstream has for ANY: {any:?}",
            pod.name
        );
    }
    Ok(())
}

async fn answers_do_not_amplify(s: &Scenario) -> Result<()> {
    for pod in s.cluster.dns_pods().await? {
        let server = SocketAddr::new(pod.address, 53);
        let factor = factor(s, server)?;
        ensure!(
            factor < 30,
            "pod {} answers with {factor} times the question",
            pod.name
        );
        for transport in TRANSPORTS {
            let any = s.ask_inside(server, &Question::any(fresh_name()).over(transport))?;
            ensure!(
                any.code == ResponseCode::NoError && any.records == 0,
                "pod {} to ANY over {transport}: {any:?}",
                pod.name
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
