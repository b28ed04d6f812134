//! Policies as a user writes them, and what their status says.

use std::net::SocketAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use tsutsumi_api::{
    ResolverPolicy,
    conditions::ConditionType,
    resolver_policy::{ControlStatus, RolloutState},
};
use tsutsumi_model::{ControlId, ControlState};

/// The ConfigMap with the servers of the rig's root.
pub const HINTS: &str = "rig-hints";
/// The ConfigMap with its keys.
pub const ANCHORS: &str = "rig-anchors";

/// The policy that closes an open resolver, with everything this release manages.
#[must_use]
pub fn enforcing(name: &str) -> Value {
    json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": {"name": name},
        "spec": {
            "mode": "Enforce",
            "clients": {"include": ["Cluster", "Private"]},
            "udp": {"maxMessageBytes": 1232},
            "anyQueries": "Empty",
            "recursion": {"sourcePorts": "Random"},
            "verification": {"interval": "30s", "vantages": ["inside", "outside"]},
        },
    })
}

/// The same policy, which puts back what stood there before when it is deleted.
#[must_use]
pub fn restoring(name: &str) -> Value {
    let mut policy = enforcing(name);
    policy["spec"]["onDelete"] = "Restore".into();
    policy
}

/// The same policy with another limit for messages over UDP, in bytes.
#[must_use]
pub fn limiting(name: &str, bytes: u16) -> Value {
    let mut policy = enforcing(name);
    policy["spec"]["udp"]["maxMessageBytes"] = bytes.into();
    policy
}

/// The same policy, with a resolver of ours that starts from the rig's root; it puts back what stood there before.
#[must_use]
pub fn managed(name: &str) -> Value {
    let mut policy = restoring(name);
    policy["spec"]["recursion"] = json!({
        "via": "Managed",
        "sourcePorts": "Random",
        // Watching takes minutes, and has a test of its own.
        "compare": {"watch": "0s"},
        "roots": {"hintsConfigMap": HINTS, "anchorsConfigMap": ANCHORS},
    });
    policy
}

/// The same policy, which has CoreDNS ask the resolver of ours over TLS.
#[must_use]
pub fn encrypted(name: &str) -> Value {
    let mut policy = managed(name);
    policy["spec"]["recursion"]["hop"] = "Tls".into();
    policy
}

/// The same policy, which leads to resolvers of the user's that are to validate; it puts back what stood there before.
#[must_use]
pub fn upstreams(name: &str, servers: &[SocketAddr]) -> Value {
    let mut policy = restoring(name);
    policy["spec"]["recursion"] = json!({
        "via": "Upstreams",
        "upstreams": servers,
        "sourcePorts": "Random",
        "compare": {"watch": "0s"},
        "dnssec": "Required",
    });
    policy
}

/// The same policy, only told and not written.
#[must_use]
pub fn auditing(name: &str) -> Value {
    let mut policy = enforcing(name);
    policy["spec"]["mode"] = "Audit".into();
    policy
}

/// The condition, if it speaks of the present generation.
#[must_use]
pub fn condition(policy: &ResolverPolicy, wanted: ConditionType) -> Option<&Condition> {
    let conditions = &policy.status.as_ref()?.conditions;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == wanted.as_str())?;
    (found.observed_generation == policy.metadata.generation).then_some(found)
}

/// Whether the condition has this status for the present generation.
#[must_use]
pub fn is(policy: &ResolverPolicy, wanted: ConditionType, status: &str) -> bool {
    condition(policy, wanted).is_some_and(|condition| condition.status == status)
}

/// The result of a control.
#[must_use]
pub fn control(policy: &ResolverPolicy, id: ControlId) -> Option<&ControlStatus> {
    policy
        .status
        .as_ref()?
        .controls
        .iter()
        .find(|control| control.id == id)
}

/// Whether a control came to this outcome.
#[must_use]
pub fn came_to(policy: &ResolverPolicy, id: ControlId, state: ControlState) -> bool {
    control(policy, id).is_some_and(|control| control.state == state)
}

/// How far the change of the Corefile has come.
#[must_use]
pub fn rollout(policy: &ResolverPolicy) -> Option<RolloutState> {
    Some(policy.status.as_ref()?.rollout.as_ref()?.state)
}
