//! `DNS-02`: answers stay within 1,232 bytes over UDP, measured on the wire.

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;
use tsutsumi_e2e::{
    dns::Question,
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
    for (pod, answer) in s.ask_pods(&Question::big()).await? {
        ensure!(answer.bytes > 1232 && !answer.truncated, "pod {pod}: {answer:?}");
    }
    Ok(())
}

async fn datagrams_are_small(s: &Scenario) -> Result<()> {
    for (offered, most) in [(Some(4096), 1232), (Some(1232), 1232), (None, 512)] {
        for (pod, answer) in s.ask_pods(&Question::big().offering(offered)).await? {
            ensure!(
                answer.bytes <= most && answer.truncated,
                "pod {pod}, {offered:?} offered: {answer:?}"
            );
        }
    }
    for (pod, whole) in s.ask_pods(&Question::big().over(Transport::Tcp)).await? {
        ensure!(
            whole.code == ResponseCode::NoError
                && whole.records == 120
                && !whole.truncated
                && whole.bytes > 1232,
            "pod {pod} over TCP: {whole:?}"
        );
    }
    Ok(())
}
