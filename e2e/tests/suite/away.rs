//! The operator is away while the cluster grows: on its return the new range is served at once.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use tsutsumi_e2e::{
    policy,
    scenario::{self, From, READY},
    wait,
};

/// A range that is neither private nor any that the cluster has.
const RANGE: &str = "203.0.113.0/26";

#[test]
fn a_node_that_joined_meanwhile_is_served() -> Result<()> {
    let name = "away";
    scenario::run(From::Installed, async |s| {
        let mut clients = policy::enforcing(name);
        clients["spec"]["clients"]["include"] = json!(["Cluster"]);
        s.ready(&clients).await?;
        ensure!(
            !s.cluster.corefile().await?.contains(RANGE),
            "the range is there already"
        );

        s.cluster.scale_controller(0).await?;
        let node = json!({"metadata": {"name": "joined"}, "spec": {"podCIDR": RANGE, "podCIDRs": [RANGE]}});
        s.cluster
            .make(&Api::<Node>::all(s.cluster.client.clone()), node)
            .await?;
        s.outside_is_refused()
            .await
            .context("the rules hold without the operator")?;
        s.cluster.scale_controller(1).await?;
        wait::until("the new range is served", READY, async || {
            let text = s.cluster.corefile().await?;
            ensure!(text.contains(RANGE), "the Corefile is\n{text}");
            Ok(())
        })
        .await?;
        s.becomes_ready(name).await?;
        Ok(())
    })
}
