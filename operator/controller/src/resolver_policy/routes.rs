//! Gateway API routes for UDP and TCP, which can lead to DNS from outside. Their kinds are optional.
//!
//! Only the few fields that say where a route leads are read, since the version of these kinds changes under us.

use kube::{Client, ResourceExt, core::DynamicObject};
use serde::Deserialize;
use tokio::sync::mpsc;
use tsutsumi_engine::exposure::{Backend, DynamicRoute};
use tsutsumi_model::Transport;

use super::optional::Optional;

const GROUP: &str = "gateway.networking.k8s.io";
const KINDS: [(&str, Transport); 2] = [("TCPRoute", Transport::Tcp), ("UDPRoute", Transport::Udp)];

/// Watches the kinds that the cluster has.
pub(super) async fn start(client: &Client, trigger: &mpsc::Sender<()>) -> Optional<DynamicRoute> {
    let mut routes = Optional::default();
    for (kind, transport) in KINDS {
        let read = move |route: &DynamicObject| read(kind, transport, route);
        routes.watch(client, (GROUP, kind), read, trigger).await;
    }
    routes
}

fn read(kind: &str, transport: Transport, route: &DynamicObject) -> DynamicRoute {
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
            &serde_json::from_value(object).unwrap(),
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
