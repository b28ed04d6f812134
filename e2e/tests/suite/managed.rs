//! A resolver of ours behind cluster DNS: what the path lets through without it is refused with it, nobody inside notices
//! the switch, and what does not come up takes nothing away.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    cluster::MADE,
    corefile,
    dns::{Question, fresh_below},
    install::{self, NAMESPACE},
    policy::{self, ANCHORS, HINTS},
    rig::DNS_SERVICE,
    scenario::{self, From, READY, Scenario},
    steady::Names,
    wait,
};

/// A zone of the rig's root, well signed.
const GOOD: &str = "town";
/// A zone whose signatures are missing although the root says that there are some.
const BOGUS: &str = "broken";

/// Installs with the right to run resolvers, and says what the rig's root is.
pub(crate) async fn prepare(s: &Scenario) -> Result<()> {
    install::install(&s.rig, &install::with_resolvers(&s.rig, &s.rig.unbound_image()?))?;
    give(s, HINTS, "named.root", &s.rig.root("named.root")?).await?;
    give(s, ANCHORS, "root.key", &s.rig.root("root.key")?).await
}

async fn give(s: &Scenario, name: &str, key: &str, text: &str) -> Result<()> {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {MADE: ""}},
        "data": {key: text},
    });
    s.cluster
        .within::<ConfigMap>(NAMESPACE)
        .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&map))
        .await?;
    Ok(())
}

/// What the DNS Service says of a new name below a zone.
fn code(s: &Scenario, zone: &str) -> Result<ResponseCode> {
    Ok(s.ask_inside(DNS_SERVICE, &Question::a(fresh_below(zone)))?.code)
}

pub(crate) fn validates(s: &Scenario) -> Result<()> {
    let (good, bogus) = (code(s, GOOD)?, code(s, BOGUS)?);
    ensure!(
        (good, bogus) == (ResponseCode::NoError, ResponseCode::ServFail),
        "a well signed name got {good}, and one without its signature {bogus}"
    );
    Ok(())
}

pub(crate) fn believes_everything(s: &Scenario) -> Result<()> {
    let (good, bogus) = (code(s, GOOD)?, code(s, BOGUS)?);
    ensure!(
        (good, bogus) == (ResponseCode::NoError, ResponseCode::NoError),
        "the path was to check nothing, and a well signed name got {good}, one without its signature {bogus}"
    );
    Ok(())
}

#[test]
fn what_the_path_lets_through_is_refused_and_nobody_inside_notices() -> Result<()> {
    let name = "managed";
    scenario::run(From::Installed, async |s| {
        prepare(s).await?;
        believes_everything(s).context("the danger is there before")?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD)).await?;
        s.ready(&policy::managed(name)).await?;
        validates(s)?;

        s.ready(&policy::restoring(name)).await?;
        believes_everything(s).context("whom the Corefile names is asked again")?;
        let deployments = s.cluster.within::<Deployment>(NAMESPACE);
        let deployment = format!("tsutsumi-unbound-{name}");
        wait::object(&deployments, &deployment, "gone", READY, |found| found.is_none()).await?;

        s.ready(&policy::managed(name)).await?;
        validates(s).context("and there again")?;
        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == corefile::kubeadm(),
            "what stood there before is not back:\n{text}"
        );
        let services = s.cluster.within::<Service>(NAMESPACE);
        wait::object(&services, &deployment, "gone", READY, |found| found.is_none()).await?;
        let asked = client.lost_nothing()?;
        println!("{asked} questions from inside were all answered");
        Ok(())
    })
}

#[test]
fn what_does_not_come_up_takes_nothing_away() -> Result<()> {
    let name = "managed-refused";
    scenario::run(From::Installed, async |s| {
        prepare(s).await?;
        s.ready(&policy::managed(name)).await?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD)).await?;

        let hints = s.rig.root("named.root")?;
        give(s, HINTS, "named.root", "town. MX 10 nobody.\n").await?;
        let told = s
            .says(name, ConditionType::Programmed, "False", Reason::ResolverRefused)
            .await?;
        let message = policy::condition(&told, ConditionType::Programmed).map(|one| one.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|message| message.contains("hintsConfigMap: line 1")),
            "{message:?}"
        );
        validates(s)?;
        give(s, HINTS, "named.root", &hints).await?;
        s.becomes_ready(name).await?;

        // An image without Unbound in it.
        let other = s.original_image().await?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &other))?;
        s.says(name, ConditionType::Programmed, "False", Reason::ResolverRefused)
            .await?;
        validates(s)?;
        install::install(&s.rig, &install::with_resolvers(&s.rig, &s.rig.unbound_image()?))?;
        s.becomes_ready(name).await?;
        validates(s)?;
        s.delete(name).await?;
        client.lost_nothing()?;
        Ok(())
    })
}
