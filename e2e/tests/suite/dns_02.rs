//! `DNS-02`: answers stay within 1,232 bytes over UDP, measured on the wire.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    dns::{BIG, Question},
    scenario::{self, From, Scenario},
};
use tsutsumi_model::{ControlId, Transport};

use crate::circle;

#[test]
fn a_big_answer_is_cut_and_complete_over_tcp() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        circle::go_around(
            s,
            "dns-02",
            ControlId::Dns02,
            async |s| datagrams_are_big(s).await,
            async |s| datagrams_are_small(s).await,
        )
        .await
    })
}

async fn datagrams_are_big(s: &Scenario) -> Result<()> {
    for pod in s.cluster.dns_pods().await? {
        let answer = s.ask_inside(
            SocketAddr::new(pod.address, 53),
            &Question::a(BIG).offering(Some(4096)),
        )?;
        ensure!(
            answer.bytes > 1232 && !answer.truncated,
            "pod {}: {answer:?}",
            pod.name
        );
    }
    Ok(())
}

async fn datagrams_are_small(s: &Scenario) -> Result<()> {
    for pod in s.cluster.dns_pods().await? {
        let server = SocketAddr::new(pod.address, 53);
        for (offered, most) in [(Some(4096), 1232), (Some(1232), 1232), (None, 512)] {
            let answer = s.ask_inside(server, &Question::a(BIG).offering(offered))?;
            ensure!(
                answer.bytes <= most && answer.truncated,
                "pod {}, {offered:?} offered: {answer:?}",
                pod.name
            );
        }
        let whole = s.ask_inside(server, &Question::a(BIG).over(Transport::Tcp))?;
        ensure!(
            whole.code == ResponseCode::NoError
                && whole.records == 120
                && !whole.truncated
                && whole.bytes > 1232,
            "pod {} over TCP: {whole:?}",
            pod.name
        );
    }
    Ok(())
}
