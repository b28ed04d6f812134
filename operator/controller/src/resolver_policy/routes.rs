//! Gateway API routes for UDP and TCP, which can lead to DNS from outside. Their kinds are optional.
//!
//! What the cluster has is asked once, at the start: a controller that starts before these kinds are installed sees
//! their routes after its next start. Only the few fields that say where a route leads are read, since the version of
//! these kinds changes under us.

use std::sync::Arc;

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    core::DynamicObject,
    discovery::{self, ApiResource},
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher,
    },
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tsutsumi_engine::exposure::{Backend, DynamicRoute};
use tsutsumi_model::Transport;

use crate::runtime::logging::Chain;

const GROUP: &str = "gateway.networking.k8s.io";
const KINDS: [(&str, Transport); 2] = [("TCPRoute", Transport::Tcp), ("UDPRoute", Transport::Udp)];

/// The routes of the kinds that the cluster has.
#[derive(Clone, Default)]
pub(super) struct Routes(Vec<(&'static str, Transport, Store<DynamicObject>)>);

impl Routes {
    /// Asks for the kinds and watches those that are there.
    pub(super) async fn start(client: &Client, trigger: &mpsc::Sender<()>) -> Self {
        let Ok(group) = discovery::group(client, GROUP).await else {
            return Self::default();
        };
        let known = group.resources_by_stability();
        let watched = KINDS.into_iter().filter_map(|(kind, transport)| {
            let (resource, _) = known.iter().find(|(resource, _)| resource.kind == kind)?;
            Some((kind, transport, watch(client, resource, trigger.clone())))
        });
        Self(watched.collect())
    }

    /// Waits until every cache has seen its first list.
    pub(super) async fn synced(&self) {
        for (_, _, store) in &self.0 {
            let _ = store.wait_until_ready().await;
        }
    }

    /// The routes as they are now.
    pub(super) fn state(&self) -> Vec<DynamicRoute> {
        let of_kind = |(kind, transport, store): &(&str, Transport, Store<DynamicObject>)| {
            store
                .state()
                .iter()
                .map(|route| read(kind, *transport, route))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_kind).collect()
    }
}

fn watch(client: &Client, resource: &ApiResource, trigger: mpsc::Sender<()>) -> Store<DynamicObject> {
    let writer = reflector::store::Writer::new(resource.clone());
    let reader = writer.as_reader();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|route| route.managed_fields_mut().clear())
        .reflect(writer);
    let kind = resource.kind.clone();
    tokio::spawn(events.for_each(move |event| {
        match event {
            // A full channel means that a reconcile is due anyway.
            Ok(_) => drop(trigger.try_send(())),
            Err(error) => tracing::warn!(kind, error = %Chain(&error), "a watch was interrupted"),
        }
        std::future::ready(())
    }));
    reader
}

fn read(kind: &str, transport: Transport, route: &Arc<DynamicObject>) -> DynamicRoute {
    let namespace = route.namespace().unwrap_or_default();
    let spec: Spec =
        Spec::deserialize(route.data.get("spec").unwrap_or(&serde_json::Value::Null)).unwrap_or_default();
    let backends = spec
        .rules
        .into_iter()
        .flat_map(|rule| rule.backend_refs)
        .filter_map(|backend| {
            (backend.kind == "Service").then(|| Backend {
                namespace: backend.namespace.unwrap_or_else(|| namespace.clone()),
                service: backend.name,
                port: backend.port.unwrap_or_default(),
            })
        });
    DynamicRoute {
        kind: kind.to_owned(),
        name: route.name_any(),
        transport,
        backends: backends.collect(),
        listeners: Vec::new(),
        namespace,
    }
}

/// What is read of a route's `spec`.
#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default, rename = "backendRefs")]
    backend_refs: Vec<BackendRef>,
}

#[derive(Deserialize)]
struct BackendRef {
    #[serde(default = "service")]
    kind: String,
    name: String,
    namespace: Option<String>,
    port: Option<u16>,
}

fn service() -> String {
    "Service".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(spec: &serde_json::Value) -> DynamicRoute {
        let object = serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1alpha2",
            "kind": "UDPRoute",
            "metadata": { "name": "dns", "namespace": "edge" },
            "spec": spec,
        });
        read(
            "UDPRoute",
            Transport::Udp,
            &Arc::new(serde_json::from_value(object).unwrap()),
        )
    }

    #[test]
    fn backends_are_services_with_the_defaults_of_the_gateway_api() {
        let route = route(&serde_json::json!({
            "rules": [{ "backendRefs": [
                { "name": "kube-dns", "namespace": "kube-system", "port": 53 },
                { "name": "near", "port": 5353 },
                { "name": "bucket", "kind": "Bucket", "port": 53 },
            ]}],
        }));
        let led: Vec<_> = route
            .backends
            .iter()
            .map(|backend| (backend.namespace.as_str(), backend.service.as_str(), backend.port))
            .collect();
        assert_eq!(led, [("kube-system", "kube-dns", 53), ("edge", "near", 5353)]);
    }

    #[test]
    fn a_route_that_cannot_be_read_leads_nowhere() {
        assert_eq!(route(&serde_json::json!({ "rules": "none" })).backends, []);
    }
}
