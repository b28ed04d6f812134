//! The floor of every figure: an operator on the same library, allocator and watches as the controller, whose only logic
//! is to answer each change with one write of the same kind. What the controller needs beyond this is its own doing.
//!
//! Objects are kept whole but for their managed fields, as an operator does whose author did not think of it.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        reflector::{self, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::mpsc;
use tsutsumi_api::ResolverPolicy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where cluster DNS lies.
const DNS_NAMESPACE: &str = "kube-system";
/// The `ConfigMaps` that are watched by name; the first holds the Corefile.
const CONFIG_MAPS: [&str; 2] = ["coredns", "kubeadm-config"];

fn main() -> Result<()> {
    // An error here means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(run())
}

struct Ctx {
    client: Client,
    corefile: Store<ConfigMap>,
    said: Mutex<String>,
}

async fn run() -> Result<()> {
    let mut config = Config::infer().await.context("finding the API server")?;
    config.read_timeout = None;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let (trigger, triggered) = mpsc::channel(1);
    let all = (
        keep(Api::<Node>::all(client.clone()), None, None),
        keep(Api::<Service>::all(client.clone()), None, None),
        keep(Api::<EndpointSlice>::all(client.clone()), None, None),
        keep(Api::<Pod>::all(client.clone()), None, None),
    );
    let workloads = (
        keep(
            Api::<Deployment>::namespaced(client.clone(), DNS_NAMESPACE),
            None,
            None,
        ),
        keep(
            Api::<DaemonSet>::namespaced(client.clone(), DNS_NAMESPACE),
            None,
            None,
        ),
    );
    let config_maps = CONFIG_MAPS.map(|name| {
        let api = Api::<ConfigMap>::namespaced(client.clone(), DNS_NAMESPACE);
        keep(api, Some(name), Some(trigger.clone()))
    });
    let [corefile, _] = &config_maps;
    let ctx = Arc::new(Ctx {
        client: client.clone(),
        corefile: corefile.clone(),
        said: Mutex::default(),
    });
    let (nodes, services, slices, pods) = &all;
    future::try_join4(
        nodes.wait_until_ready(),
        services.wait_until_ready(),
        slices.wait_until_ready(),
        pods.wait_until_ready(),
    )
    .await?;
    future::try_join(workloads.0.wait_until_ready(), workloads.1.wait_until_ready()).await?;
    future::try_join_all(config_maps.iter().map(Store::wait_until_ready)).await?;

    let (known, keeping) = reflector::store();
    let touched = watcher(Api::<ResolverPolicy>::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(keeping)
        .touched_objects();
    let triggers = stream::unfold(triggered, |mut receiver: mpsc::Receiver<()>| async move {
        receiver.recv().await.map(|()| ((), receiver))
    });
    Controller::for_stream(touched, known)
        .reconcile_all_on(triggers)
        .run(reconcile, |_, _, _| Action::await_change(), ctx)
        .for_each(|_| future::ready(()))
        .await;
    Ok(())
}

/// A cache that a watch keeps; its changes pull the trigger where there is one.
fn keep<K>(api: Api<K>, name: Option<&str>, trigger: Option<mpsc::Sender<()>>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let mut config = watcher::Config::default();
    if let Some(name) = name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let events = watcher(api, config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    tokio::spawn(events.try_for_each(move |_| {
        // A full channel means that a reconcile is due anyway.
        let _ = trigger.as_ref().map(|trigger| trigger.try_send(()));
        future::ready(Ok(()))
    }));
    reader
}

async fn reconcile(policy: Arc<ResolverPolicy>, ctx: Arc<Ctx>) -> Result<Action, kube::Error> {
    let versions: Vec<_> = ctx
        .corefile
        .state()
        .iter()
        .filter_map(|map| map.resource_version())
        .collect();
    let generation = policy.metadata.generation;
    let message = format!("{} {generation:?} {versions:?}", policy.uid().unwrap_or_default());
    if *ctx.said.lock().unwrap_or_else(PoisonError::into_inner) == message {
        return Ok(Action::await_change());
    }
    let body = json!({
        "apiVersion": ResolverPolicy::api_version(&()),
        "kind": ResolverPolicy::kind(&()),
        "status": {
            "observedGeneration": generation,
            "conditions": [{
                "type": "Accepted",
                "status": "True",
                "reason": "Seen",
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": policy.metadata.creation_timestamp,
            }],
        },
    });
    let api: Api<ResolverPolicy> = Api::all(ctx.client.clone());
    let params = PatchParams::apply("null-operator").force();
    api.patch_status(&policy.name_any(), &params, &Patch::Apply(&body))
        .await?;
    *ctx.said.lock().unwrap_or_else(PoisonError::into_inner) = message;
    Ok(Action::await_change())
}
