//! Ways in that hide who asks: `acl` sees the node instead of the client, so nothing in the Corefile can help.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tsutsumi_api::resolver_policy::RolloutState;
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    dns::{Question, fresh_name},
    policy,
    scenario::{self, From, Scenario},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn a_node_port_that_hides_clients_is_named_with_its_cure() -> Result<()> {
    let name = "exposure-cluster";
    scenario::run(From::Installed, async |s| {
        let services = s.cluster.within::<Service>(DNS_NAMESPACE);
        let hiding = Patch::Merge(json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
        services
            .patch("kube-dns-nodeport", &PatchParams::default(), &hiding)
            .await?;
        s.cluster.apply_policy(&policy::enforcing(name)).await?;
        // Where the client's address is hidden, the rules in the Corefile are in force and of no use.
        s.reaches(name, "settled", scenario::READY, |policy| {
            policy::rollout(policy) == Some(RolloutState::Settled)
        })
        .await?;
        let parts = ["kube-dns-nodeport", "externalTrafficPolicy"];
        let failed = s
            .control_says(name, ControlId::Dns01, ControlState::Fail, &parts)
            .await?;
        answered_through(s, s.rig.node_port)
            .await
            .context("although acl is there, the node port leaks")?;

        run_cure(s, &failed.message)?;
        s.becomes_ready(name)
            .await
            .context("after the cure that the message named")?;
        s.outside_is_refused().await
    })
}

#[test]
fn a_service_without_selector_is_found_by_its_addresses() -> Result<()> {
    let name = "exposure-by-address";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        let pods = s.cluster.dns_pods().await?;
        let endpoints: Vec<Value> = pods
            .iter()
            .map(|pod| json!({"addresses": [pod.address], "conditions": {"ready": true}}))
            .collect();
        let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}]);
        let service = json!({
            "metadata": {"name": "side-door"},
            "spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": ports},
        });
        let made = s
            .cluster
            .make(&s.cluster.within::<Service>("default"), service)
            .await?;
        let slice = json!({
            "metadata": {"name": "side-door", "labels": {"kubernetes.io/service-name": "side-door"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        });
        s.cluster
            .make(&s.cluster.within::<EndpointSlice>("default"), slice)
            .await?;
        let port = made
            .spec
            .and_then(|spec| spec.ports?.first()?.node_port)
            .context("a node port is given")?;
        let door = std::net::SocketAddr::new(s.rig.node_port.ip(), u16::try_from(port)?);
        answered_through(s, door).await?;

        s.control_says(name, ControlId::Dns01, ControlState::Fail, &["side-door"])
            .await?;
        s.cluster.clear_made().await?;
        s.becomes_ready(name)
            .await
            .context("after the side door is gone")?;
        Ok(())
    })
}

async fn answered_through(s: &Scenario, door: std::net::SocketAddr) -> Result<()> {
    wait::until("the client outside is answered", scenario::READY, async || {
        let seen = s
            .ask_outside(door, &Question::a(fresh_name()))?
            .context("nothing came")?;
        ensure!(
            seen.code == ResponseCode::NoError && seen.records > 0,
            "through {door} came {seen:?}"
        );
        Ok(())
    })
    .await
}

/// Runs the command that the message gives, as a person would.
fn run_cure(s: &Scenario, message: &str) -> Result<()> {
    let cure = message
        .split('`')
        .find(|part| part.starts_with("kubectl ") && part.contains("externalTrafficPolicy"))
        .with_context(|| format!("no command cures the Service in: {message}"))?;
    s.rig.shell(cure).map(drop)
}
