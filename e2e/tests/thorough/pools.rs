//! Pools that a network plugin keeps as objects: their ranges are served as they come, and no longer once they go.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject},
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::json;
use tsutsumi_e2e::{
    policy,
    scenario::{self, From, READY, Scenario},
    wait,
};

/// Ranges that are neither private nor any that the cluster has.
const FIRST: &str = "203.0.113.64/26";
const SECOND: &str = "203.0.113.128/26";

#[test]
fn the_pools_of_calico_are_served_while_they_are_there() -> Result<()> {
    let name = "pools";
    scenario::run(From::Installed, async |s| {
        let pools = calico(s).await?;
        make(s, &pools, "first", FIRST).await?;
        // A kind that came after the controller is seen by the next one.
        s.cluster.scale_controller(0).await?;
        s.cluster.scale_controller(1).await?;

        let mut clients = policy::enforcing(name);
        clients["spec"]["clients"]["include"] = json!(["Cluster"]);
        let ready = s.ready(&clients).await?;
        let told = ready.status.unwrap_or_default().clients;
        let line = format!("{FIRST}: cidr of IPPool first");
        ensure!(told.contains(&line), "status.clients is {told:?}");
        let text = s.cluster.corefile().await?;
        ensure!(
            text.contains(FIRST) && !text.contains(SECOND),
            "the Corefile is\n{text}"
        );

        make(s, &pools, "second", SECOND).await?;
        wait::until("the new pool is served", READY, async || {
            let text = s.cluster.corefile().await?;
            ensure!(
                text.contains(FIRST) && text.contains(SECOND),
                "the Corefile is\n{text}"
            );
            Ok(())
        })
        .await?;

        pools.delete("first", &DeleteParams::default()).await?;
        wait::until("the pool that went is not served any more", READY, async || {
            let text = s.cluster.corefile().await?;
            ensure!(
                !text.contains(FIRST) && text.contains(SECOND),
                "the Corefile is\n{text}"
            );
            Ok(())
        })
        .await?;
        s.becomes_ready(name).await?;
        s.cluster.clear_made().await
    })
}

/// Installs as much of Calico as an address pool needs.
async fn calico(s: &Scenario) -> Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::gvk("crd.projectcalico.org", "v1", "IPPool");
    let resource = ApiResource::from_gvk_with_plural(&kind, "ippools");
    let crds: Api<CustomResourceDefinition> = Api::all(s.cluster.client.clone());
    let name = format!("{}.{}", resource.plural, resource.group);
    let spec = json!({"type": "object", "required": ["cidr"], "properties": {"cidr": {"type": "string"}}});
    let crd = json!({
        "metadata": {"name": name},
        "spec": {
            "group": resource.group,
            "scope": "Cluster",
            "names": {"kind": resource.kind, "plural": resource.plural},
            "versions": [{
                "name": resource.version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    });
    s.cluster.make(&crds, crd).await?;
    tokio::time::timeout(READY, await_condition(crds, &name, is_crd_established()))
        .await
        .context("the CRD is not established in time")??;
    Ok(Api::all_with(s.cluster.client.clone(), &resource))
}

async fn make(s: &Scenario, pools: &Api<DynamicObject>, name: &str, cidr: &str) -> Result<()> {
    let pool = json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr},
    });
    s.cluster.make(pools, pool).await?;
    Ok(())
}
