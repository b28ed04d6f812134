//! `tsutsumi release`: takes our finalizer off every policy, so that an uninstall leaves none that cannot be deleted.
//!
//! The controller goes first, or it would put the finalizer back: its Deployment is scaled to nothing, and only once
//! none of its pods runs, and none can come up any more, are policies touched. Nothing else is changed; run again, it
//! goes on where it stopped. Only metadata is read and written, so a policy that no longer fits its schema is let go
//! like any other.

use std::{collections::BTreeSet, fmt::Debug, pin::pin, time::Duration};

use futures::TryStreamExt;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};
use tsutsumi_api::ResolverPolicy;

use super::{
    args::ReleaseArgs,
    client::{self, ClientError},
    logging::Chain,
    writer::{FIELD_MANAGER, is_failed_test},
};

/// What holds a policy until the way back is done.
pub(crate) const FINALIZER: &str = "tsutsumi.dev/restore";

/// The pods of the controller, and with them their `ReplicaSets`, as the chart labels them.
const CONTROLLER_PODS: &str = "app.kubernetes.io/name=tsutsumi,app.kubernetes.io/component=controller";
/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long the controller may take to end: several times the grace of its pods, less than the hook has.
const END_LIMIT: Duration = Duration::from_secs(120);
/// How often a policy may change under our hands before another run has to try.
const TRIES: usize = 10;

/// Why not every policy was let go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// There is no API server to talk to.
    #[error("cannot reach the API server")]
    Client {
        /// Why not.
        source: ClientError,
    },
    /// The API server refused, or could not be reached.
    #[error("cannot {operation}")]
    Api {
        /// What was tried.
        operation: String,
        /// What came of it.
        source: kube::Error,
    },
    /// The API server was silent.
    #[error("no answer in time to: {operation}")]
    Deadline {
        /// What was tried.
        operation: String,
    },
    /// Somebody goes on changing a policy.
    #[error("the policy `{policy}` changed at each of {TRIES} tries to take the finalizer `{FINALIZER}` off")]
    Contended {
        /// Which.
        policy: String,
    },
    /// The controller could not be seen to end, so no policy was touched.
    #[error("the controller's {what} were not seen to end within {} s: {left}", END_LIMIT.as_secs())]
    NotEnded {
        /// Of what kind.
        what: String,
        /// Which are left, or that none could be listed.
        left: String,
        /// What the last look came to, where it failed.
        source: Option<watcher::Error>,
    },
}

/// Stops the controller, then lets every policy go.
pub(crate) async fn run(args: ReleaseArgs) -> Result<(), ReleaseError> {
    let client = client::connect()
        .await
        .map_err(|source| ReleaseError::Client { source })?;
    release(&client, &args).await
}

async fn release(client: &Client, args: &ReleaseArgs) -> Result<(), ReleaseError> {
    stop(client, args).await?;
    ended(client, args).await?;
    let_all_go(&Api::all(client.clone())).await
}

/// Scales the controller to nothing; that it is gone already is as good.
async fn stop(client: &Client, args: &ReleaseArgs) -> Result<(), ReleaseError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &args.namespace);
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let operation = format!("scale the Deployment `{}` to 0", args.deployment);
    let params = params();
    let call = deployments.patch_scale(&args.deployment, &params, &patch);
    let there = bounded(operation, call).await?.is_some();
    tracing::info!(deployment = args.deployment, there, "the controller is to end");
    Ok(())
}

/// Waits until no pod of the controller can write any more, from the top: who makes `ReplicaSets` has seen that none is
/// wanted, then who makes pods has, and only then is it looked for pods. A look at the pods alone would miss one that
/// was about to be made, in the place of one that had just been evicted.
async fn ended(client: &Client, args: &ReleaseArgs) -> Result<(), ReleaseError> {
    let until = Instant::now() + END_LIMIT;
    let namespace = args.namespace.as_str();
    let deployment = watcher::Config::default().fields(&format!("metadata.name={}", args.deployment));
    let ours = watcher::Config::default().labels(CONTROLLER_PODS);
    none_left(
        Api::namespaced(client.clone(), namespace),
        deployment,
        until,
        is_behind,
    )
    .await?;
    none_left(
        Api::namespaced(client.clone(), namespace),
        ours.clone(),
        until,
        makes_pods,
    )
    .await?;
    none_left(Api::namespaced(client.clone(), namespace), ours, until, runs).await
}

async fn none_left<K>(
    api: Api<K>,
    config: watcher::Config,
    until: Instant,
    is_left: fn(&K) -> bool,
) -> Result<(), ReleaseError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let what = format!("{}s", K::kind(&()));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut left = BTreeSet::new();
    let (mut listed, mut source) = (false, None);
    while !(listed && left.is_empty()) {
        match timeout_at(until, events.try_next()).await {
            Ok(Ok(Some(event))) => match event {
                Event::Init => (listed, left) = (false, BTreeSet::new()),
                Event::InitApply(object) | Event::Apply(object) if is_left(&object) => {
                    left.insert(object.name_any());
                }
                Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) => {
                    left.remove(&object.name_any());
                }
                Event::InitDone => (listed, source) = (true, None),
            },
            Ok(Err(problem)) => {
                tracing::warn!(what, error = %Chain(&problem), "cannot watch the controller end; trying again");
                source = Some(problem);
            }
            Ok(Ok(None)) | Err(_) => {
                let left = if listed {
                    Vec::from_iter(left).join(", ")
                } else {
                    "they could not be listed".to_owned()
                };
                return Err(ReleaseError::NotEnded { what, left, source });
            }
        }
    }
    Ok(())
}

/// Its controller has not seen yet what it says, and may go on making `ReplicaSets` that want pods.
fn is_behind(deployment: &Deployment) -> bool {
    let seen = deployment
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen < deployment.metadata.generation
}

/// It wants pods, or its controller has not seen yet that it wants none.
fn makes_pods(set: &ReplicaSet) -> bool {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    wanted > 0 || seen < set.metadata.generation
}

/// A pod whose containers have all ended for good may stay for long, and does nothing.
fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Failed" | "Succeeded"))
}

/// Goes through all policies even where one cannot be let go; the first that cannot is told.
async fn let_all_go(policies: &Api<ResolverPolicy>) -> Result<(), ReleaseError> {
    let params = ListParams::default();
    let listed = bounded(
        "list ResolverPolicies".to_owned(),
        policies.list_metadata(&params),
    )
    .await?;
    let mut first = None;
    // Without the CRD there is no policy.
    for policy in listed.into_iter().flat_map(|list| list.items) {
        let name = policy.name_any();
        match let_go(policies, &name, policy.metadata).await {
            Ok(true) => tracing::info!(policy = name, "took the finalizer off"),
            Ok(false) => {}
            Err(problem) => {
                tracing::error!(policy = name, error = %Chain(&problem), "could not take the finalizer off");
                first.get_or_insert(problem);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// Whether the policy had to be changed.
async fn let_go(
    policies: &Api<ResolverPolicy>,
    name: &str,
    mut seen: ObjectMeta,
) -> Result<bool, ReleaseError> {
    for _ in 0..TRIES {
        let Some(patch) = without_ours(&seen) else {
            return Ok(false);
        };
        let operation = || format!("take the finalizer `{FINALIZER}` off the policy `{name}`");
        let (params, patch) = (params(), Patch::<()>::Json(patch));
        match bounded(operation(), policies.patch_metadata(name, &params, &patch)).await {
            Ok(patched) => return Ok(patched.is_some()),
            Err(ReleaseError::Api { source, .. }) if is_conflict(&source) => {}
            Err(problem) => return Err(problem),
        }
        match bounded(format!("read the policy `{name}`"), policies.get_metadata(name)).await? {
            Some(now) => seen = now.metadata,
            None => return Ok(false),
        }
    }
    Err(ReleaseError::Contended {
        policy: name.to_owned(),
    })
}

/// The patch that leaves the finalizers of others, decided on what was seen; none where ours is not there.
fn without_ours(seen: &ObjectMeta) -> Option<JsonPatch> {
    let finalizers = seen.finalizers.as_deref()?;
    let others: Vec<_> = finalizers.iter().filter(|name| *name != FINALIZER).collect();
    if others.len() == finalizers.len() {
        return None;
    }
    let at = |field| PointerBuf::from_tokens(["metadata", field]);
    Some(JsonPatch(vec![
        PatchOperation::Test(TestOperation {
            path: at("resourceVersion"),
            value: json!(seen.resource_version),
        }),
        PatchOperation::Add(AddOperation {
            path: at("finalizers"),
            value: json!(others),
        }),
    ]))
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn is_conflict(problem: &kube::Error) -> bool {
    is_failed_test(problem) || matches!(problem, kube::Error::Api(status) if status.code == 409)
}

/// Bounds a call; none where what it is about does not exist.
async fn bounded<T>(
    operation: String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, ReleaseError> {
    match timeout(CALL_LIMIT, call).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
        Ok(Err(source)) => Err(ReleaseError::Api { operation, source }),
        Err(_) => Err(ReleaseError::Deadline { operation }),
    }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
