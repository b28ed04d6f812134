//! What is said to Envoy Gateway, from objects as people write them.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{Blocked, Policy, Reference, Said, objects::Objects, render};

/// A Gateway with two listeners, and a route that is led to by one of them.
const TOWN: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: envoy-gateway}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: town, name: public}
spec:
  gatewayClassName: envoy-gateway
  listeners: [{name: http, protocol: HTTP, port: 80}, {name: https, protocol: HTTPS, port: 443}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: town, name: web}
spec: {parentRefs: [{name: public, sectionName: https}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: town, name: elsewhere}
spec: {gatewayClassName: traefik, listeners: [{name: http, protocol: HTTP, port: 80}]}
";

const POLICY: &str = "
apiVersion: tsutsumi.dev/v1alpha1
kind: IngressProtectionPolicy
metadata: {namespace: town, name: web}
spec:
  mode: Enforce
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  timeouts: {requestHeaders: 10s}
  perClient: {requests: {count: 50, per: 1s}}
";

fn documents(text: &str) -> impl Iterator<Item = Value> {
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
}

fn said(more: &str) -> Vec<(Reference, Result<Said, Blocked>)> {
    let mut objects = Objects::default();
    let mut policies = Vec::new();
    for document in documents(TOWN)
        .chain(documents(POLICY))
        .chain((!more.is_empty()).then(|| documents(more)).into_iter().flatten())
    {
        if objects.take(&document).unwrap() {
            continue;
        }
        policies.push(Policy::read(&document).unwrap().unwrap());
    }
    render(&objects, &policies, NonZeroU32::MIN)
}

/// The objects, by what they are attached to.
fn objects(more: &str) -> Vec<(String, Value)> {
    let of = |(of, outcome): (Reference, Result<Said, Blocked>)| {
        let section = of.section.map(|section| format!("/{section}"));
        let name = format!("{}{}", of.name, section.unwrap_or_default());
        Some((name, outcome.unwrap().object?))
    };
    said(more).into_iter().filter_map(of).collect()
}

fn names(objects: &[(String, Value)]) -> Vec<&str> {
    objects.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn listeners_and_routes_are_limited_each_by_an_object_of_ours() {
    let objects = objects("");
    assert_eq!(names(&objects), ["public/http", "public/https", "web"]);
    assert_eq!(
        objects[1].1,
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "ClientTrafficPolicy",
            "metadata": {
                "namespace": "town",
                "name": "tsutsumi-public-https",
                "labels": {"app.kubernetes.io/managed-by": "tsutsumi"},
            },
            "spec": {
                "targetRefs": [{
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "name": "public",
                    "sectionName": "https",
                }],
                "timeout": {"http": {"requestHeadersReceivedTimeout": "10s"}},
            },
        })
    );
    assert_eq!(objects[2].1["kind"], "BackendTrafficPolicy");
    assert_eq!(objects[2].1["spec"]["targetRefs"][0]["name"], "web");
}

#[test]
fn what_was_said_before_changes_nothing() {
    let first = objects("");
    let again: Vec<String> = first
        .iter()
        .map(|(_, object)| serde_saphyr::to_string(object).unwrap())
        .collect();
    assert_eq!(objects(&again.join("\n---\n")), first);
}

#[test]
fn what_a_gateway_s_policy_says_is_carried() {
    let theirs = "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {namespace: town, name: theirs}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  connection: {connectionLimit: {value: 2}}
  timeout: {http: {requestHeadersReceivedTimeout: 5s}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: town, name: theirs}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  rateLimit: {local: {rules: [{limit: {requests: 4, unit: Minute}}]}}
";
    let objects = objects(theirs);
    // Theirs says all that is wished for the listeners.
    assert_eq!(names(&objects), ["web"]);
    let rules = &objects[0].1["spec"]["rateLimit"]["local"]["rules"];
    assert_eq!(rules.as_array().map(Vec::len), Some(3), "{rules}");
    assert_eq!(rules[0], json!({"limit": {"requests": 4, "unit": "Minute"}}));
}

#[test]
fn where_ours_would_not_hold_nothing_is_said() {
    let there = "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {namespace: town, name: theirs}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, sectionName: https}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: town, name: by-label}
spec: {targetSelectors: [{kind: HTTPRoute, matchLabels: {a: b}}]}
";
    let errors: Vec<String> = said(there)
        .into_iter()
        .filter_map(|(_, outcome)| Some(outcome.err()?.to_string()))
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].contains("policy theirs is attached there already"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("policy by-label picks its targets by labels"),
        "{errors:?}"
    );
}

#[test]
fn listeners_that_share_a_port_are_limited_together_or_not_at_all() {
    let second = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: town, name: shared}
spec:
  gatewayClassName: envoy-gateway
  listeners:
  - {name: a, protocol: HTTP, port: 80, hostname: a.example.jp}
  - {name: b, protocol: HTTP, port: 80, hostname: b.example.jp}
  - {name: c, protocol: HTTPS, port: 443}
---
apiVersion: tsutsumi.dev/v1alpha1
kind: IngressProtectionPolicy
metadata: {namespace: town, name: shared}
spec:
  mode: Enforce
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: shared}]
  timeouts: {idle: 60s}
";
    let all = objects(second);
    assert_eq!(names(&all), ["public/http", "public/https", "shared", "web"]);
    assert_eq!(
        all[2].1["spec"]["targetRefs"],
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "shared"}])
    );

    let only_a = second.replace("name: shared}]\n", "name: shared, sectionName: a}]\n");
    let blocked: Vec<String> = said(&only_a)
        .into_iter()
        .filter_map(|(of, outcome)| Some(format!("{:?} {}", of.section, outcome.err()?)))
        .collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert!(
        blocked[0].starts_with("Some(\"a\") it shares its port"),
        "{blocked:?}"
    );

    let theirs = format!(
        "{second}---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{namespace: town, name: theirs}}
spec: {{targetRefs: [{{kind: Gateway, name: shared, sectionName: c}}]}}
"
    );
    let blocked: Vec<String> = said(&theirs)
        .into_iter()
        .filter_map(|(of, outcome)| Some(format!("{} {}", of.name, outcome.err()?)))
        .collect();
    assert_eq!(
        blocked,
        ["shared policy theirs is attached there already, and of two only the older holds"]
    );
}

#[test]
fn two_ways_with_different_policies_are_told() {
    let two = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: town, name: both}
spec: {parentRefs: [{name: public}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: town, name: theirs}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, sectionName: http}]
  requestBuffer: {limit: 1Ki}
";
    let errors: Vec<String> = said(two)
        .into_iter()
        .filter_map(|(_, outcome)| Some(outcome.err()?.to_string()))
        .collect();
    assert_eq!(
        errors,
        ["different policies are in force on the ways that lead there: theirs, none"]
    );
}

#[test]
fn a_policy_of_the_whole_cluster_reaches_every_gateway_of_the_controller_s() {
    let baseline = "
apiVersion: tsutsumi.dev/v1alpha1
kind: ClusterIngressProtectionPolicy
metadata: {name: baseline}
spec:
  mode: Enforce
  limits: {connections: 1000}
  floors: {timeouts: {requestHeaders: 20s}}
";
    let objects = objects(baseline);
    let spec = &objects[0].1["spec"];
    assert_eq!(spec["connection"]["connectionLimit"]["value"], 1000);
    assert_eq!(spec["timeout"]["http"]["requestHeadersReceivedTimeout"], "20s");
    assert_eq!(names(&objects), ["public/http", "public/https", "web"]);
}
