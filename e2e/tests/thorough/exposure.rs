//! A way in that no selector tells of.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::{Value, json};
use tsutsumi_e2e::{
    policy,
    scenario::{self, From},
};
use tsutsumi_model::{ControlId, ControlState};

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
        let door = SocketAddr::new(s.rig.node_port.ip(), u16::try_from(port)?);
        s.outside_is_answered_at(door).await?;

        s.control_says(name, ControlId::Dns01, ControlState::Fail, &["side-door"])
            .await?;
        s.cluster.clear_made().await?;
        s.becomes_ready(name)
            .await
            .context("after the side door is gone")?;
        Ok(())
    })
}
