//! Ways in that hide who asks: `acl` sees the node instead of the client, so nothing in the Corefile can help.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tsutsumi_api::resolver_policy::RolloutState;
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    policy,
    scenario::{self, From, Scenario},
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
        s.outside_is_answered_at(s.rig.node_port)
            .await
            .context("although acl is there, the node port leaks")?;

        run_cure(s, &failed.message)?;
        s.becomes_ready(name)
            .await
            .context("after the cure that the message named")?;
        s.outside_is_refused().await
    })
}

/// Runs the command that the message gives, as a person would.
fn run_cure(s: &Scenario, message: &str) -> Result<()> {
    let cure = message
        .split('`')
        .find(|part| part.starts_with("kubectl ") && part.contains("externalTrafficPolicy"))
        .with_context(|| format!("no command cures the Service in: {message}"))?;
    s.rig.shell(cure).map(drop)
}
