//! What would be answered worse elsewhere holds cluster DNS where it is, is listed, and lets it go once it is mended.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use serde_json::json;
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
};
use tsutsumi_e2e::{
    corefile,
    dns::{Question, fresh_below},
    policy::{self, ANCHORS},
    rig::DNS_SERVICE,
    scenario::{self, From, READY, Scenario},
    signed::{GOOD, validates},
    steady::{Names, RATE},
    wait,
};

/// A zone that only the resolver knows to which cluster DNS forwards today.
const INTERNAL: &str = "example.test";
/// A key that no root has.
const STRANGER: &str = ". DS 9 13 2 CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD\n";

/// Fails unless a new name of the internal zone is answered.
fn resolves(s: &Scenario) -> Result<()> {
    let answer = s.ask_inside(DNS_SERVICE, &Question::a(fresh_below(INTERNAL)))?;
    ensure!(
        answer.code == ResponseCode::NoError && answer.records > 0,
        "a name of {INTERNAL} gets {answer:?}"
    );
    Ok(())
}

/// Waits until the switch is held back; the message of the condition.
async fn held_back(s: &Scenario, name: &str) -> Result<(ResolverPolicy, String)> {
    let told = s
        .says(name, ConditionType::Programmed, "False", Reason::WouldGetWorse)
        .await?;
    let message = policy::condition(&told, ConditionType::Programmed)
        .map(|one| one.message.clone())
        .unwrap_or_default();
    Ok((told, message))
}

#[test]
fn an_internal_zone_holds_the_switch_back_until_it_is_led_where_it_is_known() -> Result<()> {
    let name = "compare-zone";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        resolves(s).context("before anything")?;
        s.outside_is_answered().await.context("before anything")?;
        let client = s.keep_asking_for(Names::FreshBelow(INTERNAL), RATE).await?;
        let mut wanted = policy::managed(name);
        let asked = format!("intranet.{INTERNAL}");
        wanted["spec"]["recursion"]["compare"]["names"] = json!([asked, format!("www.{GOOD}")]);
        s.cluster.apply_policy(&wanted).await?;
        let (told, message) = held_back(s, name).await.context("the danger is told")?;
        let lost = format!("{asked} A: 203.0.113.200 today, NXDOMAIN then");
        ensure!(
            message.contains(&lost) && !message.contains(GOOD),
            "it does not name what would be lost, and that alone: {message}"
        );
        let listed = told.status.map(|status| status.warnings).unwrap_or_default();
        ensure!(
            listed.iter().any(|line| line.contains(&lost)),
            "it is not listed: {listed:?}"
        );
        wait::until("all else is enforced meanwhile", READY, async || {
            s.outside_is_refused().await
        })
        .await?;
        held_back(s, name).await.context("and the danger is told still")?;
        resolves(s).context("while the switch is held back")?;

        let block = format!("{INTERNAL}:53 {{\n    errors\n    forward . /etc/resolv.conf\n}}\n");
        let with_block = |text: &str| format!("{text}{block}");
        let hardened = s.cluster.corefile().await?;
        s.cluster
            .write_corefile(&with_block(&hardened), "kubectl-edit")
            .await?;
        s.becomes_ready(name)
            .await
            .context("once the zone is led where it is known")?;
        resolves(s).context("after the switch")?;
        validates(s)?;
        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == with_block(corefile::kubeadm()),
            "what stood there before is not back:\n{text}"
        );
        client.lost_nothing()?;
        Ok(())
    })
}

#[test]
fn a_key_that_is_not_the_root_s_leads_nothing_to_a_resolver_that_fails() -> Result<()> {
    let name = "compare-key";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let right = s.rig.root("root.key")?;
        s.give(ANCHORS, "root.key", STRANGER).await?;
        s.ready(&policy::restoring(name)).await?;
        let before = s.cluster.corefile().await?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), RATE).await?;
        s.cluster.apply_policy(&policy::managed(name)).await?;
        let (_, message) = held_back(s, name).await.context("the danger is told")?;
        ensure!(
            message.contains(". NS: ") && message.contains("recursion.roots"),
            "it does not speak of the root: {message}"
        );
        let text = s.cluster.corefile().await?;
        ensure!(text == before, "the Corefile was changed to\n{text}");

        s.give(ANCHORS, "root.key", &right).await?;
        s.becomes_ready(name)
            .await
            .context("once the key is the root's")?;
        validates(s)?;
        s.delete(name).await?;
        client.lost_nothing()?;
        Ok(())
    })
}
