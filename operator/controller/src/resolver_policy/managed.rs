//! The managed resolver in the cluster: what is read for it, its objects applied, and taken away once nothing leads
//! there any more.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, ResourceExt, api::ListParams};
use tsutsumi_api::{
    ResolverPolicy,
    resolver_policy::{Hop, RolloutState, Via},
};
use tsutsumi_engine::{
    managed::{
        self, Data, Leftover, Managed, Wanted,
        hop::{Certificates, SECRET},
    },
    resolver::{Checked, Plan},
};
use tsutsumi_zone::{Apex, ZONE_KEY, ZoneKey};

use super::{Ctx, error::Error, memory::Memory};
use crate::runtime::{
    certificates::{PROBE_ZONE_KEYS, hop::offered},
    writer::Writer,
};

/// The keys of the ConfigMaps that a policy names.
const HINTS: &str = "named.root";
const ANCHORS: &str = "root.key";

/// Reads what a managed resolver of this policy needs; nothing where it wants none.
pub(super) async fn read(ctx: &Ctx, policy: &ResolverPolicy) -> Result<Data, Error> {
    let Some(recursion) = &policy.spec.recursion else {
        return Ok(Data::default());
    };
    if recursion.via != Some(Via::Managed) {
        return Ok(Data::default());
    }
    let roots = recursion.roots.clone().unwrap_or_default();
    Ok(Data {
        hints: given(ctx, roots.hints_config_map.as_deref(), HINTS).await?,
        anchors: given(ctx, roots.anchors_config_map.as_deref(), ANCHORS).await?,
        probe_zones: probe_zones(ctx).await?,
        certificates: certificates(ctx, recursion.hop).await?,
        silent: Vec::new(),
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

/// Applies the objects where they are not as they should be, and takes older configurations away once none serves.
pub(super) async fn keep(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    memory: &mut Memory,
) -> Result<(), Error> {
    let Managed::Wanted(wanted) = &checked.managed else {
        return Ok(());
    };
    if !wanted.applied || memory.unbound_applied.as_ref() != Some(&wanted.digest) {
        apply(ctx, writer, wanted).await?;
        memory.unbound_applied = Some(wanted.digest.clone());
    }
    if wanted.serving.is_ok() && memory.unbound_swept.as_ref() != Some(&wanted.digest) {
        let policy = checked.policy.name_any();
        let current = wanted.objects.config.name_any();
        sweep(ctx, writer, &policy, Some(&current)).await?;
        memory.unbound_swept = Some(wanted.digest.clone());
    }
    Ok(())
}

/// Takes away what is left of a resolver that nothing asks any more: the text that does not lead to it is in force in
/// every pod.
pub(super) async fn leave(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    plan: &Plan,
    memory: &Memory,
) -> Result<(), Error> {
    let settled = memory
        .rollout
        .as_ref()
        .is_none_or(|rollout| rollout.state == RolloutState::Settled);
    let idle = checked.managed == Managed::Unwanted(Leftover::Idle);
    if idle && settled && matches!(plan, Plan::InForce { .. }) {
        remove(ctx, writer, &checked.policy.name_any()).await?;
    }
    Ok(())
}

/// The Deployment comes last, since it tells that the others were applied.
async fn apply(ctx: &Ctx, writer: &Writer, wanted: &Wanted) -> Result<(), Error> {
    let objects = &wanted.objects;
    let failed = |source| Error::Apply {
        operation: "apply the managed resolver",
        source,
    };
    let config: Api<ConfigMap> = own(ctx);
    let name = objects.config.name_any();
    writer
        .apply_owned(&config, &name, &objects.config)
        .await
        .map_err(failed)?;
    let name = objects.deployment.name_any();
    let policies: Api<NetworkPolicy> = own(ctx);
    writer
        .apply_owned(&policies, &name, &objects.network_policy)
        .await
        .map_err(failed)?;
    let budgets: Api<PodDisruptionBudget> = own(ctx);
    writer
        .apply_owned(&budgets, &name, &objects.budget)
        .await
        .map_err(failed)?;
    let services: Api<Service> = own(ctx);
    writer
        .apply_owned(&services, &name, &objects.service)
        .await
        .map_err(failed)?;
    let deployments: Api<Deployment> = own(ctx);
    writer
        .apply_owned(&deployments, &name, &objects.deployment)
        .await
        .map_err(failed)?;
    Ok(())
}

/// The Deployment goes last, since it tells that something is left.
async fn remove(ctx: &Ctx, writer: &Writer, policy: &str) -> Result<(), Error> {
    let name = managed::name(policy);
    let failed = |source| Error::Apply {
        operation: "remove the managed resolver",
        source,
    };
    writer
        .delete(&own::<Service>(ctx), &name, None)
        .await
        .map_err(failed)?;
    writer
        .delete(&own::<PodDisruptionBudget>(ctx), &name, None)
        .await
        .map_err(failed)?;
    writer
        .delete(&own::<NetworkPolicy>(ctx), &name, None)
        .await
        .map_err(failed)?;
    sweep(ctx, writer, policy, None).await?;
    writer
        .delete(&own::<Deployment>(ctx), &name, None)
        .await
        .map_err(failed)
}

/// Removes the configurations of a policy's resolver but for one. A pod keeps the files that it came up with.
async fn sweep(ctx: &Ctx, writer: &Writer, policy: &str, but: Option<&str>) -> Result<(), Error> {
    let maps: Api<ConfigMap> = own(ctx);
    let labelled = ListParams::default().labels(&format!("{}={policy}", managed::LABEL));
    let found = maps.list(&labelled).await.map_err(|source| Error::Load {
        source: source.into(),
    })?;
    for map in found {
        let name = map.name_any();
        if Some(name.as_str()) != but && name.starts_with(managed::PREFIX) {
            writer
                .delete(&maps, &name, map.metadata.uid.as_deref())
                .await
                .map_err(|source| Error::Apply {
                    operation: "remove an older configuration of the managed resolver",
                    source,
                })?;
        }
    }
    Ok(())
}

fn own<K>(ctx: &Ctx) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(ctx.client.clone(), &ctx.scope.own_namespace)
}

/// The content of a key of a ConfigMap that a policy names, or why there is none.
async fn given(ctx: &Ctx, map: Option<&str>, key: &str) -> Result<Option<Result<String, String>>, Error> {
    let Some(name) = map else { return Ok(None) };
    let found = own::<ConfigMap>(ctx)
        .get_opt(name)
        .await
        .map_err(|source| Error::Load {
            source: source.into(),
        })?;
    let namespace = &ctx.scope.own_namespace;
    Ok(Some(match found {
        None => Err(format!("it is not in the namespace {namespace}; create it there")),
        Some(map) => map
            .data
            .and_then(|mut data| data.remove(key))
            .ok_or_else(|| format!("it has no key `{key}`; put the file there under this name")),
    }))
}

/// What was issued for the hop over TLS, where the policy wants that and the chart makes the Secret.
async fn certificates(ctx: &Ctx, hop: Option<Hop>) -> Result<Option<Certificates>, Error> {
    if hop != Some(Hop::Tls) || ctx.audit_only {
        return Ok(None);
    }
    let secret = own::<Secret>(ctx)
        .get_opt(SECRET)
        .await
        .map_err(|source| Error::Load {
            source: source.into(),
        })?;
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    Ok(offered(
        &data.into_iter().map(|(key, value)| (key, value.0)).collect(),
    ))
}

/// The DS records of the probe zones, where there are any and their key is made. Both have the same.
async fn probe_zones(ctx: &Ctx) -> Result<Vec<String>, Error> {
    let outside = ctx.scope.outside_zone.as_ref().map(|outside| &outside.name);
    let zones: Vec<_> = ctx.scope.probe_zone.iter().chain(outside).collect();
    if zones.is_empty() {
        return Ok(Vec::new());
    }
    let keys = own::<Secret>(ctx)
        .get_opt(PROBE_ZONE_KEYS)
        .await
        .map_err(|source| Error::Load {
            source: source.into(),
        })?;
    let key = keys.and_then(|keys| keys.data?.remove(ZONE_KEY));
    let Some(key) = key.and_then(|key| ZoneKey::read(&key.0).ok()) else {
        // The controller itself makes it, and then the next round of probes brings it here.
        return Ok(Vec::new());
    };
    let apexes = zones
        .into_iter()
        .filter_map(|zone| Apex::try_from(zone.clone()).ok());
    Ok(apexes
        .filter_map(|apex| tsutsumi_zone::ds(&apex, &key).ok())
        .collect())
}
