//! A resolver of ours behind cluster DNS: what the path lets through without it is refused with it, and nobody inside
//! notices the switch.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::ResourceExt as _;
use tsutsumi_e2e::{
    corefile,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY, Scenario},
    signed::{GOOD, believes_everything, validates},
    steady::{Names, RATE},
    wait,
};

/// Prometheus finds Unbound's numbers through the Service, by the label that the chart's `ServiceMonitor` selects.
async fn tells_its_numbers(s: &Scenario, policy: &str) -> Result<()> {
    let name = format!("tsutsumi-unbound-{policy}");
    let service = s.cluster.within::<Service>(NAMESPACE).get(&name).await?;
    let label = service.labels().get("tsutsumi.dev/metrics").map(String::as_str);
    ensure!(label == Some("true"), "its label is {label:?}");
    let page = s
        .cluster
        .page(NAMESPACE, &format!("services/{name}:admin"), "metrics")
        .await?;
    let number = |metric: &str| {
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<f64>().ok())
    };
    let (up, queries) = (
        number("tsutsumi_unbound_up"),
        number("tsutsumi_unbound_queries_total"),
    );
    ensure!(
        up == Some(1.0) && queries > Some(0.0),
        "Unbound was asked, and its numbers say up {up:?}, queries {queries:?}:\n{page}"
    );
    Ok(())
}

#[test]
fn what_the_path_lets_through_is_refused_and_nobody_inside_notices() -> Result<()> {
    let name = "managed";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        believes_everything(s).context("the danger is there before")?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), RATE).await?;
        s.ready(&policy::managed(name)).await?;
        validates(s)?;
        tells_its_numbers(s, name).await?;

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
