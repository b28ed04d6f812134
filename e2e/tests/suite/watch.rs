//! Before cluster DNS is led elsewhere it is watched which names it is asked for; one of an internal zone that nobody listed
//! holds the switch back, and the line that told it does not stay.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use serde_json::json;
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    corefile,
    dns::Question,
    policy,
    rig::DNS_SERVICE,
    scenario::{self, From, READY, Scenario},
    steady::{Names, RATE},
    wait,
};

/// A zone that only the resolver knows to which cluster DNS forwards today.
const INTERNAL: &str = "example.test";

/// What the condition `Programmed` says.
async fn programmed(s: &Scenario, name: &str) -> Result<(String, String)> {
    let policy = s.cluster.policies().get(name).await?;
    let said = policy::condition(&policy, ConditionType::Programmed);
    Ok(said
        .map(|one| (one.reason.clone(), one.message.clone()))
        .unwrap_or_default())
}

#[test]
fn a_name_that_nobody_listed_is_seen_and_holds_the_switch_back() -> Result<()> {
    let name = "watch";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let asked = Question::a(format!("intranet.{INTERNAL}"));
        let resolves = |s: &Scenario| -> Result<()> {
            let answer = s.ask_inside(DNS_SERVICE, &asked)?;
            ensure!(
                answer.code == ResponseCode::NoError && answer.records > 0,
                "{answer:?}"
            );
            Ok(())
        };
        resolves(s).context("before anything")?;
        let client = s.keep_asking_for(Names::Api, RATE).await?;
        let mut wanted = policy::managed(name);
        wanted["spec"]["recursion"]["compare"] = json!({"watch": "6s"});
        s.cluster.apply_policy(&wanted).await?;
        s.says(name, ConditionType::Programmed, "False", Reason::Watching)
            .await
            .context("it is watched")?;
        wait::until("a name that was seen", READY, async || {
            resolves(s)?;
            let (reason, message) = programmed(s, name).await?;
            ensure!(
                reason == Reason::Watching.as_str()
                    && message.contains(" so far")
                    && !message.contains(": 0 so far"),
                "{reason}: {message}"
            );
            Ok(())
        })
        .await?;
        let text = s.cluster.corefile().await?;
        ensure!(text.contains("dnstap tcp://"), "the line is not there:\n{text}");

        let held = s
            .says(name, ConditionType::Programmed, "False", Reason::WouldGetWorse)
            .await
            .context("the danger is told")?;
        let message = policy::condition(&held, ConditionType::Programmed).map(|one| one.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|message| message.contains(&format!("intranet.{INTERNAL}"))),
            "{message:?}"
        );
        let text = s.cluster.corefile().await?;
        ensure!(!text.contains("dnstap"), "the line was left in:\n{text}");
        resolves(s).context("while the switch is held back")?;

        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == corefile::kubeadm(),
            "what stood there before is not back:\n{text}"
        );
        client.lost_nothing()?;
        Ok(())
    })
}
