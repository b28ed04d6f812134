//! Quiet: where nothing changes, nothing is written but the lease and, for each round of probes, its result.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::select_all};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Pod, Secret},
    events::v1::Event,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
    core::{ApiResource, DynamicObject},
};
use tsutsumi_api::{ResolverPolicy, conditions::ConditionType};
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    install::NAMESPACE,
    policy,
    scenario::{self, From, READY, Scenario},
};
use tsutsumi_model::ControlId;

/// The rounds of probes that are watched.
const ROUNDS: u32 = 3;

#[test]
fn only_the_lease_and_results_are_written() -> Result<()> {
    let name = "idle";
    scenario::run(From::Installed, async |s| {
        let ready = s.ready(&policy::enforcing(name)).await?;
        let checked = |policy: &ResolverPolicy| {
            policy::control(policy, ControlId::Dns01).map(|control| control.checked_at.0)
        };
        let (mut last, mut rounds) = (checked(&ready), 0);
        let mut writes = BTreeMap::<_, u32>::new();
        let mut seen = Box::pin(all_writes(s).await?);
        while rounds < ROUNDS {
            let next = tokio::time::timeout(READY, seen.try_next());
            let object = next
                .await
                .context("no round of probes ends")??
                .context("a watch ended")?;
            let kind = object
                .types
                .as_ref()
                .map(|types| types.kind.clone())
                .context("an object has a kind")?;
            if kind == ResolverPolicy::kind(&()) {
                let policy: ResolverPolicy = object.clone().try_parse()?;
                ensure!(
                    policy::is(&policy, ConditionType::Ready, "True"),
                    "it is not idle: {policy:?}"
                );
                if checked(&policy) > last {
                    (last, rounds) = (checked(&policy), rounds + 1);
                }
            }
            *writes.entry((kind, object.name_any())).or_default() += 1;
        }
        println!("{writes:?} in {ROUNDS} rounds");
        for ((kind, object), count) in &writes {
            let most = match (kind.as_str(), object.as_str()) {
                ("Lease", "tsutsumi-controller") => continue,
                ("ResolverPolicy", "idle") | ("ConfigMap", "tsutsumi-evidence-idle") => ROUNDS,
                _ => 0,
            };
            ensure!(
                *count <= most,
                "{kind} {object} was written {count} times in {ROUNDS} rounds, not {most}: {writes:?}"
            );
        }
        ensure!(
            writes.keys().any(|(kind, _)| kind == "Lease"),
            "not even the lease was seen to be written, so the watches prove nothing"
        );
        Ok(())
    })
}

/// Every object as it is after each write, of the kinds that the chart's rights let the controller write.
async fn all_writes(s: &Scenario) -> Result<impl Stream<Item = Result<DynamicObject>> + use<>> {
    let client = &s.cluster.client;
    let within = |namespace: &str, kind: &ApiResource| Api::namespaced_with(client.clone(), namespace, kind);
    let config_maps = ApiResource::erase::<ConfigMap>(&());
    let events = ApiResource::erase::<Event>(&());
    let all = WatchParams::default();
    let canaries = all.clone().labels("tsutsumi.dev/canary");
    let watched = [
        (within(NAMESPACE, &config_maps), &all),
        (within(DNS_NAMESPACE, &config_maps), &all),
        (within(NAMESPACE, &ApiResource::erase::<Secret>(&())), &all),
        (within(NAMESPACE, &ApiResource::erase::<Lease>(&())), &all),
        (within(NAMESPACE, &ApiResource::erase::<Pod>(&())), &canaries),
        (within(NAMESPACE, &events), &all),
        (within("default", &events), &all),
        (s.cluster.loose_policies(), &all),
    ];
    let mut streams = Vec::new();
    for (api, which) in watched {
        let now = api.list(&ListParams::default().limit(1)).await?.metadata;
        let from = now.resource_version.context("a list has a version")?;
        streams.push(api.watch(which, &from).await?.boxed());
    }
    Ok(select_all(streams)
        .map_err(Into::into)
        .try_filter_map(async |event| match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                Ok(is_ours(&object).then_some(object))
            }
            WatchEvent::Bookmark(_) => Ok(None),
            WatchEvent::Error(error) => bail!("a watch was cut off: {error:?}"),
        }))
}

/// Events are written by all parts of a cluster; ours carry our name.
fn is_ours(object: &DynamicObject) -> bool {
    let reporter = object.data.get("reportingController");
    reporter.is_none_or(|reporter| reporter == "tsutsumi.dev/controller")
}
