//! `DNS-03`: source ports cannot be guessed at the resolver.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    corefile,
    dns::{Question, fresh_name},
    policy,
    ports::Ports,
    scenario::{self, From, Scenario},
};
use tsutsumi_model::{ControlId, ControlState};

use crate::circle;

/// Questions for the wire's view, one after another.
const ASKED: usize = 64;

#[test]
fn a_pool_of_sockets_is_detected_and_ended() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        circle::go_around(
            s,
            "dns-03",
            ControlId::Dns03,
            async |s| sockets_are_used_again(s).await,
            async |s| every_question_has_its_port(s).await,
        )
        .await
    })
}

#[test]
fn an_expiry_of_somebody_else_stays_and_is_told() -> Result<()> {
    let name = "dns-03-foreign";
    scenario::run(From::Installed, async |s| {
        let theirs = corefile::kubeadm().replacen(
            "max_concurrent 1000\n",
            "max_concurrent 1000\n       expire 30s\n",
            1,
        );
        s.cluster.write_corefile(&theirs, "kubectl-edit").await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        let failed = s
            .control_says(name, ControlId::Dns03, ControlState::Fail, &["expire"])
            .await?;
        ensure!(failed.observed.contains("used socket"), "{}", failed.observed);
        ensure!(
            s.cluster.corefile().await?.contains("expire 30s"),
            "their line was taken out"
        );
        let told = s
            .cluster
            .policies()
            .get(name)
            .await?
            .status
            .unwrap_or_default()
            .warnings;
        ensure!(
            told.iter().any(|line| line.contains("expire 30s")),
            "nobody is told: {told:?}"
        );

        let mended = s.cluster.corefile().await?.replacen("       expire 30s\n", "", 1);
        s.cluster.write_corefile(&mended, "kubectl-edit").await?;
        s.becomes_ready(name).await.context("once their line is gone")?;
        every_question_has_its_port(s).await
    })
}

async fn sockets_are_used_again(s: &Scenario) -> Result<()> {
    for (pod, ports) in asked_from(s).await? {
        ensure!(
            ports <= ASKED / 4,
            "pod {pod} asked {ASKED} times from {ports} ports"
        );
    }
    Ok(())
}

async fn every_question_has_its_port(s: &Scenario) -> Result<()> {
    for (pod, ports) in asked_from(s).await? {
        ensure!(
            ports >= ASKED - 2,
            "pod {pod} asked {ASKED} times from {ports} ports"
        );
    }
    Ok(())
}

/// From how many ports each pod asks its upstream for fresh names.
async fn asked_from(s: &Scenario) -> Result<Vec<(String, usize)>> {
    let mut asked = Vec::new();
    for pod in s.cluster.dns_pods().await? {
        let ports = Ports::watch()?;
        for _ in 0..ASKED {
            let answer = s.ask_inside(SocketAddr::new(pod.address, 53), &Question::a(fresh_name()))?;
            ensure!(
                answer.code == ResponseCode::NoError,
                "pod {}: {answer:?}",
                pod.name
            );
        }
        asked.push((pod.name, ports.of(pod.address)?.len()));
    }
    Ok(asked)
}
