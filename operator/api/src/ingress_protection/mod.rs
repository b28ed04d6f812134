//! `IngressProtectionPolicy` and `ClusterIngressProtectionPolicy`: what clients may do at Gateways, routes and Ingresses.
//!
//! Neither is installed yet: no controller reads them, and `crds/` leaves them out.

mod fields;

use k8s_openapi::serde::{Deserialize, Serialize};
use kube::CustomResource;
use schemars::JsonSchema;

pub use fields::{Handshake, Limits, PerClient, Requests, Timeouts, Unit};

use crate::resolver_policy::Mode;

/// What clients may do at Gateways, routes and Ingresses of this namespace. It tightens and never loosens: of several policies
/// the stricter value holds, field by field.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "tsutsumi.dev",
    version = "v1alpha1",
    kind = "IngressProtectionPolicy",
    namespaced,
    shortname = "ipol",
    category = "tsutsumi",
    doc = "What clients may do at Gateways, routes and Ingresses of this namespace."
)]
pub struct IngressProtectionPolicySpec {
    /// `Audit` evaluates and reports what would change; `Enforce` also writes. Required, so that nobody enforces by
    /// accident.
    pub mode: Mode,
    /// What it is attached to, in its own namespace. Timeouts, connections, sizes of heads and streams are a listener's and
    /// need its Gateway here; the rest is a route's.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<LocalTargetRef>,
    /// Handshakes. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// Time that a client may take. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What one client may do. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_client: Option<PerClient>,
    /// What all clients may do together, and how large a request may be. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// What clients may do at Gateways, routes and Ingresses of the whole cluster. Of several policies the stricter value holds,
/// field by field; below its floors no policy of a namespace may go.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "tsutsumi.dev",
    version = "v1alpha1",
    kind = "ClusterIngressProtectionPolicy",
    shortname = "cipol",
    category = "tsutsumi",
    doc = "What clients may do at Gateways, routes and Ingresses of the whole cluster."
)]
pub struct ClusterIngressProtectionPolicySpec {
    /// `Audit` evaluates and reports what would change; `Enforce` also writes. Required, so that nobody enforces by
    /// accident.
    pub mode: Mode,
    /// What it is attached to. Absent: every Gateway, route and Ingress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Handshakes. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// Time that a client may take. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What one client may do. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_client: Option<PerClient>,
    /// What all clients may do together, and how large a request may be. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Below what no policy of a namespace may go, so that nobody limits a shared listener to one connection. Absent: no
    /// floors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floors: Option<Floors>,
}

/// The smallest values that a policy of a namespace may set.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Floors {
    /// Of handshakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// Of timeouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Of what one client may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_client: Option<PerClient>,
    /// Of what all clients may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// An object of the policy's own namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalTargetRef {
    /// Its API group: `gateway.networking.k8s.io`, or `networking.k8s.io` for an Ingress.
    pub group: TargetGroup,
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// One listener of a Gateway. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub section_name: Option<String>,
}

/// An object of any namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// Its API group: `gateway.networking.k8s.io`, or `networking.k8s.io` for an Ingress.
    pub group: TargetGroup,
    /// Its kind.
    pub kind: TargetKind,
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: String,
    /// Its name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// One listener of a Gateway. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub section_name: Option<String>,
}

/// The API groups of what a policy can be attached to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum TargetGroup {
    /// The Gateway API.
    #[serde(rename = "gateway.networking.k8s.io")]
    Gateway,
    /// That of Ingresses.
    #[serde(rename = "networking.k8s.io")]
    Networking,
}

/// The kinds that a policy can be attached to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum TargetKind {
    /// A Gateway, or one of its listeners.
    Gateway,
    /// An `HTTPRoute`.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// An Ingress.
    Ingress,
}
