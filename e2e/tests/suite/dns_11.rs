//! `DNS-11`: no way around cluster DNS.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tsutsumi_api::ResolverPolicy;
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    dns::{Question, Seen, ask, fresh_below},
    install,
    perimeter::Perimeter,
    place::Place,
    policy,
    rig::PAUSE,
    scenario::{self, From, SEEN, Scenario},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

const NAMESPACE: &str = "default";
const WORKLOAD: &str = "around";
/// What closes a namespace.
const CLOSING: &str = "tsutsumi-dns-egress";

/// A Deployment that asks past cluster DNS, and a way out for it: both are told, with what would close them. Once the
/// Deployment asks cluster DNS and the way is closed, nothing is left to tell.
#[test]
fn a_workload_past_cluster_dns_and_the_way_out_are_told_until_they_are_closed() -> Result<()> {
    let name = "dns-11";
    scenario::run(From::Installed, async |s| {
        deploy(s).await?;
        let answered = past_cluster_dns(s).await?;
        ensure!(
            answered.is_some(),
            "the danger is there before: a pod reaches a resolver outside"
        );

        let mut asked = policy::auditing(name);
        asked["spec"]["waysAround"] = json!({"resolvers": [s.rig.outside_address]});
        s.cluster.apply_policy(&asked).await?;
        let workload = format!("Deployment {NAMESPACE}/{WORKLOAD} (1 pod) asks whom its node asks");
        let way = format!(
            "a pod reaches the resolver outside at {} over UDP on port 53",
            s.rig.outside_address
        );
        let failed = s
            .control_says(
                name,
                ControlId::Dns11,
                ControlState::Fail,
                &["dnsPolicy: ClusterFirst", "firewall"],
            )
            .await
            .context("detected")?;
        ensure!(
            failed.observed.contains(&workload) && failed.observed.contains(&way),
            "{}",
            failed.observed
        );
        ensure!(
            failed.message.contains("of tsutsumi, which has to work"),
            "who is exempt is told: {}",
            failed.message
        );
        applies_to_the_namespace(s, &failed.message)?;

        let first = json!({"spec": {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}}});
        s.cluster
            .within::<Deployment>(NAMESPACE)
            .patch(WORKLOAD, &PatchParams::default(), &Patch::Merge(first))
            .await?;
        let told = |state: ControlState, workload_is_told: bool| {
            let workload = workload.clone();
            move |policy: &ResolverPolicy| {
                policy::control(policy, ControlId::Dns11).is_some_and(|control| {
                    control.state == state && control.observed.contains(&workload) == workload_is_told
                })
            }
        };
        s.reaches(
            name,
            "the way out alone is told",
            SEEN,
            told(ControlState::Fail, false),
        )
        .await?;

        let edge = Perimeter::closed_to(s.rig.outside_address)?;
        let answered = past_cluster_dns(s).await?;
        ensure!(answered.is_none(), "the edge is closed, and {answered:?} came");
        s.reaches(name, "nothing is told", SEEN, told(ControlState::Pass, false))
            .await?;
        drop(edge);
        s.reaches(
            name,
            "an open way is told again",
            SEEN,
            told(ControlState::Fail, false),
        )
        .await?;
        Ok(())
    })
}

/// Nobody's DNS is taken and nobody's limit loosened; what is closed is closed by one object of one shape, which proves
/// nothing here, where nothing enforces it; and it goes with the policy.
#[test]
fn a_namespace_is_closed_without_harm_and_opened_again() -> Result<()> {
    let name = "closing";
    scenario::run(From::Installed, async |s| {
        install::install(&s.rig, &install::closing(&s.rig, NAMESPACE))?;
        deploy(s).await?;
        ensure!(
            past_cluster_dns(s).await?.is_some(),
            "the danger is there before: a pod reaches a resolver outside"
        );
        let mut wanted = policy::restoring(name);
        wanted["spec"]["waysAround"] = json!({
            "resolvers": [s.rig.outside_address],
            "close": {"action": "Enforce", "namespaces": [NAMESPACE]},
        });
        let mut asked = wanted.clone();
        asked["spec"]["mode"] = "Audit".into();
        s.cluster.apply_policy(&asked).await?;
        let losing = format!("Deployment {NAMESPACE}/{WORKLOAD} would lose its DNS");
        warns(s, name, &losing).await?;

        let first = json!({"spec": {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}}});
        s.cluster
            .within::<Deployment>(NAMESPACE)
            .patch(WORKLOAD, &PatchParams::default(), &Patch::Merge(first))
            .await?;
        let object = format!("NetworkPolicy {NAMESPACE}/{CLOSING}");
        let planned = |policy: &ResolverPolicy| {
            let status = policy.status.as_ref();
            status.is_some_and(|status| status.plan.iter().any(|line| line.starts_with(&object)))
        };
        s.reaches(name, "it is planned", SEEN, planned).await?;
        let policies = s.cluster.within::<NetworkPolicy>(NAMESPACE);
        ensure!(policies.get_opt(CLOSING).await?.is_none(), "Audit writes nothing");

        s.cluster.apply_policy(&wanted).await?;
        let expected = expected(s).await?;
        stands(s, &expected, &json!({})).await?;
        let failed = s
            .control_says(
                name,
                ControlId::Dns11,
                ControlState::Fail,
                &["nothing has shown that this cluster's network enforces it"],
            )
            .await?;
        ensure!(
            failed.observed.contains("a pod reaches the resolver outside"),
            "{}",
            failed.observed
        );

        limit(s, "of-one", &json!({"matchLabels": {"app": WORKLOAD}})).await?;
        let but = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [WORKLOAD]}]});
        stands(s, &expected, &but).await?;
        limit(s, "of-all", &json!({})).await?;
        is_gone(s).await?;
        warns(s, name, "NetworkPolicy of-all limits every pod of it").await?;
        for theirs in ["of-one", "of-all"] {
            policies.delete(theirs, &DeleteParams::default()).await?;
        }
        stands(s, &expected, &json!({})).await?;

        s.delete(name).await?;
        ensure!(
            policies.get_opt(CLOSING).await?.is_none(),
            "a policy that goes takes it away before"
        );
        Ok(())
    })
}

/// One of that name which we did not write stays as it is, and its owner is told.
#[test]
fn what_somebody_else_wrote_under_that_name_is_left_alone() -> Result<()> {
    let name = "closing-theirs";
    scenario::run(From::Installed, async |s| {
        install::install(&s.rig, &install::closing(&s.rig, NAMESPACE))?;
        limit(s, CLOSING, &json!({})).await?;
        let policies = s.cluster.within::<NetworkPolicy>(NAMESPACE);
        let before = policies.get(CLOSING).await?;
        let mut wanted = policy::enforcing(name);
        wanted["spec"]["waysAround"] = json!({"close": {"action": "Enforce", "namespaces": [NAMESPACE]}});
        s.cluster.apply_policy(&wanted).await?;
        warns(s, name, &format!("NetworkPolicy {CLOSING} is there already")).await?;
        s.next_round(name).await?;
        let after = policies.get(CLOSING).await?;
        ensure!(
            after.metadata.resource_version == before.metadata.resource_version,
            "it was touched: {after:?}"
        );
        Ok(())
    })
}

/// Waits for a warning that holds the words.
async fn warns(s: &Scenario, name: &str, words: &str) -> Result<()> {
    let warns = |policy: &ResolverPolicy| {
        let status = policy.status.as_ref();
        status.is_some_and(|status| status.warnings.iter().any(|line| line.contains(words)))
    };
    s.reaches(name, words, SEEN, warns).await?;
    Ok(())
}

/// What leaves the pods of a closed namespace: to cluster DNS on port 53, and everything but ports 53 and 853.
async fn expected(s: &Scenario) -> Result<Value> {
    let dns = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    let others: Vec<Value> = ["TCP", "UDP", "SCTP"]
        .iter()
        .flat_map(|protocol| {
            [(1, 52), (54, 852), (854, 65_535)]
                .map(|(port, end)| json!({"port": port, "endPort": end, "protocol": protocol}))
        })
        .collect();
    Ok(json!([
        {
            "to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": DNS_NAMESPACE}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }],
            "ports": dns,
        },
        {"to": services_and_cache(s).await?, "ports": dns},
        {"ports": others},
    ]))
}

/// Where a packet goes before a Service of cluster DNS is resolved, and a cache on the node.
async fn services_and_cache(s: &Scenario) -> Result<Value> {
    let services = s.cluster.within::<Service>(DNS_NAMESPACE);
    let addresses: BTreeSet<IpAddr> = services
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter_map(|service| service.spec)
        .filter(|spec| {
            let mut labels = spec.selector.iter().flatten();
            labels.any(|(key, value)| key == "k8s-app" && value == "kube-dns")
        })
        .flat_map(|spec| spec.cluster_ips.unwrap_or_default())
        .filter_map(|address| address.parse().ok())
        .collect();
    ensure!(!addresses.is_empty(), "cluster DNS has no Service");
    let host = |address: IpAddr| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        json!({"ipBlock": {"cidr": format!("{address}/{bits}")}})
    };
    let cache = IpAddr::from([169, 254, 20, 10]);
    Ok(addresses.into_iter().chain([cache]).map(host).collect())
}

/// Waits until the namespace is closed by exactly this, for the pods that the selector picks.
async fn stands(s: &Scenario, egress: &Value, selector: &Value) -> Result<()> {
    let policies = s.cluster.within::<NetworkPolicy>(NAMESPACE);
    let spec = json!({"podSelector": selector, "policyTypes": ["Egress"], "egress": egress});
    let what = format!("closed for {selector}");
    let is = |found: Option<&NetworkPolicy>| {
        found.is_some_and(|found| serde_json::to_value(&found.spec).ok().as_ref() == Some(&spec))
    };
    wait::object(&policies, CLOSING, &what, SEEN, is).await?;
    Ok(())
}

async fn is_gone(s: &Scenario) -> Result<()> {
    let policies = s.cluster.within::<NetworkPolicy>(NAMESPACE);
    wait::object(
        &policies,
        CLOSING,
        "gone",
        SEEN,
        |found: Option<&NetworkPolicy>| found.is_none(),
    )
    .await?;
    Ok(())
}

/// A `NetworkPolicy` of somebody else's, by which nothing leaves the pods that it picks.
async fn limit(s: &Scenario, name: &str, selector: &Value) -> Result<()> {
    let limit = json!({
        "metadata": {"name": name},
        "spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": []},
    });
    s.cluster
        .make(&s.cluster.within::<NetworkPolicy>(NAMESPACE), limit)
        .await?;
    Ok(())
}

async fn deploy(s: &Scenario) -> Result<()> {
    let labels = json!({"app": WORKLOAD});
    let deployment = json!({
        "metadata": {"name": WORKLOAD},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "client", "image": PAUSE, "imagePullPolicy": "Never"}],
                    "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 0,
                },
            },
        },
    });
    s.cluster
        .make(&s.cluster.within::<Deployment>(NAMESPACE), deployment)
        .await?;
    s.cluster.rolled_out(NAMESPACE, WORKLOAD).await
}

/// What a pod of the workload gets from the resolver outside.
async fn past_cluster_dns(s: &Scenario) -> Result<Seen> {
    let ours = ListParams::default().labels(&format!("app={WORKLOAD}"));
    let pod = wait::until("a pod of the workload runs", SEEN, async || {
        let pods = s.cluster.within::<Pod>(NAMESPACE).list(&ours).await?.items;
        let running = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        };
        pods.into_iter().find(running).context("none runs yet")
    })
    .await?;
    let server = SocketAddr::new(s.rig.outside_address, 53);
    ask(&Place::of_pod(&pod)?, server, &Question::a(fresh_below("town")))
}

/// The command in the message prints a NetworkPolicy that the API server takes.
fn applies_to_the_namespace(s: &Scenario, message: &str) -> Result<()> {
    let command = message
        .split('`')
        .find(|part| part.starts_with("kubectl") && part.contains("configmap"))
        .with_context(|| format!("no command in: {message}"))?;
    let told = s
        .rig
        .shell(&format!("{command} | kubectl apply --dry-run=server -f -"))?;
    ensure!(
        told.contains("networkpolicy.networking.k8s.io/tsutsumi-dns-egress created"),
        "{told}"
    );
    Ok(())
}
